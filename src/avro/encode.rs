//! From JSON to a datum: what `json` writes, Avro's own JSON encoding, and values without the name of their branch where only
//! one branch takes them.

use super::calendar;
use super::decimal;
use super::json::{is_null, tagged};
use super::node::{Field, Kind, Logical, Named, Node, NodeId, Unit};
use super::schema::{Graph, Schema};
use super::validator::Validator;
use super::walk::{DEPTH_MAX, is_uuid};
use serde_json::{Map, Value};
use std::fmt;

/// Values that are tried for one datum: in unions within unions each branch is, and defaults can hold defaults.
const TRIES_MAX: usize = 1_000_000;
/// Of a value in a message.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// Why JSON is no datum of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// As in `Fault`.
    pub path: String,
    pub why: String,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the datum" } else { &self.path };
        write!(f, "{path}: {}", self.why)
    }
}

impl std::error::Error for JsonFault {}

impl JsonFault {
    fn new(why: impl Into<String>) -> Self {
        Self { path: String::new(), why: why.into() }
    }

    fn within(self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with(['[', '{']) { "" } else { "." };
        Self { path: format!("{step}{dot}{}", self.path), why: self.why }
    }
}

type Encoded = Result<(), JsonFault>;

impl Schema {
    /// The datum that the JSON stands for. A field that is left out has its default.
    pub fn encode_json(&self, json: &Value) -> Result<Vec<u8>, JsonFault> {
        let mut writer = Writer::new(&self.graph);
        writer.value(self.graph.root, json, Form::People, 0)?;
        // What is written here is what the bridge lets pass.
        let checked = Validator::plain(self).check(&writer.output);
        checked.map_err(|fault| JsonFault { path: fault.path, why: fault.kind.meaning().to_owned() })?;
        Ok(writer.output)
    }
}

/// Whether the JSON is a default of the type ("default values" of "Complex Types: Records").
pub(super) fn is_default(graph: &Graph, id: NodeId, json: &Value) -> Encoded {
    Writer::new(graph).value(id, json, Form::Default, 0)
}

/// What the JSON is like.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    People,
    /// Of a schema's defaults: logical types are their bytes or numbers, and a union's branch is never named.
    Default,
}

struct Writer<'a> {
    graph: &'a Graph,
    output: Vec<u8>,
    tries_left: usize,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph) -> Self {
        Self { graph, output: Vec::new(), tries_left: TRIES_MAX }
    }

    fn value(&mut self, id: NodeId, json: &Value, form: Form, depth: u32) -> Encoded {
        if depth > DEPTH_MAX {
            return Err(JsonFault::new("it is nested too deeply"));
        }
        self.tries_left = self.tries_left.checked_sub(1).ok_or_else(|| {
            JsonFault::new(
                "too many ways to read it were tried: name the branches of its unions, as in {\"string\": \"x\"}",
            )
        })?;
        let graph = self.graph;
        let node = graph.node(id);
        match &node.kind {
            Kind::Null if json.is_null() => Ok(()),
            Kind::Boolean => match json.as_bool() {
                Some(value) => self.put(&[u8::from(value)]),
                None => Err(wrong(json, "boolean")),
            },
            Kind::Int => self.whole(node, json, form, i64::from(i32::MIN)..=i64::from(i32::MAX)),
            Kind::Long => self.whole(node, json, form, i64::MIN..=i64::MAX),
            Kind::Float => {
                let value = float(json).ok_or_else(|| wrong(json, "float"))?;
                if value.is_finite() && !(value as f32).is_finite() {
                    return Err(JsonFault::new(format!("{value} is too large for a float")));
                }
                self.put(&(value as f32).to_le_bytes())
            }
            Kind::Double => self.put(&float(json).ok_or_else(|| wrong(json, "double"))?.to_le_bytes()),
            Kind::String => {
                let text = json.as_str().ok_or_else(|| wrong(json, "string"))?;
                if node.logical == Some(Logical::Uuid) && !is_uuid(text.as_bytes()) {
                    return Err(wrong(json, "uuid"));
                }
                self.sized(text.as_bytes())
            }
            Kind::Bytes => {
                let bytes = binary(node.logical.filter(|_| form == Form::People), json, None)?;
                self.sized(&bytes)
            }
            Kind::Fixed { size, name } => {
                let bytes = binary(node.logical.filter(|_| form == Form::People), json, Some(*size))?;
                if bytes.len() != *size {
                    let (is, full) = (bytes.len(), &name.full);
                    return Err(JsonFault::new(format!("{is} bytes are not the {size} of {full}")));
                }
                self.put(&bytes)
            }
            Kind::Enum { name, symbols, .. } => {
                let symbol = json.as_str().ok_or_else(|| wrong(json, "enum"))?;
                let index = symbols.iter().position(|it| it == symbol);
                let missing = || JsonFault::new(format!("{} is no symbol of {}", shown(json), name.full));
                self.long(index.ok_or_else(missing)? as i64)
            }
            Kind::Array(items) => {
                let array = json.as_array().ok_or_else(|| wrong(json, "array"))?;
                self.count(array.len())?;
                for (index, json) in array.iter().enumerate() {
                    let item = self.value(*items, json, form, depth + 1);
                    item.map_err(|fault| fault.within(&format!("[{index}]")))?;
                }
                if array.is_empty() { Ok(()) } else { self.long(0) }
            }
            Kind::Map(values) => {
                let object = json.as_object().ok_or_else(|| wrong(json, "map"))?;
                self.count(object.len())?;
                for (key, json) in object {
                    self.sized(key.as_bytes())?;
                    let value = self.value(*values, json, form, depth + 1);
                    value.map_err(|fault| fault.within(&format!("{{{key:?}}}")))?;
                }
                if object.is_empty() { Ok(()) } else { self.long(0) }
            }
            Kind::Union(branches) => self.union(branches, json, form, depth),
            Kind::Record { name, fields } => {
                let object = json.as_object().ok_or_else(|| wrong(json, &name.full))?;
                self.record(name, fields, object, form, depth)
            }
            Kind::Null => Err(wrong(json, "null")),
        }
    }

    fn record(&mut self, name: &Named, fields: &[Field], json: &Map<String, Value>, form: Form, depth: u32) -> Encoded {
        if let Some(unknown) = json.keys().find(|key| fields.iter().all(|it| it.name != **key)) {
            return Err(JsonFault::new(format!("{} has no such field", name.full)).within(unknown));
        }
        for field in fields {
            let written = match (json.get(&field.name), &field.default) {
                (Some(json), _) => self.value(field.node, json, form, depth + 1),
                (None, Some(default)) => self.value(field.node, default, Form::Default, depth + 1),
                (None, None) => Err(JsonFault::new("it is missing, and the schema has no default")),
            };
            written.map_err(|fault| fault.within(&field.name))?;
        }
        Ok(())
    }

    fn union(&mut self, branches: &[NodeId], json: &Value, form: Form, depth: u32) -> Encoded {
        let graph = self.graph;
        if form == Form::People
            && let Some((branch, json)) = tagged(graph, branches, json)
        {
            self.long(branch as i64)?;
            return self.value(branches[branch], json, form, depth + 1);
        }
        let before = self.output.len();
        let mut taken: Option<(usize, Vec<u8>)> = None;
        let mut refusals = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            let is_taken = self.long(index as i64).and_then(|()| self.value(*branch, json, form, depth + 1));
            let written = self.output.split_off(before);
            match (is_taken, &taken) {
                (Err(_), _) if self.tries_left == 0 => {
                    return Err(JsonFault::new("too many ways to read it were tried"));
                }
                (Err(fault), _) if !is_null(graph.node(*branch)) => refusals.push(fault),
                (Err(_), _) => {}
                (Ok(()), None) => taken = Some((index, written)),
                // "The type of the default value must match with one element of the union": the first that does.
                (Ok(()), Some(_)) if form == Form::Default => {}
                (Ok(()), Some((first, _))) => {
                    let name = |index: usize| graph.node(branches[index]).branch_name();
                    let (first, second) = (name(*first), name(index));
                    let why = format!("{} can be {first} or {second}: write {{\"{first}\": …}}", shown(json));
                    return Err(JsonFault::new(why));
                }
            }
        }
        match (taken, refusals.len()) {
            (Some((_, written)), _) => self.put(&written),
            (None, 1) if !json.is_null() => Err(refusals.remove(0)),
            (None, _) => {
                let names: Vec<_> = branches.iter().map(|it| graph.node(*it).branch_name()).collect();
                Err(JsonFault::new(format!("{} is none of the union: {}", shown(json), names.join(", "))))
            }
        }
    }

    fn whole(&mut self, node: &Node, json: &Value, form: Form, range: std::ops::RangeInclusive<i64>) -> Encoded {
        let logical = node.logical.filter(|_| form == Form::People);
        let parsed = json.as_str().and_then(|text| match logical? {
            Logical::Date => calendar::parse_date(text),
            Logical::TimeMillis => calendar::parse_time(text, Unit::Millis),
            Logical::TimeMicros => calendar::parse_time(text, Unit::Micros),
            Logical::Timestamp { unit, is_local } => calendar::parse_timestamp(text, unit, is_local),
            _ => None,
        });
        let expected = || match logical {
            Some(Logical::Date) => "date, as in \"2024-05-01\"",
            Some(Logical::TimeMillis | Logical::TimeMicros) => "time of day, as in \"12:34:56.789\"",
            Some(Logical::Timestamp { is_local: false, .. }) => "timestamp, as in \"2024-05-01T12:34:56Z\"",
            Some(Logical::Timestamp { .. }) => "local timestamp, as in \"2024-05-01T12:34:56\"",
            _ => node.type_name(),
        };
        match parsed.or(json.as_i64()).filter(|it| range.contains(it)) {
            Some(value) => self.long(value),
            None => Err(wrong(json, expected())),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Encoded {
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn long(&mut self, value: i64) -> Encoded {
        put_long(&mut self.output, value);
        Ok(())
    }

    fn count(&mut self, count: usize) -> Encoded {
        self.long(count as i64)
    }

    fn sized(&mut self, bytes: &[u8]) -> Encoded {
        self.count(bytes.len())?;
        self.put(bytes)
    }
}

fn put_long(output: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw > 0x7f {
        output.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    output.push(raw as u8);
}

fn float(json: &Value) -> Option<f64> {
    match json.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => json.as_f64(),
    }
}

/// The bytes of `bytes` or `fixed`.
fn binary(logical: Option<Logical>, json: &Value, size: Option<usize>) -> Result<Vec<u8>, JsonFault> {
    let number = || match json {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match logical {
        Some(Logical::Decimal { precision, scale }) => {
            let unscaled = number().and_then(|it| decimal::rescale(&it, scale as i64));
            let unscaled = unscaled.filter(|it| decimal::text(it, 0).trim_start_matches('-').len() <= precision);
            let unscaled = unscaled.ok_or_else(|| {
                JsonFault::new(format!(
                    "{} is no decimal of {precision} digits, {scale} of them behind the point",
                    shown(json)
                ))
            })?;
            let sign = if unscaled[0] & 0x80 != 0 { 0xff } else { 0 };
            let missing = size.map_or(0, |it| it.saturating_sub(unscaled.len()));
            Ok([vec![sign; missing], unscaled].concat())
        }
        Some(Logical::BigDecimal) => {
            let (unscaled, scale) =
                number().and_then(|it| decimal::parse(&it)).ok_or_else(|| wrong(json, "decimal"))?;
            let mut bytes = Vec::new();
            put_long(&mut bytes, unscaled.len() as i64);
            bytes.extend(unscaled);
            put_long(&mut bytes, scale);
            Ok(bytes)
        }
        Some(Logical::Uuid) => {
            let text = json.as_str().filter(|it| is_uuid(it.as_bytes()));
            let uuid = text.and_then(|it| uuid::Uuid::parse_str(it).ok());
            uuid.map(|it| it.into_bytes().to_vec()).ok_or_else(|| wrong(json, "uuid"))
        }
        Some(Logical::Duration) if json.is_object() => {
            let part = |name: &str| json.get(name)?.as_u64().and_then(|it| u32::try_from(it).ok());
            let parts: Option<Vec<_>> = ["months", "days", "millis"].into_iter().map(part).collect();
            let parts = parts.ok_or_else(|| JsonFault::new("a duration has the parts months, days and millis"))?;
            Ok(parts.into_iter().flat_map(u32::to_le_bytes).collect())
        }
        _ => {
            let text = json.as_str().ok_or_else(|| wrong(json, "bytes"))?;
            let bytes: Result<Vec<u8>, _> = text.chars().map(|it| u8::try_from(u32::from(it))).collect();
            bytes.map_err(|_| JsonFault::new("a string of bytes has the characters \\u0000 to \\u00ff alone"))
        }
    }
}

fn shown(json: &Value) -> String {
    let text = json.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn wrong(json: &Value, expected: &str) -> JsonFault {
    JsonFault::new(format!("{} is no {expected}", shown(json)))
}
