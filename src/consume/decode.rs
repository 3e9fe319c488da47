//! From a record's value to its event: the framing says the schema, a file or the registry has it.

use crate::avro::{Framing, Marker, Schema, SchemaText};
use crate::registry::{Registry, RegistryError};
use serde_json::Value;
use std::collections::BTreeMap;

/// Schemas of one topic: ever new ids are a hostile producer's.
const SCHEMAS_MAX: usize = 1_000;

/// Where schemas come from.
#[derive(Clone, Debug)]
pub struct Schemas {
    pub framing: Framing,
    /// Of a file. Without a registry it stands for every id, for ids say nothing then.
    pub file: Option<Schema>,
    pub registry: Option<Registry>,
}

pub(super) struct Decoder {
    schemas: Schemas,
    /// What a registry has under an id, which never changes. That it has nothing may change with the next second: its client
    /// knows how long to believe that.
    by_id: BTreeMap<i32, Result<Schema, Wrong>>,
}

/// Why a value is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// As programs read it.
    pub(super) kind: &'static str,
    pub(super) what: String,
}

impl Decoder {
    pub(super) fn new(schemas: Schemas) -> Self {
        Self { schemas, by_id: BTreeMap::new() }
    }

    /// Fails only where the registry cannot be asked: that says nothing about the value.
    pub(super) async fn decode(&mut self, value: &[u8]) -> Result<Result<Value, Wrong>, RegistryError> {
        let (marker, datum) = match self.schemas.framing.split(value) {
            Ok(split) => split,
            Err(fault) => return Ok(Err(Wrong { kind: fault.name(), what: fault.to_string() })),
        };
        let schema = match self.schema(marker).await? {
            Ok(schema) => schema,
            Err(wrong) => return Ok(Err(wrong)),
        };
        Ok(schema.to_json(datum).map_err(|fault| Wrong { kind: fault.kind.name(), what: fault.to_string() }))
    }

    async fn schema(&mut self, marker: Marker) -> Result<Result<Schema, Wrong>, RegistryError> {
        let unknown = |what: String| Wrong { kind: "unknown_schema", what };
        let (id, registry) = match (marker, &self.schemas.file, &self.schemas.registry) {
            (Marker::Id(id), _, Some(registry)) => (id, registry),
            (Marker::Fingerprint(found), Some(file), _) if file.fingerprint() != found => {
                return Ok(Err(unknown(format!("{marker} is not that of the schema file"))));
            }
            (_, Some(file), _) => return Ok(Ok(file.clone())),
            (_, None, _) => return Ok(Err(unknown(format!("{marker}: there is no schema file to hold it against")))),
        };
        if let Some(known) = self.by_id.get(&id) {
            return Ok(known.clone());
        }
        let found = match registry.by_id(id).await {
            Ok(registered) => {
                let (text, references) = (registered.text.clone(), registered.reference_texts());
                let parsed = Schema::parse(&SchemaText { text, references });
                parsed.map_err(|error| Wrong { kind: "unusable_schema", what: format!("schema id {id}: {error}") })
            }
            Err(error) if error.is_unknown() => return Ok(Err(unknown(error.to_string()))),
            Err(error @ RegistryError::Unusable { .. }) => {
                return Ok(Err(Wrong { kind: "unusable_schema", what: error.to_string() }));
            }
            Err(error) => return Err(error),
        };
        if self.by_id.len() >= SCHEMAS_MAX {
            self.by_id.pop_first();
        }
        self.by_id.insert(id, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;
    use crate::wire::{Connecting, Network, Stream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const UNKNOWN: (u16, &str) = (404, r#"{"error_code":40403,"message":"no such schema"}"#);
    const UNUSABLE: (u16, &str) = (200, r#"{"schema":"syntax","schemaType":"PROTOBUF"}"#);
    const BROKEN: (u16, &str) = (200, r#"{"schema":"{"}"#);
    const STRING: (u16, &str) = (200, r#"{"schema":"\"string\""}"#);

    /// A registry that answers everything with this, and counts.
    #[derive(Clone, Debug)]
    struct Answers(Arc<Mutex<((u16, &'static str), u64)>>);

    impl Network for Answers {
        fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> Connecting<'a> {
            let (near, mut far) = tokio::io::duplex(4 << 10);
            let ((status, body), count) = &mut *self.0.lock().unwrap();
            *count += 1;
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(far.read_u8().await.unwrap());
                }
                far.write_all(answer.as_bytes()).await.unwrap();
            });
            Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
        }
    }

    impl Answers {
        fn new() -> (Self, Decoder) {
            let answers = Self(Arc::new(Mutex::new((UNKNOWN, 0))));
            let config = RegistryConfig { urls: vec!["http://r".parse().unwrap()], credentials: None, tls: None };
            let network = Arc::new(answers.clone());
            let registry = Registry::new("source", &config, Duration::from_secs(1), network).unwrap();
            let schemas = Schemas { framing: Framing::Confluent, file: None, registry: Some(registry) };
            (answers, Decoder::new(schemas))
        }

        /// The value of a record, and how often the registry was asked for it.
        async fn then(&self, answer: (u16, &'static str), decoder: &mut Decoder) -> (Result<Value, &'static str>, u64) {
            *self.0.lock().unwrap() = (answer, 0);
            let value = decoder.decode(b"\0\0\0\0\x07\x02x").await.unwrap().map_err(|it| it.kind);
            (value, self.0.lock().unwrap().1)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_registry_learns_later_is_asked_for_again_and_what_it_has_is_not() {
        for (nothing, kind) in [(UNKNOWN, "unknown_schema"), (UNUSABLE, "unusable_schema")] {
            let (answers, mut decoder) = Answers::new();
            assert_eq!(answers.then(nothing, &mut decoder).await, (Err(kind), 1));
            assert_eq!(answers.then(STRING, &mut decoder).await, (Err(kind), 0));
            tokio::time::advance(Duration::from_secs(60)).await;
            assert_eq!(answers.then(STRING, &mut decoder).await, (Ok("x".into()), 1));
            assert_eq!(answers.then(nothing, &mut decoder).await, (Ok("x".into()), 0));
        }
        // An id's text never changes, so neither does what is wrong with it.
        let (answers, mut decoder) = Answers::new();
        assert_eq!(answers.then(BROKEN, &mut decoder).await, (Err("unusable_schema"), 1));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(answers.then(STRING, &mut decoder).await, (Err("unusable_schema"), 0));
    }

    fn schema() -> Schema {
        let text = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#.to_owned();
        Schema::parse(&SchemaText { text, references: Vec::new() }).unwrap()
    }

    async fn kind(framing: Framing, file: Option<Schema>, value: &[u8]) -> Result<Value, &'static str> {
        let mut decoder = Decoder::new(Schemas { framing, file, registry: None });
        decoder.decode(value).await.unwrap().map_err(|it| it.kind)
    }

    #[tokio::test]
    async fn each_value_is_an_event_or_says_why_not() {
        let event = Ok(serde_json::json!({ "a": "x" }));
        assert_eq!(kind(Framing::Raw, Some(schema()), b"\x02x").await, event);
        assert_eq!(kind(Framing::Raw, Some(schema()), b"\x04x").await, Err("truncated"));
        assert_eq!(kind(Framing::Raw, Some(schema()), b"\x02xy").await, Err("trailing_bytes"));
        assert_eq!(kind(Framing::Raw, None, b"\x02x").await, Err("unknown_schema"));
        assert_eq!(kind(Framing::Confluent, Some(schema()), b"\0\0\0\0\x07\x02x").await, event);
        assert_eq!(kind(Framing::Confluent, Some(schema()), b"{\"a\":1}").await, Err("framing_magic"));
        assert_eq!(kind(Framing::Confluent, Some(schema()), b"").await, Err("framing_too_short"));
        let marker = Marker::Fingerprint(schema().fingerprint()).header();
        assert_eq!(kind(Framing::SingleObject, Some(schema()), &[&marker, &b"\x02x"[..]].concat()).await, event);
        let other = Marker::Fingerprint([7; 8]).header();
        assert_eq!(kind(Framing::SingleObject, Some(schema()), &other).await, Err("unknown_schema"));
    }
}
