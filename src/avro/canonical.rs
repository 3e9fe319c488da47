//! The parsing canonical form and its fingerprint ("Transforming into Parsing Canonical Form" and "Schema Fingerprints" of
//! the Avro specification).
//!
//! Ours, because that of `apache-avro` keeps logical types (AVRO-4004): its fingerprint is another than that of every writer.

use super::node::{Kind, NodeId};
use super::schema::{DEFINITION_DEPTH_MAX, Graph, SchemaError};
use std::fmt::Write as _;

/// Of the empty string, and the polynomial, as in the specification's `fingerprint64`.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

pub(super) fn crc_64_avro(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |crc, byte| (crc >> 8) ^ TABLE[((crc ^ u64::from(*byte)) & 0xff) as usize])
}

pub(super) fn form(graph: &Graph) -> Result<String, SchemaError> {
    let mut form = Form { graph, written: vec![false; graph.nodes.len()], text: String::new() };
    form.node(graph.root, 0)?;
    Ok(form.text)
}

struct Form<'a> {
    graph: &'a Graph,
    /// Named types that stand in the text already; from then on their name does.
    written: Vec<bool>,
    text: String,
}

impl Form<'_> {
    fn node(&mut self, id: NodeId, depth: usize) -> Result<(), SchemaError> {
        if depth > DEFINITION_DEPTH_MAX {
            return Err(SchemaError::TooLarge { what: "the depth of the definitions", limit: DEFINITION_DEPTH_MAX });
        }
        let graph = self.graph;
        let node = graph.node(id);
        if let Some(name) = node.name() {
            if std::mem::replace(&mut self.written[id], true) {
                let _ = write!(self.text, "\"{}\"", name.full);
                return Ok(());
            }
            let _ = write!(self.text, "{{\"name\":\"{}\",\"type\":\"{}\"", name.full, node.type_name());
        }
        match &node.kind {
            Kind::Array(items) => {
                self.text.push_str("{\"type\":\"array\",\"items\":");
                self.node(*items, depth + 1)?;
                self.text.push('}');
            }
            Kind::Map(values) => {
                self.text.push_str("{\"type\":\"map\",\"values\":");
                self.node(*values, depth + 1)?;
                self.text.push('}');
            }
            Kind::Union(branches) => {
                self.text.push('[');
                for (index, branch) in branches.iter().enumerate() {
                    self.comma(index);
                    self.node(*branch, depth + 1)?;
                }
                self.text.push(']');
            }
            Kind::Fixed { size, .. } => {
                let _ = write!(self.text, ",\"size\":{size}}}");
            }
            Kind::Enum { symbols, .. } => {
                self.text.push_str(",\"symbols\":[");
                for (index, symbol) in symbols.iter().enumerate() {
                    self.comma(index);
                    let _ = write!(self.text, "\"{symbol}\"");
                }
                self.text.push_str("]}");
            }
            Kind::Record { fields, .. } => {
                self.text.push_str(",\"fields\":[");
                for (index, field) in fields.iter().enumerate() {
                    self.comma(index);
                    let _ = write!(self.text, "{{\"name\":\"{}\",\"type\":", field.name);
                    self.node(field.node, depth + 1)?;
                    self.text.push('}');
                }
                self.text.push_str("]}");
            }
            _ => {
                let _ = write!(self.text, "\"{}\"", node.type_name());
            }
        }
        Ok(())
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }
}
