//! From a schema's JSON to nodes: `apache-avro` parses, and what its parser refuses or loses without need is put right before.

use super::decimal;
use super::node::{Field, Kind, Logical, Named, Node, NodeId, Unit};
use super::schema::{Graph, SchemaError, SchemaText};
use apache_avro::error::Details;
use apache_avro::schema::{Alias, InnerDecimalSchema, Name, UuidSchema};
use apache_avro::validator::{
    EnumSymbolNameValidator, RecordFieldNameValidator, SchemaNameValidator, SchemaNamespaceValidator,
    set_enum_symbol_name_validator, set_record_field_name_validator, set_schema_name_validator,
    set_schema_namespace_validator,
};
use apache_avro::{AvroResult, Schema as Avro};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where a field's default waits while the parser reads: it refuses a schema for a default such as `"0"` of a `long`, which
/// registries hold, and which matters only to a reader that needs it.
const DEFAULT: &str = "kafka-bridge.default";

/// No record of Kafka is larger; what pads a value to its size must not take what a schema says.
const FIXED_BYTES_MAX: usize = 64 << 20;
/// A record around all texts, each a field: no schema has such a name.
const WRAPPER: &str = "<kafka-bridge>";

pub(super) fn graph(text: &SchemaText) -> Result<Graph, SchemaError> {
    take_lenient_names();
    let mut fields = Vec::with_capacity(text.references.len() + 1);
    for (index, reference) in text.references.iter().enumerate() {
        let wrong = |reason: String| SchemaError::Reference { number: index + 1, reason };
        let value = tidied(reference).map_err(|error| wrong(error.to_string()))?;
        if !value.get("type").is_some_and(Value::is_string) || !value.get("name").is_some_and(Value::is_string) {
            return Err(wrong("it has no `type` and `name`".to_owned()));
        }
        fields.push(json!({ "name": format!("reference-{index}"), "type": value }));
    }
    fields.push(json!({ "name": "schema", "type": tidied(&text.text)? }));
    // One after the other as fields: given a list, the parser takes them in any order and recurses from each to what it
    // refers to, and some hundred references end the stack.
    let wrapper = json!({ "type": "record", "name": WRAPPER, "fields": fields });
    let wrapper = match Avro::parse(&wrapper) {
        Ok(Avro::Record(wrapper)) => wrapper,
        Ok(_) => return Err(SchemaError::Avro("it is something else".to_owned())),
        Err(error) => match error.details() {
            Details::ParsePrimitive(name) => return Err(SchemaError::Undefined(name.clone())),
            _ => return Err(SchemaError::Avro(error.to_string())),
        },
    };
    let mut translation = Translation { graph: Graph { nodes: Vec::new(), root: 0 }, names: BTreeMap::new() };
    for field in &wrapper.fields {
        translation.graph.root = translation.node(&field.schema)?;
    }
    match translation.names.iter().find(|it| it.1.definition.is_none()) {
        Some((name, _)) => Err(SchemaError::Undefined(name.clone())),
        None => Ok(translation.graph),
    }
}

fn tidied(text: &str) -> Result<Value, SchemaError> {
    // A byte order mark is what some tools put before JSON.
    let text = text.trim_start_matches('\u{feff}');
    let mut value = match serde_json::from_str(text) {
        Ok(value) => value,
        // Registries answer the schema of a lone primitive as its name.
        Err(_)
            if matches!(text.trim(), "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string") =>
        {
            Value::String(text.trim().to_owned())
        }
        Err(error) => return Err(SchemaError::Json(error.to_string())),
    };
    if value.is_null() {
        value = Value::String("null".to_owned());
    }
    tidy(&mut value).map_err(SchemaError::Avro)?;
    Ok(value)
}

/// Recursion is as deep as the JSON, which its parser bounds.
fn tidy(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(branches) => branches.iter_mut().try_for_each(tidy),
        Value::Object(schema) => {
            drop_meaningless_logical_type(schema);
            if let Some(of @ (Value::Array(_) | Value::Object(_))) = schema.get_mut("type") {
                tidy(of)?;
            }
            if schema.get("type").is_some_and(|it| it == "error") {
                schema.insert("type".to_owned(), "record".into());
            }
            for key in ["items", "values"] {
                schema.get_mut(key).map_or(Ok(()), tidy)?;
            }
            match schema.get_mut("fields") {
                Some(Value::Array(fields)) => fields.iter_mut().try_for_each(tidy_field),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn tidy_field(field: &mut Value) -> Result<(), String> {
    // The parser leaves out what is no object, and the datum would be read without it.
    let Value::Object(field) = field else { return Err(format!("`{field}` is no field of a record")) };
    if let Some(default) = field.remove("default") {
        field.insert(DEFAULT.to_owned(), default);
    }
    field.get_mut("type").map_or(Ok(()), tidy)
}

/// "Language implementations must ignore unknown logical types … if a logical type is invalid, then implementations should
/// ignore the logical type". The parser fails on some of them instead, and takes a uuid of `bytes`, which is none.
fn drop_meaningless_logical_type(schema: &mut Map<String, Value>) {
    let Some(logical) = schema.get("logicalType") else { return };
    let of = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let has_meaning = match logical.as_str().unwrap_or_default() {
        "decimal" => matches!(of, "bytes" | "fixed"),
        "big-decimal" => of == "bytes",
        "uuid" => matches!(of, "string" | "fixed"),
        "date" | "time-millis" => of == "int",
        "time-micros" | "timestamp-millis" | "timestamp-micros" | "timestamp-nanos" => of == "long",
        "local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos" => of == "long",
        "duration" => of == "fixed",
        _ => false,
    };
    if !has_meaning {
        schema.remove("logicalType");
    }
}

struct LenientNames;

const NAME_RULE: &str = "no space, no quote, and none of . \\ [ ] { }";

fn is_word(text: &str) -> bool {
    let is_fine = |it: char| !it.is_whitespace() && !it.is_control() && !"\".\\[]{}".contains(it);
    !text.is_empty() && text.chars().all(is_fine)
}

impl SchemaNameValidator for LenientNames {
    fn validate(&self, name: &str) -> AvroResult<usize> {
        let (namespace, start) = name.rfind('.').map_or(("", 0), |it| (&name[..it], it + 1));
        let is_fine = is_word(&name[start..]) && (namespace.is_empty() || namespace.split('.').all(is_word));
        if is_fine { Ok(start) } else { Err(Details::InvalidSchemaName(name.to_owned(), NAME_RULE).into()) }
    }
}

impl SchemaNamespaceValidator for LenientNames {
    fn validate(&self, namespace: &str) -> AvroResult<()> {
        let is_fine = namespace.is_empty() || namespace.split('.').all(is_word);
        if is_fine { Ok(()) } else { Err(Details::InvalidNamespace(namespace.to_owned(), NAME_RULE).into()) }
    }
}

impl EnumSymbolNameValidator for LenientNames {
    fn validate(&self, symbol: &str) -> AvroResult<()> {
        if is_word(symbol) { Ok(()) } else { Err(Details::EnumSymbolName(symbol.to_owned()).into()) }
    }
}

impl RecordFieldNameValidator for LenientNames {
    fn validate(&self, name: &str) -> AvroResult<()> {
        if is_word(name) { Ok(()) } else { Err(Details::FieldName(name.to_owned()).into()) }
    }
}

/// For the whole process, and only the first time counts: whatever parses a schema comes by here, or the parser's strict names
/// are everybody's.
pub(crate) fn take_lenient_names() {
    let _ = set_schema_name_validator(Box::new(LenientNames));
    let _ = set_schema_namespace_validator(Box::new(LenientNames));
    let _ = set_enum_symbol_name_validator(Box::new(LenientNames));
    let _ = set_record_field_name_validator(Box::new(LenientNames));
}

struct Translation<'a> {
    graph: Graph,
    names: BTreeMap<String, Known<'a>>,
}

struct Known<'a> {
    node: NodeId,
    /// None: it is referred to, and its definition is still to come.
    definition: Option<&'a Avro>,
}

impl<'a> Translation<'a> {
    fn node(&mut self, schema: &'a Avro) -> Result<NodeId, SchemaError> {
        let logical = |kind, logical| Node { kind, logical: Some(logical) };
        let timestamp = |unit, is_local| logical(Kind::Long, Logical::Timestamp { unit, is_local });
        let node = match schema {
            Avro::Null => Node::plain(Kind::Null),
            Avro::Boolean => Node::plain(Kind::Boolean),
            Avro::Int => Node::plain(Kind::Int),
            Avro::Long => Node::plain(Kind::Long),
            Avro::Float => Node::plain(Kind::Float),
            Avro::Double => Node::plain(Kind::Double),
            Avro::Bytes | Avro::Uuid(UuidSchema::Bytes) => Node::plain(Kind::Bytes),
            Avro::String => Node::plain(Kind::String),
            Avro::BigDecimal => logical(Kind::Bytes, Logical::BigDecimal),
            Avro::Uuid(UuidSchema::String) => logical(Kind::String, Logical::Uuid),
            Avro::Date => logical(Kind::Int, Logical::Date),
            Avro::TimeMillis => logical(Kind::Int, Logical::TimeMillis),
            Avro::TimeMicros => logical(Kind::Long, Logical::TimeMicros),
            Avro::TimestampMillis => timestamp(Unit::Millis, false),
            Avro::TimestampMicros => timestamp(Unit::Micros, false),
            Avro::TimestampNanos => timestamp(Unit::Nanos, false),
            Avro::LocalTimestampMillis => timestamp(Unit::Millis, true),
            Avro::LocalTimestampMicros => timestamp(Unit::Micros, true),
            Avro::LocalTimestampNanos => timestamp(Unit::Nanos, true),
            Avro::Array(array) => Node::plain(Kind::Array(self.node(&array.items)?)),
            Avro::Map(map) => Node::plain(Kind::Map(self.node(&map.types)?)),
            Avro::Union(union) => {
                let branches = union.variants().iter().map(|it| self.node(it));
                Node::plain(Kind::Union(branches.collect::<Result<_, _>>()?))
            }
            Avro::Decimal(decimal) => {
                let (precision, scale) = (decimal.precision, decimal.scale);
                decimal::bounded(precision)?;
                let logical = Logical::Decimal { precision, scale };
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => Node { kind: Kind::Bytes, logical: Some(logical) },
                    InnerDecimalSchema::Fixed(fixed) => {
                        // Java's `LogicalTypes.Decimal.validate` refuses the logical type there.
                        let fits = precision <= decimal::precision_of(fixed.size);
                        return self.fixed(schema, fixed, fits.then_some(logical));
                    }
                }
            }
            Avro::Fixed(fixed) => return self.fixed(schema, fixed, None),
            Avro::Uuid(UuidSchema::Fixed(fixed)) => return self.fixed(schema, fixed, Some(Logical::Uuid)),
            Avro::Duration(fixed) => return self.fixed(schema, fixed, Some(Logical::Duration)),
            Avro::Enum(of) => {
                let (id, is_new) = self.define(schema, &of.name)?;
                if is_new {
                    let (symbols, default) = (of.symbols.clone(), of.default.clone());
                    let kind = Kind::Enum { name: named(&of.name, of.aliases.as_deref()), symbols, default };
                    self.graph.nodes[id] = Node::plain(kind);
                }
                return Ok(id);
            }
            Avro::Record(record) => {
                let (id, is_new) = self.define(schema, &record.name)?;
                if is_new {
                    let mut fields = Vec::with_capacity(record.fields.len());
                    for field in &record.fields {
                        fields.push(Field {
                            name: field.name.clone(),
                            aliases: field.aliases.clone(),
                            default: field.custom_attributes.get(DEFAULT).cloned(),
                            node: self.node(&field.schema)?,
                        });
                    }
                    let kind = Kind::Record { name: named(&record.name, record.aliases.as_deref()), fields };
                    self.graph.nodes[id] = Node::plain(kind);
                }
                return Ok(id);
            }
            Avro::Ref { name } => return self.refer(&name.fullname(None)),
        };
        self.graph.push(node)
    }

    fn fixed(
        &mut self,
        schema: &'a Avro,
        fixed: &apache_avro::schema::FixedSchema,
        logical: Option<Logical>,
    ) -> Result<NodeId, SchemaError> {
        if fixed.size > FIXED_BYTES_MAX {
            return Err(SchemaError::TooLarge { what: "the size of a fixed in bytes", limit: FIXED_BYTES_MAX });
        }
        let (id, is_new) = self.define(schema, &fixed.name)?;
        if is_new {
            let kind = Kind::Fixed { name: named(&fixed.name, fixed.aliases.as_deref()), size: fixed.size };
            self.graph.nodes[id] = Node { kind, logical };
        }
        Ok(id)
    }

    fn refer(&mut self, name: &str) -> Result<NodeId, SchemaError> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.node);
        }
        let node = self.graph.reserve(name)?;
        self.names.insert(name.to_owned(), Known { node, definition: None });
        Ok(node)
    }

    /// Its place, and whether it is to be filled. The same definition may come again: a reference can hold what another
    /// holds too.
    fn define(&mut self, schema: &'a Avro, name: &Name) -> Result<(NodeId, bool), SchemaError> {
        let full = name.fullname(None);
        let node = self.refer(&full)?;
        match self.names.insert(full.clone(), Known { node, definition: Some(schema) }).and_then(|it| it.definition) {
            Some(before) if before != schema => Err(SchemaError::Redefined(full)),
            Some(_) => Ok((node, false)),
            None => Ok((node, true)),
        }
    }
}

fn named(name: &Name, aliases: Option<&[Alias]>) -> Named {
    let aliases = aliases.unwrap_or_default().iter().map(|it| it.fullname(None)).collect();
    Named { full: name.fullname(None), aliases }
}
