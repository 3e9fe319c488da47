//! Rules of a topic's owner that go beyond the schema, and their tests of a value's bytes.

use super::decimal;
use super::fault::FaultKind;
use super::node::{Kind, Logical, Node, NodeId};
use super::program::{Op, OpId, Program};
use super::schema::{Graph, SchemaError};
use super::walk::leading_varint;
use std::collections::BTreeMap;

/// Fields within fields that a rule may name.
const SEGMENTS_MAX: usize = 60;

/// One check of one field.
///
/// The path begins at the datum: fields with dots between them, `[]` for the items of an array, `{}` for the values of a map,
/// as in `customer.address.zip`, `items[].price`, `tags{}`, `matrix[][]`. It passes through unions: into each branch that has
/// the field. An empty path is the datum itself.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldRule {
    pub path: String,
    pub check: Check,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// Not null; and no string, bytes, array or map without anything in it: an id of "" is as lost as one of null.
    Required,
    /// Of an int, long, float, double or decimal, both ends included. A date, a time or a timestamp counts as the number that
    /// it is on the wire. NaN is outside of every range.
    Range { min: Option<f64>, max: Option<f64> },
    /// Of a string or an enum. Symbols that this version of the enum lacks are no mistake.
    OneOf(Vec<String>),
    /// Characters (code points) of a string, bytes of bytes, items of an array, entries of a map. Null has no length.
    MaxLength(u64),
}

impl Check {
    fn describe(&self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Range { .. } => "range",
            Self::OneOf(_) => "one_of",
            Self::MaxLength(_) => "max_length",
        }
    }
}

#[derive(Clone)]
pub(super) enum Test {
    /// Of a union: it is not at this branch, which is null.
    NotBranch(i64),
    /// Its length or the count of its first block is not 0.
    NotEmpty,
    Range {
        min: f64,
        max: f64,
        number: Number,
    },
    TextIn(Vec<String>),
    SymbolIn(Vec<bool>),
    CharactersMax(u64),
    BytesMax(u64),
    ItemsMax(u64),
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    Varint,
    Float,
    Double,
    /// Scale.
    DecimalBytes(i64),
    DecimalFixed(i64),
    BigDecimal,
}

impl Test {
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::NotBranch(_) | Self::NotEmpty => FaultKind::RuleRequired,
            Self::Range { .. } => FaultKind::RuleRange,
            Self::TextIn(_) | Self::SymbolIn(_) => FaultKind::RuleOneOf,
            Self::CharactersMax(_) | Self::BytesMax(_) | Self::ItemsMax(_) => FaultKind::RuleMaxLength,
        }
    }

    /// `value` is what the walk has taken; `items`: of an array or map.
    pub(super) fn holds(&self, value: &[u8], items: u64) -> bool {
        let (first, length) = leading_varint(value).unwrap_or((0, 0));
        let content = &value[length..];
        match self {
            Self::NotBranch(null) => first != *null,
            Self::NotEmpty => first != 0,
            Self::Range { min, max, number } => {
                let number = number.of(value, first, content);
                *min <= number && number <= *max
            }
            Self::TextIn(allowed) => allowed.iter().any(|it| it.as_bytes() == content),
            Self::SymbolIn(allowed) => usize::try_from(first).is_ok_and(|it| allowed.get(it) == Some(&true)),
            // The bytes are UTF-8 by now; each character has one that does not go on another.
            Self::CharactersMax(max) => content.iter().filter(|it| **it & 0xc0 != 0x80).count() as u64 <= *max,
            Self::BytesMax(max) => content.len() as u64 <= *max,
            Self::ItemsMax(max) => items <= *max,
        }
    }

    fn new(check: &Check, node: &Node) -> Option<Self> {
        match (check, &node.kind) {
            (Check::Required, Kind::String | Kind::Bytes | Kind::Array(_) | Kind::Map(_)) if node.logical.is_none() => {
                Some(Self::NotEmpty)
            }
            (Check::Required, Kind::Union(_) | Kind::Null) => None,
            (Check::Range { min, max }, _) => {
                let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
                Some(Self::Range { min, max, number: Number::of_node(node)? })
            }
            (Check::OneOf(allowed), Kind::String) => Some(Self::TextIn(allowed.clone())),
            (Check::OneOf(allowed), Kind::Enum { symbols, .. }) => {
                Some(Self::SymbolIn(symbols.iter().map(|it| allowed.contains(it)).collect()))
            }
            (Check::MaxLength(max), Kind::String) => Some(Self::CharactersMax(*max)),
            (Check::MaxLength(max), Kind::Bytes) if node.logical.is_none() => Some(Self::BytesMax(*max)),
            (Check::MaxLength(max), Kind::Array(_) | Kind::Map(_)) => Some(Self::ItemsMax(*max)),
            _ => None,
        }
    }
}

impl Number {
    fn of_node(node: &Node) -> Option<Self> {
        match (&node.kind, node.logical) {
            (Kind::Int | Kind::Long, _) => Some(Self::Varint),
            (Kind::Float, _) => Some(Self::Float),
            (Kind::Double, _) => Some(Self::Double),
            (Kind::Bytes, Some(Logical::Decimal { scale, .. })) => Some(Self::DecimalBytes(scale as i64)),
            (Kind::Fixed { .. }, Some(Logical::Decimal { scale, .. })) => Some(Self::DecimalFixed(scale as i64)),
            (Kind::Bytes, Some(Logical::BigDecimal)) => Some(Self::BigDecimal),
            _ => None,
        }
    }

    fn of(self, value: &[u8], first: i64, content: &[u8]) -> f64 {
        match self {
            Self::Varint => first as f64,
            Self::Float => value.try_into().map_or(f64::NAN, |it| f64::from(f32::from_le_bytes(it))),
            Self::Double => value.try_into().map_or(f64::NAN, f64::from_le_bytes),
            Self::DecimalBytes(scale) => decimal::to_f64(content, scale),
            Self::DecimalFixed(scale) => decimal::to_f64(value, scale),
            Self::BigDecimal => super::walk::big_decimal(content)
                .map_or(f64::NAN, |(unscaled, scale)| decimal::to_f64(unscaled, i64::from(scale))),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Items,
    Values,
}

fn segments(path: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (segment, behind) = if let Some(behind) = rest.strip_prefix("[]") {
            (Segment::Items, behind)
        } else if let Some(behind) = rest.strip_prefix("{}") {
            (Segment::Values, behind)
        } else {
            let name = if segments.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
            let name = name.ok_or_else(|| format!("`.`, `[]` or `{{}}` is missing before `{rest}`"))?;
            let end = name.find(['.', '[', '{', ']', '}']).unwrap_or(name.len());
            if end == 0 {
                return Err(format!("a field's name is missing before `{name}`"));
            }
            (Segment::Field(name[..end].to_owned()), &name[end..])
        };
        segments.push(segment);
        rest = behind;
    }
    if segments.len() > SEGMENTS_MAX {
        return Err(format!("a path has {SEGMENTS_MAX} parts at most"));
    }
    Ok(segments)
}

/// The program of the schema with the rules in it. A rule that nothing in the schema can meet is an error: it would pass
/// everything.
pub(super) fn apply(graph: &Graph, mut program: Program, rules: &[FieldRule]) -> Result<Program, SchemaError> {
    let wrong = |rule: &FieldRule, reason: String| SchemaError::Rule { path: rule.path.clone(), reason };
    let mut pending = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Check::Range { min, max } = &rule.check {
            let is_range = min.unwrap_or(f64::NEG_INFINITY) <= max.unwrap_or(f64::INFINITY);
            if !is_range {
                return Err(wrong(rule, "its range holds no number".to_owned()));
            }
        }
        pending.push(Pending { rule: index, segments: segments(&rule.path).map_err(|reason| wrong(rule, reason))? });
    }
    let mut applied = vec![None; rules.len()];
    let pending: Vec<_> = pending.iter().map(|it| (it.rule, it.segments.as_slice())).collect();
    let seen = BTreeMap::new();
    let mut application = Application { graph, program: &mut program, rules, applied: &mut applied, seen };
    let root = application.node(graph.root, &pending);
    program.root = root;
    for (rule, applied) in rules.iter().zip(applied) {
        let check = rule.check.describe();
        match applied {
            Some(Applied::Yes) => {}
            Some(Applied::Meets(type_name)) => {
                return Err(wrong(rule, format!("`{check}` says nothing of the type {type_name}")));
            }
            None => return Err(wrong(rule, "the schema has nothing there".to_owned())),
        }
    }
    Ok(program)
}

struct Pending {
    rule: usize,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, PartialEq)]
enum Applied {
    Yes,
    /// The path ends at this type, of which the check says nothing.
    Meets(&'static str),
}

/// A node, and each rule with how many parts of its path are left.
type Visited = (NodeId, Vec<(usize, usize)>);

struct Application<'a> {
    graph: &'a Graph,
    program: &'a mut Program,
    rules: &'a [FieldRule],
    applied: &'a mut [Option<Applied>],
    /// Two ways to a node under the same rules lead to the same op. Without that, a path through unions of 400 records that
    /// each have the field costs 400 times as much with each part, and a producer's schema decides about it.
    seen: BTreeMap<Visited, OpId>,
}

impl Application<'_> {
    /// The op of the node under these rules, each with what is left of its path. Each step takes a part of every path, so it
    /// ends in a recursive schema too.
    fn node(&mut self, id: NodeId, rules: &[(usize, &[Segment])]) -> OpId {
        if rules.is_empty() {
            return id as OpId;
        }
        let visited = (id, rules.iter().map(|(rule, path)| (*rule, path.len())).collect());
        if let Some(op) = self.seen.get(&visited) {
            return *op;
        }
        let graph = self.graph;
        let node = graph.node(id);
        let deeper = |wanted: &Segment| -> Vec<(usize, &[Segment])> {
            let stripped = rules.iter().filter_map(|(rule, path)| Some((*rule, path.split_first()?)));
            stripped.filter(|it| it.1.0 == wanted).map(|(rule, (_, rest))| (rule, rest)).collect()
        };
        let op = match &node.kind {
            Kind::Union(branches) => {
                let branches: Vec<_> = branches.iter().map(|it| (self.node(*it, rules), 0)).collect();
                Some(Op::Union(self.program.children(branches.into_iter())))
            }
            Kind::Record { fields, .. } => {
                let mut children = Vec::with_capacity(fields.len());
                for (index, field) in fields.iter().enumerate() {
                    let op = self.node(field.node, &deeper(&Segment::Field(field.name.clone())));
                    if !matches!(self.program.ops[op as usize], Op::Nothing) {
                        children.push((op, index as u32));
                    }
                }
                Some(Op::Record(self.program.children(children.into_iter())))
            }
            Kind::Array(items) => Some(Op::Array(self.node(*items, &deeper(&Segment::Items)))),
            Kind::Map(values) => Some(Op::Map(self.node(*values, &deeper(&Segment::Values)))),
            _ => None,
        };
        let is_nothing = matches!(self.program.ops[id], Op::Nothing);
        let mut op = match op {
            Some(op) if !is_nothing => self.program.push(op, id),
            _ => id as OpId,
        };
        for (rule, _) in rules.iter().filter(|it| it.1.is_empty()) {
            op = self.check(*rule, op, id);
        }
        self.seen.insert(visited, op);
        op
    }

    fn check(&mut self, rule: usize, op: OpId, id: NodeId) -> OpId {
        let (graph, check) = (self.graph, &self.rules[rule].check);
        let node = graph.node(id);
        let test = match (check, &node.kind) {
            (Check::Required, Kind::Union(branches)) => {
                let null = branches.iter().position(|it| matches!(graph.node(*it).kind, Kind::Null));
                null.map(|it| Test::NotBranch(it as i64))
            }
            (check, _) => Test::new(check, node),
        };
        // What can be neither null nor empty has what is required.
        let is_given = *check == Check::Required && !matches!(node.kind, Kind::Null | Kind::Union(_));
        if test.is_some() || is_given {
            self.applied[rule] = Some(Applied::Yes);
        } else if !matches!(node.kind, Kind::Union(_) | Kind::Null) || self.applied[rule].is_none() {
            let met = &mut self.applied[rule];
            *met = met.filter(|it| *it == Applied::Yes).or(Some(Applied::Meets(node.type_name())));
        }
        let Some(test) = test else { return op };
        self.program.tests.push(test);
        let test = (self.program.tests.len() - 1) as u32;
        self.program.push(Op::Checked { inner: op, test }, id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{Field, Named};
    use super::*;

    const RECORDS: usize = 400;
    const HOPS: usize = 3;

    fn record(name: String, node: NodeId) -> Node {
        let field = Field { name: "next".to_owned(), aliases: Vec::new(), default: None, node };
        Node::plain(Kind::Record { name: Named { full: name, aliases: Vec::new() }, fields: vec![field] })
    }

    /// A string behind so many unions of records with a field `next`: each record's is a union of all records of the next hop.
    fn unions() -> Graph {
        let mut graph = Graph { nodes: vec![Node::plain(Kind::String)], root: 0 };
        for hop in 0..HOPS {
            let behind = graph.root;
            let records = (0..RECORDS).map(|it| {
                // A union of its own for each: that two share one is a record's luck.
                let node = match &graph.nodes[behind].kind {
                    Kind::Union(branches) => {
                        let union = Node::plain(Kind::Union(branches.clone()));
                        graph.push(union).unwrap()
                    }
                    _ => behind,
                };
                graph.push(record(format!("R{hop}_{it}"), node)).unwrap()
            });
            let records: Vec<_> = records.collect();
            graph.root = graph.push(Node::plain(Kind::Union(records))).unwrap();
        }
        graph
    }

    #[test]
    fn a_path_through_unions_costs_what_the_schema_has() {
        let graph = unions();
        let plain = Program::plain(&graph);
        let rule = FieldRule { path: ["next"; HOPS].join("."), check: Check::Required };
        let Ok(program) = apply(&graph, plain.clone(), &[rule]) else { panic!("the path is there") };
        assert!(program.ops.len() > plain.ops.len());
        // One op for each node, and one for the check.
        assert!(program.ops.len() <= 2 * plain.ops.len() + 1, "{} of {}", program.ops.len(), plain.ops.len());
        assert_eq!(program.tests.len(), 1);
    }
}
