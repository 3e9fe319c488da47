//! What a validator walks by: one small instruction for each type, found by index.

use super::decimal::Largest;
use super::node::{Kind, Logical, Node, NodeId};
use super::rules::Test;
use super::schema::Graph;

pub(super) type OpId = u32;

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// The type has no bytes: null, a fixed of size 0, a record of nothing else. It is never walked, or an array of them
    /// would cost what its count claims.
    Nothing,
    Boolean,
    Int,
    Long,
    TimeMillis,
    TimeMicros,
    /// Any bytes, so many: float, double, fixed, duration.
    Fixed(usize),
    Bytes,
    Text,
    Uuid,
    /// Of the table of decimals.
    Decimal(u32),
    BigDecimal,
    Enum(u32),
    Array(OpId),
    Map(OpId),
    Union(Children),
    Record(Children),
    /// The value, then a rule's test of it.
    Checked {
        inner: OpId,
        test: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Children {
    first: u32,
    count: u32,
}

#[derive(Clone)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) root: OpId,
    /// The node of each op, which knows the names.
    nodes: Vec<NodeId>,
    children: Vec<OpId>,
    /// For the children of a record, the fields that they are: those without bytes are left out.
    fields: Vec<u32>,
    pub(super) decimals: Vec<std::sync::Arc<Decimal>>,
    pub(super) tests: Vec<Test>,
}

pub(super) struct Decimal {
    pub(super) largest: Largest,
    /// Of a fixed; None: its length stands before it.
    pub(super) size: Option<usize>,
}

impl Program {
    /// Without rules: the op of a node has the node's index.
    pub(super) fn plain(graph: &Graph) -> Self {
        let empty = without_bytes(&graph.nodes);
        let mut program = Self {
            ops: Vec::with_capacity(graph.nodes.len()),
            root: graph.root as OpId,
            nodes: (0..graph.nodes.len()).collect(),
            children: Vec::new(),
            fields: Vec::new(),
            decimals: Vec::new(),
            tests: Vec::new(),
        };
        for (node, is_empty) in graph.nodes.iter().zip(&empty) {
            let op = if *is_empty { Op::Nothing } else { program.op(node, &empty) };
            program.ops.push(op);
        }
        program
    }

    fn op(&mut self, node: &Node, empty: &[bool]) -> Op {
        match (&node.kind, node.logical) {
            (Kind::Null, _) => Op::Nothing,
            (Kind::Boolean, _) => Op::Boolean,
            (Kind::Int, Some(Logical::TimeMillis)) => Op::TimeMillis,
            (Kind::Int, _) => Op::Int,
            (Kind::Long, Some(Logical::TimeMicros)) => Op::TimeMicros,
            (Kind::Long, _) => Op::Long,
            (Kind::Float, _) => Op::Fixed(size_of::<f32>()),
            (Kind::Double, _) => Op::Fixed(size_of::<f64>()),
            (Kind::Bytes, Some(Logical::Decimal { precision, .. })) => self.decimal(precision, None),
            (Kind::Bytes, Some(Logical::BigDecimal)) => Op::BigDecimal,
            (Kind::Bytes, _) => Op::Bytes,
            (Kind::String, Some(Logical::Uuid)) => Op::Uuid,
            (Kind::String, _) => Op::Text,
            (Kind::Fixed { size, .. }, Some(Logical::Decimal { precision, .. })) => {
                self.decimal(precision, Some(*size))
            }
            (Kind::Fixed { size, .. }, _) => Op::Fixed(*size),
            (Kind::Enum { symbols, .. }, _) => Op::Enum(symbols.len() as u32),
            (Kind::Array(items), _) => Op::Array(*items as OpId),
            (Kind::Map(values), _) => Op::Map(*values as OpId),
            (Kind::Union(branches), _) => Op::Union(self.children(branches.iter().map(|it| (*it as OpId, 0)))),
            (Kind::Record { fields, .. }, _) => {
                let walked = fields.iter().enumerate().filter(|it| !empty[it.1.node]);
                Op::Record(self.children(walked.map(|(index, field)| (field.node as OpId, index as u32))))
            }
        }
    }

    fn decimal(&mut self, precision: usize, size: Option<usize>) -> Op {
        self.decimals.push(std::sync::Arc::new(Decimal { largest: Largest::of(precision), size }));
        Op::Decimal((self.decimals.len() - 1) as u32)
    }

    pub(super) fn children(&mut self, of: impl Iterator<Item = (OpId, u32)>) -> Children {
        let first = self.children.len() as u32;
        for (op, field) in of {
            self.children.push(op);
            self.fields.push(field);
        }
        Children { first, count: self.children.len() as u32 - first }
    }

    /// An op for a node that has one already: with rules it is another.
    pub(super) fn push(&mut self, op: Op, node: NodeId) -> OpId {
        self.ops.push(op);
        self.nodes.push(node);
        (self.ops.len() - 1) as OpId
    }

    #[inline]
    pub(super) fn of(&self, children: Children) -> &[OpId] {
        let first = children.first as usize;
        &self.children[first..first + children.count as usize]
    }

    /// The field that the child of a record is.
    pub(super) fn field(&self, children: Children, child: usize) -> usize {
        self.fields[children.first as usize + child] as usize
    }

    pub(super) fn node(&self, op: OpId) -> NodeId {
        self.nodes[op as usize]
    }
}

/// The least set: a record that holds itself is not in it, for a datum of it has no end, and must be found too deep.
fn without_bytes(nodes: &[Node]) -> Vec<bool> {
    let mut empty = vec![false; nodes.len()];
    loop {
        let mut has_changed = false;
        // Fields mostly stand behind their record.
        for (id, node) in nodes.iter().enumerate().rev() {
            let is_empty = match &node.kind {
                Kind::Null => true,
                Kind::Fixed { size, .. } => *size == 0,
                Kind::Record { fields, .. } => fields.iter().all(|it| empty[it.node]),
                _ => false,
            };
            has_changed |= is_empty && !std::mem::replace(&mut empty[id], is_empty);
        }
        if !has_changed {
            return empty;
        }
    }
}
