//! A key or value for people, by the schema that its topic's check holds it against.

use super::checks::{Expected, PartCheck};
use crate::avro::{Framing, Marker, Schema, SchemaText};
use crate::registry::Registry;
use serde_json::Value;

/// As far as it can be decoded.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// That it names.
    pub schema_id: Option<i32>,
    /// Or why it cannot be decoded.
    pub json: Result<Value, String>,
}

/// `registry`: that of the end where the bytes are.
pub async fn decoded(check: &PartCheck, registry: Option<&Registry>, bytes: &[u8]) -> Decoded {
    let framing: Framing = check.framing;
    let (marker, datum) = match framing.split(bytes) {
        Ok(split) => split,
        Err(fault) => return Decoded { schema_id: None, json: Err(fault.to_string()) },
    };
    let schema_id = if let Marker::Id(id) = marker { Some(id) } else { None };
    let read = |schema: &Schema| schema.to_json(datum).map_err(|fault| fault.to_string());
    let json = match (&check.expected, schema_id) {
        (Expected::Fixed { schema, .. }, _) => read(schema),
        (Expected::Registry { .. }, None) => Err("it names no schema of a registry".to_owned()),
        (Expected::Registry { .. }, Some(id)) => registered(registry, id).await.and_then(|schema| read(&schema)),
    };
    Decoded { schema_id, json }
}

pub async fn registered(registry: Option<&Registry>, id: i32) -> Result<Schema, String> {
    let registry = registry.ok_or("there is no [source.registry]")?;
    let found = registry.by_id(id).await.map_err(|error| error.to_string())?;
    let text = SchemaText { text: found.text.clone(), references: found.reference_texts() };
    Schema::parse(&text).map_err(|error| format!("schema id {id}: {error}"))
}
