//! What was read, and what was wrong with it.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Of each run: a topic of rubbish must not become a report of rubbish.
const PROBLEMS_MAX: usize = 1_000;

/// One record, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// As text, what is no UTF-8 replaced.
    pub key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    /// None for a tombstone, and where the value is no event.
    pub value: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub partition: i32,
    pub offset: i64,
    /// `lost` before this record, `doubled`, `reordered`, or what the validator calls it.
    pub kind: &'static str,
    pub what: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub end: &'static str,
    pub topic: String,
    pub events: u64,
    pub tombstones: u64,
    /// Records that are no event of their schema, by what is wrong.
    pub invalid: BTreeMap<&'static str, u64>,
    /// Without a `sequence` header: nothing can be said about their order.
    pub unnumbered: u64,
    pub producers: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// How many were to come; None: nobody has said.
    pub expected: Option<u64>,
    pub partitions: BTreeMap<i32, PartitionReport>,
    /// The first ones.
    pub problems: Vec<Problem>,
    pub is_clean: bool,
}

/// Offsets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PartitionReport {
    pub from: i64,
    /// Behind the last one that was read.
    pub to: i64,
    pub events: u64,
}

impl Report {
    pub(super) fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    pub(super) fn finish(&mut self) {
        self.problems.sort_by_key(|it| (it.partition, it.offset));
        let is_whole = [self.lost, self.doubled, self.reordered] == [0; 3];
        self.is_clean = is_whole && self.invalid.is_empty() && self.expected.is_none_or(|it| it == self.events);
    }
}
