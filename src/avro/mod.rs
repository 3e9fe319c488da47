//! Avro (specification 1.12): schemas, and a validator that holds a record's bytes against them without decoding a value.
//!
//! `apache-avro` parses schemas. It is no validator: it takes what is cut off within a nullable tail, and trailing bytes, and
//! hostile lengths take gigabytes or the stack. What is taken here is what a strict reader takes; `walk` says the details.

mod calendar;
mod canonical;
mod decimal;
mod encode;
mod fault;
mod framing;
mod json;
mod node;
mod parse;
mod program;
mod resolve;
mod rules;
mod sample;
mod schema;
mod validator;
mod walk;

pub use encode::JsonFault;
pub use fault::{Fault, FaultKind};
pub use framing::{Framing, FramingFault, Marker};
pub(crate) use parse::take_lenient_names;
pub use resolve::{Mismatch, resolve};
pub use rules::{Check, FieldRule};
pub use schema::{Schema, SchemaError, SchemaText};
pub use validator::Validator;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod testing;
