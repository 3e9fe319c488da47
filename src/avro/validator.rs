//! Holds datums against a schema and rules.

use super::fault::Fault;
use super::node::Kind;
use super::program::{Op, Program};
use super::rules::{self, FieldRule};
use super::schema::{Graph, Schema, SchemaError};
use super::walk::{Step, Walk};
use std::fmt::Write as _;
use std::sync::Arc;

/// Of a map's key in a path: the key is the sender's, and paths go into logs and headers.
const KEY_CHARACTERS_MAX: usize = 64;

/// Compiled once for a schema and the rules of a topic; a check allocates nothing.
#[derive(Clone)]
pub struct Validator {
    graph: Arc<Graph>,
    program: Arc<Program>,
}

impl Validator {
    /// Fails for a rule whose path or check the schema cannot meet.
    pub fn compile(schema: &Schema, rules: &[FieldRule]) -> Result<Self, SchemaError> {
        let plain = Self::plain(schema);
        if rules.is_empty() {
            return Ok(plain);
        }
        let program = rules::apply(&plain.graph, Program::clone(&plain.program), rules)?;
        Ok(Self { program: Arc::new(program), ..plain })
    }

    /// Of the schema alone.
    pub(super) fn plain(schema: &Schema) -> Self {
        Self { graph: schema.graph.clone(), program: schema.program.clone() }
    }

    /// Whether the bytes are one datum of the schema, whole and nothing behind it, that keeps the rules. The first fault in
    /// the order of the bytes counts.
    pub fn check(&self, datum: &[u8]) -> Result<(), Fault> {
        let mut walk = Walk::new(&self.program, datum);
        match walk.datum() {
            Ok(()) => Ok(()),
            Err(kind) => {
                Err(Fault { kind, path: path(&self.graph, &self.program, &walk.trail, datum), at: walk.fault_at })
            }
        }
    }

    #[cfg(test)]
    pub(super) fn walk<'a>(&'a self, datum: &'a [u8]) -> Walk<'a> {
        Walk::new(&self.program, datum)
    }
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Validator({})", self.graph.node(self.graph.root).branch_name())
    }
}

/// `trail` is innermost first. The depth of the walk bounds it.
fn path(graph: &Graph, program: &Program, trail: &[Step], datum: &[u8]) -> String {
    let mut path = String::new();
    for step in trail.iter().rev() {
        let _ = match step {
            Step::Field { record, field } => {
                let is_record = matches!(program.ops[*record as usize], Op::Record(_));
                let name = match &graph.node(program.node(*record)).kind {
                    Kind::Record { fields, .. } if is_record => fields.get(*field).map(|it| it.name.as_str()),
                    _ => None,
                };
                let dot = if path.is_empty() { "" } else { "." };
                write!(path, "{dot}{}", name.unwrap_or_default())
            }
            Step::Item(index) => write!(path, "[{index}]"),
            Step::Value { from, to } => {
                let key = String::from_utf8_lossy(&datum[*from..*to]);
                let cut: String = key.chars().take(KEY_CHARACTERS_MAX).collect();
                let more = if cut.len() < key.len() { "…" } else { "" };
                write!(path, "{{{cut:?}{more}}}")
            }
            Step::Key(index) => write!(path, "{{key {index}}}"),
        };
    }
    path
}
