//! What is known of a registry's schema.

use crate::avro::Validator;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum SchemaVerdict {
    /// Datums are held against it. `target_id`: under which the target's registry has it, where ids are mapped.
    Check { validator: Arc<Validator>, target_id: Option<i32> },
    /// No record with it may pass, whatever is in it.
    Unfit(Unfit),
    /// The registry does not have it, or nothing that can be parsed: what becomes of a record is `on_unknown_schema`'s to say.
    Unknown(Unfit),
    /// The registry does not answer, and the config lets records pass then.
    Unchecked,
}

impl SchemaVerdict {
    /// A schema never changes under its id; that it is not there, or nobody answers, does.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Check { .. })
    }
}

/// Why no record with a schema can pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// One of a few words, for headers and metrics; it stays as it is.
    pub reason: &'static str,
    pub error: String,
}
