//! What a comparison has found.

use super::entry::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of one partition and kind; beyond it they are counted, and not named.
const NAMED_MAX: usize = 1_000;
/// Records that one end alone has, kept to be looked for elsewhere. Beyond it they are counted as what they seem to be.
pub(super) const LONE_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// At the source, not at the target.
    Missing,
    /// Once more at the target than at the source.
    Doubled,
    /// At another place among the others.
    Reordered,
    /// Key, value, headers or timestamp are not the same.
    Altered,
    /// At the target, and at the source aborted or never there.
    Phantom,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Doubled => "doubled",
            Self::Reordered => "reordered",
            Self::Altered => "altered",
            Self::Phantom => "phantom",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: Kind,
    /// None: nobody can know it.
    pub source_offset: Option<i64>,
    /// Of a missing record: where it should be.
    pub target_offset: Option<i64>,
    /// As `kafka-bridge dead-letters` names it, where one has to do with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// What differs, or how it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The same at both ends, altered and reordered ones too.
    pub records: u64,
    pub missing: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub altered: u64,
    pub phantom: u64,
    /// Nobody can compare them: one end's data is gone.
    pub unknown: u64,
    /// Left out by an operator's decision, which the ledger holds.
    pub accepted: u64,
    /// Taken by one end's cleaner alone; a later record of their key is there.
    pub superseded: u64,
    /// In the dead letters instead, once and as they are at the source.
    #[serde(default)]
    pub dead_lettered: u64,
    /// Of dead letters, at the target behind what was copied, once and as they were replayed.
    #[serde(default)]
    pub replayed: u64,
}

impl Counts {
    pub fn differences(&self) -> u64 {
        self.missing + self.doubled + self.reordered + self.altered + self.phantom
    }

    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.missing += other.missing;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.phantom += other.phantom;
        self.unknown += other.unknown;
        self.accepted += other.accepted;
        self.superseded += other.superseded;
        self.dead_lettered += other.dead_lettered;
        self.replayed += other.replayed;
    }

    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Missing => &mut self.missing,
            Kind::Doubled => &mut self.doubled,
            Kind::Reordered => &mut self.reordered,
            Kind::Altered => &mut self.altered,
            Kind::Phantom => &mut self.phantom,
        }
    }
}

/// A record that was found at one end alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lone {
    pub(super) offset: i64,
    /// Where it should be at the other end.
    pub(super) other_offset: i64,
    pub(super) digest: Digest,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) counts: Counts,
    pub(super) differences: Vec<Difference>,
    pub(super) missing: Vec<Lone>,
    pub(super) surplus: Vec<Lone>,
}

impl Found {
    pub(super) fn difference(&mut self, difference: Difference) {
        *self.counts.of(difference.kind) += 1;
        if self.differences.iter().filter(|it| it.kind == difference.kind).count() < NAMED_MAX {
            self.differences.push(difference);
        }
    }

    pub(super) fn missing(&mut self, lone: Lone) {
        if self.missing.len() < LONE_MAX {
            self.missing.push(lone);
        } else {
            self.counts.missing += 1;
        }
    }

    pub(super) fn surplus(&mut self, lone: Lone) {
        if self.surplus.len() < LONE_MAX {
            self.surplus.push(lone);
        } else {
            self.counts.phantom += 1;
        }
    }

    /// A record that is missing here and surplus there has moved farther than the two ends were held against each other.
    pub(super) fn pair_moved(&mut self) {
        let mut by_digest: BTreeMap<Digest, Vec<Lone>> = BTreeMap::new();
        for lone in std::mem::take(&mut self.surplus).into_iter().rev() {
            by_digest.entry(lone.digest).or_default().push(lone);
        }
        for lone in std::mem::take(&mut self.missing) {
            let moved = by_digest.get_mut(&lone.digest).and_then(Vec::pop);
            self.counts.records += u64::from(moved.is_some());
            self.difference(Difference {
                kind: if moved.is_some() { Kind::Reordered } else { Kind::Missing },
                source_offset: Some(lone.offset),
                target_offset: Some(moved.map_or(lone.other_offset, |it| it.offset)),
                dead_letter: None,
                what: String::new(),
            });
        }
        self.surplus = by_digest.into_values().flatten().collect();
        self.surplus.sort_by_key(|it| it.offset);
    }
}
