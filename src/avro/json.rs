//! A datum as JSON for people. `encode` reads it back as the same values.
//!
//! It is Avro's JSON encoding, but easier on the eye:
//! - A union of null and one other type is the bare value; another union names the branch, `{"string": "x"}`.
//! - A decimal is its text (`"12.30"`), a UUID, a date, a time and a timestamp are as RFC 4122 and RFC 3339 write them. What
//!   lies outside the years 0 to 9999 stays a number.
//! - A duration is `{"months": 1, "days": 2, "millis": 3}`.
//! - Bytes and fixed are strings of the code points 0 to 255, as in Avro's own; NaN and the infinities are strings too.

use super::calendar;
use super::decimal;
use super::fault::Fault;
use super::node::{Kind, Logical, Node, NodeId, Unit, short};
use super::schema::{Graph, Schema};
use super::validator::Validator;
use super::walk::{big_decimal, leading_varint};
use serde_json::{Map, Number, Value, json};

impl Schema {
    /// The datum for people; a fault where the validator finds one.
    pub fn to_json(&self, datum: &[u8]) -> Result<Value, Fault> {
        Validator::plain(self).check(datum)?;
        Ok(Reader { graph: &self.graph, bytes: datum }.value(self.graph.root))
    }
}

/// The branch that the only key of an object names, and what is under it.
pub(super) fn tagged<'a>(graph: &Graph, branches: &[NodeId], json: &'a Value) -> Option<(usize, &'a Value)> {
    let object = json.as_object().filter(|it| it.len() == 1)?;
    let (name, value) = object.iter().next()?;
    let full = branches.iter().position(|it| graph.node(*it).branch_name() == name);
    let by_short_name = || {
        let mut fitting = branches.iter().enumerate().filter(|it| short(graph.node(*it.1).branch_name()) == name);
        let first = fitting.next()?.0;
        fitting.next().is_none().then_some(first)
    };
    Some((full.or_else(by_short_name)?, value))
}

pub(super) fn is_null(node: &Node) -> bool {
    matches!(node.kind, Kind::Null)
}

/// Over bytes that the walk has taken: it bounds the recursion, and nothing here can end early.
struct Reader<'a> {
    graph: &'a Graph,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, id: NodeId) -> Value {
        let graph = self.graph;
        let node = graph.node(id);
        match &node.kind {
            Kind::Null => Value::Null,
            Kind::Boolean => Value::Bool(self.take(1) == [1]),
            Kind::Int | Kind::Long => whole(self.long(), node.logical),
            Kind::Float => self.take(4).try_into().map_or(Value::Null, |it| single(f32::from_le_bytes(it))),
            Kind::Double => self.take(8).try_into().map_or(Value::Null, |it| double(f64::from_le_bytes(it))),
            Kind::String => String::from_utf8_lossy(self.bytes()).into_owned().into(),
            Kind::Bytes => binary(self.bytes(), node.logical),
            Kind::Fixed { size, .. } => binary(self.take(*size), node.logical),
            Kind::Enum { symbols, .. } => {
                usize::try_from(self.long()).ok().and_then(|it| symbols.get(it).cloned()).into()
            }
            Kind::Array(items) => {
                let mut array = Vec::new();
                while let Some(count) = self.block() {
                    array.extend((0..count).map(|_| self.value(*items)));
                }
                array.into()
            }
            Kind::Map(values) => {
                let mut object = Map::new();
                while let Some(count) = self.block() {
                    for _ in 0..count {
                        let key = String::from_utf8_lossy(self.bytes()).into_owned();
                        object.insert(key, self.value(*values));
                    }
                }
                object.into()
            }
            Kind::Union(branches) => self.union(branches),
            Kind::Record { fields, .. } => {
                let object: Map<_, _> = fields.iter().map(|it| (it.name.clone(), self.value(it.node))).collect();
                object.into()
            }
        }
    }

    fn union(&mut self, branches: &[NodeId]) -> Value {
        let graph = self.graph;
        let Some(branch) = usize::try_from(self.long()).ok().and_then(|it| branches.get(it)) else {
            return Value::Null;
        };
        let value = self.value(*branch);
        if is_null(graph.node(*branch)) {
            return value;
        }
        let others = branches.iter().filter(|it| !is_null(graph.node(**it))).count();
        // A map can have the one key that would be read as a branch's name.
        if others == 1 && tagged(graph, branches, &value).is_none() {
            return value;
        }
        json!({ graph.node(*branch).branch_name(): value })
    }

    fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(size.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    fn long(&mut self) -> i64 {
        let (value, length) = leading_varint(self.bytes).unwrap_or((0, self.bytes.len()));
        self.take(length);
        value
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.long();
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// Items of the next block; None: there is none.
    fn block(&mut self) -> Option<u64> {
        let count = self.long();
        if count < 0 {
            self.long();
        }
        (count != 0).then_some(count.unsigned_abs())
    }
}

fn whole(value: i64, logical: Option<Logical>) -> Value {
    let text = match logical {
        Some(Logical::Date) => calendar::date(value),
        Some(Logical::TimeMillis) => Some(calendar::time(value, Unit::Millis)),
        Some(Logical::TimeMicros) => Some(calendar::time(value, Unit::Micros)),
        Some(Logical::Timestamp { unit, is_local }) => calendar::timestamp(value, unit, is_local),
        _ => None,
    };
    text.map_or(value.into(), Value::String)
}

fn single(value: f32) -> Value {
    // Through its text, or 0.1 would be 0.10000000149011612.
    value.to_string().parse().map_or(Value::Null, double)
}

fn double(value: f64) -> Value {
    let special = || match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    Number::from_f64(value).map_or_else(|| special().into(), Value::Number)
}

fn binary(bytes: &[u8], logical: Option<Logical>) -> Value {
    let part = |from: usize| bytes.get(from..from + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes);
    match logical {
        Some(Logical::Decimal { scale, .. }) => decimal::text(bytes, scale as i64).into(),
        Some(Logical::BigDecimal) => {
            big_decimal(bytes).map(|(unscaled, scale)| decimal::text(unscaled, i64::from(scale))).into()
        }
        Some(Logical::Uuid) => {
            uuid::Uuid::from_slice(bytes).map_or(Value::Null, |it| it.hyphenated().to_string().into())
        }
        Some(Logical::Duration) => json!({ "months": part(0), "days": part(4), "millis": part(8) }),
        _ => bytes.iter().map(|it| char::from(*it)).collect::<String>().into(),
    }
}
