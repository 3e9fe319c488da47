//! Compares the log of a source partition with that of its copy, record by record, and names every difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;

use crate::raw::{Isolation, RawClient, Rec};

/// A record's own name is in its value, key or first header, behind this mark and up to a line feed.
pub const ID_MARK: &[u8] = b"id=";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// In the source, not in the target; the offset is the source's.
    Missing,
    /// In the target more often than in the source; the offset is the surplus one's at the target.
    Doubled,
    /// Behind a record at the target that it is before of at the source; the offset is the target's.
    Reordered,
    /// Key, value, headers or timestamp differ; the offset is the target's.
    Altered,
    /// In the target, never visible in the source (an aborted record, say); the offset is the target's.
    Phantom,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub kind: Kind,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}-{} offset {}", self.kind, self.topic, self.partition, self.offset)
    }
}

/// Which timestamps must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    Equal,
    /// The target's topic stamps its own.
    Ignored,
}

/// Compares what a read_committed reader of each side sees.
pub fn partition(
    topic: &str,
    partition: i32,
    source: &[Rec],
    target: &[Rec],
    timestamps: Timestamps,
) -> Vec<Difference> {
    let mut differences = BTreeSet::new();
    let mut add = |kind, offset| {
        differences.insert(Difference { kind, topic: topic.to_owned(), partition, offset });
    };
    let mut at_source: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, record) in source.iter().enumerate() {
        at_source.entry(identity(record)).or_default().push(index);
    }
    let mut at_target: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, record) in target.iter().enumerate() {
        at_target.entry(identity(record)).or_default().push(index);
    }
    // (index at the target, index at the source) of each record found on both sides.
    let mut pairs = BTreeMap::new();
    for (name, sources) in &at_source {
        let targets = at_target.get(name).map_or(&[][..], Vec::as_slice);
        for (source_index, target_index) in sources.iter().zip(targets) {
            pairs.insert(*target_index, *source_index);
        }
        for index in sources.iter().skip(targets.len()) {
            add(Kind::Missing, source[*index].offset);
        }
        for index in targets.iter().skip(sources.len()) {
            add(Kind::Doubled, target[*index].offset);
        }
    }
    for (name, targets) in &at_target {
        if !at_source.contains_key(name) {
            targets.iter().for_each(|index| add(Kind::Phantom, target[*index].offset));
        }
    }
    let mut furthest = None;
    for (target_index, source_index) in pairs {
        if !same(&source[source_index], &target[target_index], timestamps) {
            add(Kind::Altered, target[target_index].offset);
        }
        if furthest.is_some_and(|furthest| source_index < furthest) {
            add(Kind::Reordered, target[target_index].offset);
        }
        furthest = furthest.max(Some(source_index));
    }
    differences.into_iter().collect()
}

/// Compares a compacted topic with its copy while a cleaner works on both, each by its own clock: `written` is all that was
/// ever written at the source. A copy may lack what a later record of the same key supersedes, and nothing else; what it
/// has must be as it was written, in that order, so that the last record of every key is the last one there too.
pub fn compacted(topic: &str, index: i32, written: &[Rec], target: &[Rec]) -> Vec<Difference> {
    let last: BTreeMap<_, _> = written.iter().map(|record| (&record.key, record.offset)).collect();
    let last: BTreeSet<i64> = last.into_values().collect();
    let mut found = partition(topic, index, written, target, Timestamps::Equal);
    found.retain(|difference| difference.kind != Kind::Missing || last.contains(&difference.offset));
    found
}

/// Compares all partitions of a topic in two clusters.
pub fn topics(
    source: (&mut RawClient, &str),
    target: (&mut RawClient, &str),
    timestamps: Timestamps,
) -> Result<Vec<Difference>> {
    let mut differences = vec![];
    for index in 0..source.0.partition_count(source.1)? {
        let ours = source.0.read(source.1, index, Isolation::ReadCommitted)?;
        let theirs = target.0.read(target.1, index, Isolation::ReadCommitted)?;
        differences.extend(partition(source.1, index, &ours, &theirs, timestamps));
    }
    Ok(differences)
}

/// How many distinct compressed bodies of the target's batches are the source's bytes, and how many there are.
pub fn passed_through(source: &[Rec], target: &[Rec]) -> (usize, usize) {
    let bodies = |records: &[Rec]| records.iter().map(|record| record.body_hash).collect::<BTreeSet<u64>>();
    let (source, target) = (bodies(source), bodies(target));
    (target.intersection(&source).count(), target.len())
}

/// Transactions at the target of which one part is committed and another is not: nothing may ever be torn.
///
/// `uncommitted` and `committed` are what readers of either isolation level see of all partitions that a link writes to;
/// `group` tells the transaction of each. Returns the groups that are split.
pub fn torn<T, G: Ord + Clone>(uncommitted: &[T], committed: &[T], group: impl Fn(&T) -> G) -> Vec<G> {
    let mut all: BTreeMap<G, usize> = BTreeMap::new();
    let mut visible: BTreeMap<G, usize> = BTreeMap::new();
    uncommitted.iter().for_each(|item| *all.entry(group(item)).or_default() += 1);
    committed.iter().for_each(|item| *visible.entry(group(item)).or_default() += 1);
    visible.into_iter().filter(|(group, count)| all.get(group) != Some(count)).map(|(group, _)| group).collect()
}

/// The record's own name, or all of its contents when it has none.
fn identity(record: &Rec) -> Vec<u8> {
    let header = record.headers.first().and_then(|(_, value)| value.as_deref());
    let named = [record.value.as_deref(), record.key.as_deref(), header].into_iter().flatten().find_map(|field| {
        let name = field.strip_prefix(ID_MARK)?;
        Some(name.split(|byte| *byte == b'\n').next().unwrap_or(name).to_vec())
    });
    named.unwrap_or_else(|| format!("{:?}", (&record.key, &record.value, &record.headers)).into_bytes())
}

fn same(source: &Rec, target: &Rec, timestamps: Timestamps) -> bool {
    source.key == target.key
        && source.value == target.value
        && source.headers == target.headers
        && (timestamps == Timestamps::Ignored || source.timestamp == target.timestamp)
}
