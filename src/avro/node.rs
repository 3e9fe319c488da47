//! A schema as a flat list of nodes: a named type stands once, and everything that refers to it, itself included, has its
//! index. So nothing that walks a schema follows pointers in circles.

use serde_json::Value;

pub(super) type NodeId = usize;

/// A schema text of a few kilobytes can name as many; a registry's answer must not fill the memory.
pub(super) const NODES_MAX: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) logical: Option<Logical>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Fixed { name: Named, size: usize },
    Enum { name: Named, symbols: Vec<String>, default: Option<String> },
    Record { name: Named, fields: Vec<Field> },
}

/// What a type is called, and was called before: full names, with their namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) full: String,
    pub(super) aliases: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) default: Option<Value>,
    pub(super) node: NodeId,
}

/// The logical types of the Avro specification that say more about the bytes, or how people read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    Decimal {
        precision: usize,
        scale: usize,
    },
    BigDecimal,
    Uuid,
    Date,
    TimeMillis,
    TimeMicros,
    /// `is_local`: without a time zone.
    Timestamp {
        unit: Unit,
        is_local: bool,
    },
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub(super) fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    /// Of the fraction of a second.
    pub(super) fn digits(self) -> usize {
        match self {
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

impl Named {
    /// Without the namespace.
    pub(super) fn short(&self) -> &str {
        short(&self.full)
    }
}

pub(super) fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

impl Node {
    pub(super) fn plain(kind: Kind) -> Self {
        Self { kind, logical: None }
    }

    pub(super) fn name(&self) -> Option<&Named> {
        match &self.kind {
            Kind::Fixed { name, .. } | Kind::Enum { name, .. } | Kind::Record { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The word of the specification for the type.
    pub(super) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Fixed { .. } => "fixed",
            Kind::Enum { .. } => "enum",
            Kind::Record { .. } => "record",
        }
    }

    /// What a branch of a union is called in Avro's JSON encoding: the full name of a named type, else the type.
    pub(super) fn branch_name(&self) -> &str {
        self.name().map_or(self.type_name(), |it| &it.full)
    }
}
