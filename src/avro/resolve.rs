//! Whether what one schema writes can be read with another ("Schema Resolution" of the Avro specification).
//!
//! Judged for every datum at once: a union of the writer must be readable in each of its branches, and an enum in each of its
//! symbols, as Java's `SchemaCompatibility` has it.

use super::encode;
use super::node::{Field, Kind, Logical, Named, Node, NodeId};
use super::schema::{Graph, Schema};
use std::collections::BTreeSet;
use std::fmt;

/// Two schemas of the largest size have more pairs of types than anybody compares.
const PAIRS_MAX: usize = 200_000;

/// The place where a reader's schema cannot take what the writer's may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// By the names of the reader: `customer.address.zip`, `items[].price`, `tags{}`. Empty: the datum itself.
    pub path: String,
    pub reason: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the datum" } else { &self.path };
        write!(f, "{path}: {}", self.reason)
    }
}

impl std::error::Error for Mismatch {}

/// Aliases are the reader's, as the specification has it.
pub fn resolve(writer: &Schema, reader: &Schema) -> Result<(), Mismatch> {
    let mut resolution =
        Resolution { writer: &writer.graph, reader: &reader.graph, pairs: Vec::new(), seen: BTreeSet::new() };
    resolution.push(writer.graph.root, reader.graph.root, None, String::new());
    // A list that grows instead of recursion: types refer to each other in circles, and in chains as long as the schema.
    let mut next = 0;
    while let Some(pair) = resolution.pairs.get(next) {
        let (writer, reader) = (pair.writer, pair.reader);
        resolution.compare(next, writer, reader).map_err(|why| resolution.mismatch(next, why))?;
        if resolution.pairs.len() > PAIRS_MAX {
            let reason = format!("more than {PAIRS_MAX} pairs of types were compared");
            return Err(resolution.mismatch(next, reason.into()));
        }
        next += 1;
    }
    Ok(())
}

/// Why two types do not fit.
struct Why {
    /// Of the record that is compared, if it is one.
    field: Option<String>,
    reason: String,
}

impl From<String> for Why {
    fn from(reason: String) -> Self {
        Self { field: None, reason }
    }
}

struct Resolution<'a> {
    writer: &'a Graph,
    reader: &'a Graph,
    pairs: Vec<Pair>,
    seen: BTreeSet<(NodeId, NodeId)>,
}

/// Two types that meet.
struct Pair {
    writer: NodeId,
    reader: NodeId,
    /// The pair in which they do, and how the path goes on from there.
    within: Option<usize>,
    step: String,
}

impl Resolution<'_> {
    fn push(&mut self, writer: NodeId, reader: NodeId, within: Option<usize>, step: String) {
        // What is being compared already is assumed to fit: where it does not, that is told there.
        if self.seen.insert((writer, reader)) {
            self.pairs.push(Pair { writer, reader, within, step });
        }
    }

    fn mismatch(&self, at: usize, why: Why) -> Mismatch {
        let mut steps: Vec<&str> = Vec::new();
        let mut next = Some(at);
        while let Some(pair) = next.and_then(|it| self.pairs.get(it)) {
            steps.push(pair.step.as_str());
            next = pair.within;
        }
        let field = why.field.map(|it| format!(".{it}"));
        let path: String = steps.into_iter().rev().chain(field.as_deref()).collect();
        Mismatch { path: path.trim_start_matches('.').to_owned(), reason: why.reason }
    }

    fn compare(&mut self, at: usize, writer: NodeId, reader: NodeId) -> Result<(), Why> {
        let (of_writer, of_reader) = (self.writer.node(writer), self.reader.node(reader));
        match (&of_writer.kind, &of_reader.kind) {
            (Kind::Union(branches), _) => {
                branches.iter().for_each(|branch| self.push(*branch, reader, Some(at), String::new()));
                Ok(())
            }
            (_, Kind::Union(branches)) => {
                let chosen = self.branch(of_writer, branches);
                let chosen =
                    chosen.ok_or_else(|| format!("no branch of the reader's union takes {}", told(of_writer)))?;
                self.push(writer, chosen, Some(at), String::new());
                Ok(())
            }
            (Kind::Array(from), Kind::Array(to)) => {
                self.push(*from, *to, Some(at), "[]".to_owned());
                Ok(())
            }
            (Kind::Map(from), Kind::Map(to)) => {
                self.push(*from, *to, Some(at), "{}".to_owned());
                Ok(())
            }
            (Kind::Fixed { name: from, size }, Kind::Fixed { name: to, size: expected }) => {
                same_name(from, to)?;
                if size != expected {
                    let reason = format!("{size} bytes are written, and the reader's {} has {expected}", to.full);
                    return Err(reason.into());
                }
                Ok(same_decimal(of_writer, of_reader)?)
            }
            (Kind::Enum { name: from, symbols, .. }, Kind::Enum { name: to, symbols: known, default }) => {
                same_name(from, to)?;
                match symbols.iter().find(|it| !known.contains(it)) {
                    Some(symbol) if default.is_none() => {
                        Err(format!("the reader's enum {} lacks the symbol {symbol}, and has no default", to.full)
                            .into())
                    }
                    _ => Ok(()),
                }
            }
            (Kind::Record { name: from, fields: written }, Kind::Record { name: to, fields }) => {
                same_name(from, to)?;
                fields.iter().try_for_each(|field| self.field(at, written, field))
            }
            _ if same_type(of_writer, of_reader) => Ok(same_decimal(of_writer, of_reader)?),
            _ if is_promoted(of_writer, of_reader) => Ok(()),
            _ => Err(format!("{} is written, and {} is read", told(of_writer), told(of_reader)).into()),
        }
    }

    fn field(&mut self, at: usize, written: &[Field], field: &Field) -> Result<(), Why> {
        let by_name = written.iter().find(|it| it.name == field.name);
        let by_alias = || written.iter().find(|it| field.aliases.contains(&it.name));
        if let Some(from) = by_name.or_else(by_alias) {
            self.push(from.node, field.node, Some(at), format!(".{}", field.name));
            return Ok(());
        }
        let why = |reason: String| Why { field: Some(field.name.clone()), reason };
        let Some(default) = &field.default else {
            return Err(why("the writer has no such field, and the reader no default for it".to_owned()));
        };
        let is_default = encode::is_default(self.reader, field.node, default);
        is_default.map_err(|fault| why(format!("the writer has no such field, and its default is wrong: {fault}")))
    }

    /// As Java's `Resolver.ReaderUnion`: the same type, named types by their full name first; then one that it is promoted to.
    fn branch(&self, writer: &Node, branches: &[NodeId]) -> Option<NodeId> {
        let same = |id: &&NodeId| same_type(writer, self.reader.node(**id));
        let is_same_full = |id: &&NodeId| match (writer.name(), self.reader.node(**id).name()) {
            (Some(from), Some(to)) => from.full == to.full || to.aliases.contains(&from.full),
            _ => true,
        };
        let is_same_short = |id: &&NodeId| match (writer.name(), self.reader.node(**id).name()) {
            (Some(from), Some(to)) => from.short() == to.short(),
            _ => true,
        };
        let by_full = branches.iter().filter(same).find(is_same_full);
        let by_short = || branches.iter().filter(same).find(is_same_short);
        let by_promotion = || branches.iter().find(|it| is_promoted(writer, self.reader.node(**it)));
        by_full.or_else(by_short).or_else(by_promotion).copied()
    }
}

fn same_type(writer: &Node, reader: &Node) -> bool {
    std::mem::discriminant(&writer.kind) == std::mem::discriminant(&reader.kind)
}

/// "The unqualified names match", or an alias of the reader is the writer's full name.
fn same_name(writer: &Named, reader: &Named) -> Result<(), String> {
    if writer.short() == reader.short() || reader.aliases.contains(&writer.full) {
        return Ok(());
    }
    Err(format!("{} is written, and {} is read, which has no such alias", writer.full, reader.full))
}

fn is_promoted(writer: &Node, reader: &Node) -> bool {
    matches!(
        (&writer.kind, &reader.kind),
        (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Long, Kind::Float | Kind::Double)
            | (Kind::Float, Kind::Double)
            | (Kind::String, Kind::Bytes)
            | (Kind::Bytes, Kind::String)
    )
}

/// "Two schemas that are decimal logical types match if their scales and precisions match": with another scale the same
/// bytes were another number.
fn same_decimal(writer: &Node, reader: &Node) -> Result<(), String> {
    match (writer.logical, reader.logical) {
        (Some(from @ Logical::Decimal { .. }), Some(to @ Logical::Decimal { .. })) if from != to => {
            Err(format!("{} is written, and {} is read", told(writer), told(reader)))
        }
        _ => Ok(()),
    }
}

fn told(node: &Node) -> String {
    match (node.logical, node.name()) {
        (Some(Logical::Decimal { precision, scale }), _) => format!("decimal({precision}, {scale})"),
        (_, Some(name)) => format!("{} {}", node.type_name(), name.full),
        _ => node.type_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Schema, SchemaText};
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::parse(&SchemaText { text: text.to_owned(), references: Vec::new() }).unwrap()
    }

    fn told(writer: &str, reader: &str) -> String {
        resolve(&schema(writer), &schema(reader)).err().map_or(String::new(), |it| it.to_string())
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type": "record", "name": "n.R", "fields": [{fields}]}}"#)
    }

    #[test]
    fn numbers_and_texts_are_promoted_one_way() {
        let types = ["int", "long", "float", "double", "string", "bytes", "boolean", "null"];
        let promoted = [
            ("int", "long"),
            ("int", "float"),
            ("int", "double"),
            ("long", "float"),
            ("long", "double"),
            ("float", "double"),
            ("string", "bytes"),
            ("bytes", "string"),
        ];
        for writer in types {
            for reader in types {
                let fits = writer == reader || promoted.contains(&(writer, reader));
                let quoted = |it: &str| format!("\"{it}\"");
                let why = told(&quoted(writer), &quoted(reader));
                assert_eq!(why.is_empty(), fits, "{writer} {reader}: {why}");
                let array = |it: &str| format!(r#"{{"type": "array", "items": "{it}"}}"#);
                assert_eq!(told(&array(writer), &array(reader)).is_empty(), fits);
                let optional = |it: &str| format!(r#"[{}, "boolean"]"#, quoted(it));
                if writer != "boolean" && reader != "boolean" {
                    assert_eq!(told(&quoted(writer), &optional(reader)).is_empty(), fits, "{writer} {reader}");
                }
            }
        }
    }

    #[test]
    fn fields_are_met_by_name_alias_or_default() {
        let old = record(r#"{"name": "a", "type": "int"}"#);
        assert_eq!(told(&old, &record("")), "");
        assert_eq!(told(&old, &record(r#"{"name": "b", "type": "long", "aliases": ["a"]}"#)), "");
        assert_eq!(
            told(&old, &record(r#"{"name": "b", "type": "long"}"#)),
            "b: the writer has no such field, and the reader no default for it"
        );
        for (default, field) in [
            ("0", r#""long""#),
            ("null", r#"["null", "string"]"#),
            ("\"x\"", r#"["null", "string"]"#),
            ("[]", r#"{"type": "array", "items": "int"}"#),
            ("{\"x\": 1}", r#"{"type": "map", "values": "int"}"#),
            ("\"\\u00ff\"", r#"{"type": "bytes", "logicalType": "decimal", "precision": 4}"#),
            ("3", r#"{"type": "int", "logicalType": "date"}"#),
            ("\"A\"", r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#),
            ("{\"x\": 5}", r#"{"type": "record", "name": "S", "fields": [{"name": "x", "type": "int"}]}"#),
            ("{}", r#"{"type": "record", "name": "S", "fields": [{"name": "x", "type": "int", "default": 1}]}"#),
        ] {
            let field = format!(r#"{{"name": "b", "type": {field}, "default": {default}}}"#);
            assert_eq!(told(&old, &record(&field)), "", "{field}");
        }
        assert_eq!(
            told(&old, &record(r#"{"name": "b", "type": "long", "default": "0"}"#)),
            "b: the writer has no such field, and its default is wrong: the datum: \"0\" is no long"
        );
        let deep = |of: &str| record(&format!(r#"{{"name": "s", "type": {{"type": "map", "values": {}}}}}"#, of));
        let inner =
            |of: &str| format!(r#"{{"type": "record", "name": "S", "fields": [{{"name": "x", "type": "{of}"}}]}}"#);
        assert_eq!(told(&deep(&inner("long")), &deep(&inner("int"))), "s{}.x: long is written, and int is read");
    }

    #[test]
    fn named_types_are_met_by_short_name_or_alias() {
        let fixed = |name: &str, size: usize, more: &str| {
            format!(r#"{{"type": "fixed", "name": "{name}", "size": {size}{more}}}"#)
        };
        assert_eq!(told(&fixed("a.F", 2, ""), &fixed("b.F", 2, "")), "");
        assert_eq!(
            told(&fixed("a.F", 2, ""), &fixed("a.F", 3, "")),
            "the datum: 2 bytes are written, and the reader's a.F has 3"
        );
        assert!(told(&fixed("a.F", 2, ""), &fixed("a.G", 2, "")).contains("no such alias"));
        assert_eq!(told(&fixed("a.F", 2, ""), &fixed("b.G", 2, r#", "aliases": ["a.F"]"#)), "");
        // An alias without a namespace has that of its type.
        assert_eq!(told(&fixed("b.F", 2, ""), &fixed("b.G", 2, r#", "aliases": ["F"]"#)), "");
        assert_ne!(told(&fixed("a.F", 2, ""), &fixed("b.G", 2, r#", "aliases": ["F"]"#)), "");
        let decimal = |precision: usize| format!(r#", "logicalType": "decimal", "precision": {precision}, "scale": 2"#);
        assert_eq!(
            told(&fixed("F", 4, &decimal(8)), &fixed("F", 4, &decimal(9))),
            "the datum: decimal(8, 2) is written, and decimal(9, 2) is read"
        );
        assert_eq!(told(&fixed("F", 4, &decimal(8)), &fixed("F", 4, "")), "");
    }

    #[test]
    fn an_enum_takes_unknown_symbols_by_its_default_alone() {
        let of =
            |symbols: &str, more: &str| format!(r#"{{"type": "enum", "name": "E", "symbols": [{symbols}]{more}}}"#);
        assert_eq!(told(&of("\"A\"", ""), &of("\"B\", \"A\"", "")), "");
        assert_eq!(
            told(&of("\"A\", \"C\"", ""), &of("\"A\"", "")),
            "the datum: the reader's enum E lacks the symbol C, and has no default"
        );
        assert_eq!(told(&of("\"A\", \"C\"", ""), &of("\"A\"", r#", "default": "A""#)), "");
    }

    #[test]
    fn unions_are_taken_branch_by_branch() {
        assert_eq!(told(r#"["null", "int"]"#, r#"["long", "null"]"#), "");
        assert_eq!(told(r#"["int"]"#, "\"long\""), "");
        assert_eq!(told(r#"["null", "int"]"#, "\"long\""), "the datum: null is written, and long is read");
        assert_eq!(told("\"int\"", r#"["string", "double"]"#), "");
        assert_eq!(
            told("\"double\"", r#"["string", "int"]"#),
            "the datum: no branch of the reader's union takes double"
        );
        let named = |name: &str, field: &str| {
            format!(r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "x", "type": "{field}"}}]}}"#)
        };
        // The full name counts before the order.
        let both = format!("[{}, {}]", named("a.R", "string"), named("b.R", "int"));
        assert_eq!(told(&named("b.R", "int"), &both), "");
        assert_eq!(told(&named("c.R", "int"), &both), "x: int is written, and string is read");
        let aliased = r#"[{"type": "record", "name": "Q", "aliases": ["b.R"], "fields": []}]"#;
        assert_eq!(told(&named("b.R", "int"), aliased), "");
    }

    #[test]
    fn schemas_that_hold_themselves_are_compared_once() {
        let list = |of: &str| {
            format!(
                r#"{{"type": "record", "name": "L", "fields": [{{"name": "v", "type": "{of}"}},
                     {{"name": "next", "type": ["null", "L"]}}]}}"#
            )
        };
        assert_eq!(told(&list("int"), &list("long")), "");
        assert_eq!(told(&list("long"), &list("int")), "v: long is written, and int is read");
    }

    /// Each type refers to the next: as deep as a schema may be long.
    #[test]
    fn a_long_chain_takes_no_stack() {
        let chain = |last: &str| {
            let link = |number: usize| {
                let field =
                    format!(r#"[{{"name": "f", "type": ["null", {{"type": "array", "items": "C{number}"}}]}}]"#);
                format!(r#"{{"type": "record", "name": "D{number}", "fields": {field}}}"#)
            };
            let references: Vec<String> = std::iter::once(format!(
                r#"{{"type": "record", "name": "C0", "fields": [{{"name": "x", "type": "{last}"}}]}}"#
            ))
            .chain((0..150).map(|it| link(it).replace(&format!("D{it}"), &format!("C{}", it + 1))))
            .collect();
            Schema::parse(&SchemaText { text: "\"C60\"".to_owned(), references }).unwrap()
        };
        assert_eq!(resolve(&chain("int"), &chain("long")), Ok(()));
        let mismatch = resolve(&chain("long"), &chain("int")).unwrap_err();
        assert_eq!(mismatch.path, format!("{}x", "f[].".repeat(60)));
    }
}
