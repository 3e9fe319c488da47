//! A schema, from the texts that a registry holds.

use super::canonical;
use super::node::{Kind, NODES_MAX, Named, Node, NodeId};
use super::parse;
use super::program::Program;
use std::sync::Arc;

/// Types are defined inside of each other so deeply and no deeper, references included: what walks a schema by its
/// definitions recurses.
pub(super) const DEFINITION_DEPTH_MAX: usize = 200;
/// More of them is no schema of events; each costs memory as long as the bridge runs.
const TEXT_BYTES_MAX: usize = 4 << 20;
const REFERENCES_MAX: usize = 1_000;

/// A schema's JSON, and that of the named types that it uses, dependencies first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaText {
    pub text: String,
    pub references: Vec<String>,
}

/// A parsed schema; a clone shares it.
#[derive(Clone)]
pub struct Schema {
    pub(super) graph: Arc<Graph>,
    pub(super) program: Arc<Program>,
    fingerprint: [u8; 8],
}

/// The nodes of a schema.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("this is no JSON: {0}. Is it a schema at all?")]
    Json(String),
    #[error("this is no Avro schema: {0}")]
    Avro(String),
    #[error("reference {number} is no Avro schema of a named type: {reason}")]
    Reference { number: usize, reason: String },
    #[error("`{0}` is defined twice, and differently: one of the references is of another version")]
    Redefined(String),
    #[error("`{0}` is not defined: add the reference that defines it to the subject")]
    Undefined(String),
    #[error("{what} exceeds {limit}, the limit of this kafka-bridge")]
    TooLarge { what: &'static str, limit: usize },
    #[error("rule for `{path}`: {reason}")]
    Rule { path: String, reason: String },
}

impl Schema {
    /// Names may be what registries hold: `$`, `-` and letters of any script are taken, as Java takes them when told not to
    /// validate. Defaults may be wrong: they are looked at where they are needed.
    pub fn parse(text: &SchemaText) -> Result<Self, SchemaError> {
        if text.text.len() + text.references.iter().map(String::len).sum::<usize>() > TEXT_BYTES_MAX {
            return Err(SchemaError::TooLarge { what: "the schema's length in bytes", limit: TEXT_BYTES_MAX });
        }
        if text.references.len() > REFERENCES_MAX {
            return Err(SchemaError::TooLarge { what: "the number of references", limit: REFERENCES_MAX });
        }
        let graph = parse::graph(text)?;
        let canonical = canonical::form(&graph)?;
        let program = Program::plain(&graph);
        let fingerprint = canonical::crc_64_avro(canonical.as_bytes()).to_le_bytes();
        Ok(Self { graph: Arc::new(graph), program: Arc::new(program), fingerprint })
    }

    /// CRC-64-AVRO of the parsing canonical form, in the order in which single-object encoding writes it: little-endian.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }

    /// The parsing canonical form, with the definition of a referenced type where it is first used, as Java has it.
    pub fn canonical_form(&self) -> String {
        // It was short enough when the schema was parsed.
        canonical::form(&self.graph).unwrap_or_default()
    }

    /// The full name of a named type, else the type.
    pub fn name(&self) -> String {
        self.graph.node(self.graph.root).branch_name().to_owned()
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Schema").field(&self.canonical_form()).finish()
    }
}

impl Graph {
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn push(&mut self, node: Node) -> Result<NodeId, SchemaError> {
        if self.nodes.len() == NODES_MAX {
            return Err(SchemaError::TooLarge { what: "the number of types", limit: NODES_MAX });
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// A place for a type that is referred to before its definition is read.
    pub(super) fn reserve(&mut self, name: &str) -> Result<NodeId, SchemaError> {
        let named = Named { full: name.to_owned(), aliases: Vec::new() };
        self.push(Node::plain(Kind::Record { name: named, fields: Vec::new() }))
    }
}
