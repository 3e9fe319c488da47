//! Brings a schema and what it refers to into a registry.

use crate::avro::{Schema, SchemaError, SchemaText};
use crate::registry::{Reference, Registry, RegistryError};

#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("reference {number}: {error}")]
    Reference { number: usize, error: SchemaError },
}

/// The schema's id. Each reference gets a subject of the name of its type, and may refer to those before it.
pub async fn register(registry: &Registry, subject: &str, text: &SchemaText) -> Result<i32, RegisterError> {
    let mut references: Vec<Reference> = Vec::new();
    for (index, reference) in text.references.iter().enumerate() {
        let of = |error| RegisterError::Reference { number: index + 1, error };
        let whole = SchemaText { text: reference.clone(), references: text.references[..index].to_vec() };
        let name = Schema::parse(&whole).map_err(of)?.name();
        let version = registry.register_version(&name, reference, &references).await?;
        references.push(Reference { name: name.clone(), subject: name, version });
    }
    Ok(registry.register(subject, &text.text, &references).await?)
}
