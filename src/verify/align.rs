//! Where two sequences agree again, and what lies between: one record that is gone must be told as one, and not as all that
//! come after it.

use super::entry::Entry;
use std::collections::BTreeMap;

/// Records in a row that must be the same: among records that repeat, one alone may be the same by chance.
const RUN: usize = 8;
/// Equal records are tried at so many places.
const REPEATS_MAX: usize = 16;
/// Of a record that has no twin, the altered one is looked for among so many.
const SIMILAR_MAX: usize = 64;

/// The smallest numbers of records to leave out on both sides so that what follows is the same.
pub(super) fn align(source: &[Entry], target: &[Entry], is_compacted: bool) -> Option<(usize, usize)> {
    // A cleaner leaves holes everywhere: there are no long runs.
    let run = if is_compacted { 1 } else { RUN };
    let mut index: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, entry) in source.iter().enumerate() {
        index.entry(entry.digest).or_default().push(at);
    }
    let mut best: Option<(usize, usize)> = None;
    for (t, entry) in target.iter().enumerate() {
        let is_nearer = |s: usize| best.is_none_or(|best| s + t < best.0 + best.1);
        if !is_nearer(0) {
            break;
        }
        let places = index.get(&entry.digest).map_or(&[][..], Vec::as_slice).iter().take(REPEATS_MAX);
        let found = places.copied().find(|s| is_run(&source[*s..], &target[t..], run));
        if let Some(s) = found.filter(|s| is_nearer(*s)) {
            best = Some((s, t));
        }
    }
    best
}

fn is_run(source: &[Entry], target: &[Entry], run: usize) -> bool {
    source.iter().zip(target).take(run).all(|(one, other)| one.digest == other.digest)
}

/// What lies between two places where the ends agree. Numbers are indexes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Between {
    /// The same on both sides, in the target's order.
    pub(super) same: Vec<(usize, usize)>,
    /// Of these, the ones that have moved.
    pub(super) reordered: Vec<(usize, usize)>,
    pub(super) altered: Vec<(usize, usize)>,
    pub(super) source_only: Vec<usize>,
    pub(super) target_only: Vec<usize>,
}

pub(super) fn between(source: &[Entry], target: &[Entry], is_compacted: bool) -> Between {
    let mut found = Between::default();
    let mut index: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, entry) in source.iter().enumerate().rev() {
        index.entry(entry.digest).or_default().push(at);
    }
    let mut lone = Vec::new();
    for (t, entry) in target.iter().enumerate() {
        match index.get_mut(&entry.digest).and_then(Vec::pop) {
            Some(s) => found.same.push((s, t)),
            None => lone.push(t),
        }
    }
    let stays = longest_rising(&found.same.iter().map(|it| it.0).collect::<Vec<_>>());
    found.reordered = found.same.iter().zip(stays).filter(|(_, stays)| !stays).map(|(pair, _)| *pair).collect();
    let mut left: Vec<usize> = index.into_values().flatten().collect();
    left.sort_unstable();
    for t in lone {
        let twin = left.iter().take(SIMILAR_MAX).position(|s| is_similar(&source[*s], &target[t], is_compacted));
        match twin {
            Some(at) => found.altered.push((left.remove(at), t)),
            None => found.target_only.push(t),
        }
    }
    found.source_only = left;
    found
}

/// Of the two, the one became the other.
fn is_similar(source: &Entry, target: &Entry, is_compacted: bool) -> bool {
    let is_key = source.key == target.key;
    let is_time = source.timestamp == target.timestamp;
    if is_compacted {
        // Different records of the same key are the rule there.
        return is_key && is_time;
    }
    let is_value = source.value == target.value;
    let equal = [is_key, is_value, source.headers == target.headers, is_time];
    let tells = is_time || (is_value && !source.is_tombstone) || (is_key && source.has_key);
    tells && equal.into_iter().filter(|it| *it).count() >= 2
}

/// Names what of an altered record differs.
pub(super) fn altered_parts(source: &Entry, target: &Entry) -> Vec<&'static str> {
    let parts = [
        ("key", source.key != target.key),
        ("value", source.value != target.value),
        ("headers", source.headers != target.headers),
        ("timestamp", source.timestamp != target.timestamp),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Which of the numbers belong to a longest rising sequence: the others are the fewest that can have moved. Of two that changed
/// places it is the later one, which stands behind what it should be before.
fn longest_rising(numbers: &[usize]) -> Vec<bool> {
    let numbers: Vec<usize> = numbers.iter().rev().map(|it| usize::MAX - it).collect();
    let mut tails: Vec<usize> = Vec::new();
    let mut before = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate() {
        let length = tails.partition_point(|tail| numbers[*tail] < *number);
        before[at] = length.checked_sub(1).map(|it| tails[it]);
        match tails.get_mut(length) {
            Some(tail) => *tail = at,
            None => tails.push(at),
        }
    }
    let mut stays = vec![false; numbers.len()];
    let mut at = tails.last().copied();
    while let Some(index) = at {
        stays[index] = true;
        at = before[index];
    }
    stays.reverse();
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_have_moved() {
        assert_eq!(longest_rising(&[0, 1, 2]), [true; 3]);
        assert_eq!(longest_rising(&[1, 0]), [true, false]);
        assert_eq!(longest_rising(&[1, 2, 3, 0, 4]), [true, true, true, false, true]);
        assert_eq!(longest_rising(&[3, 0, 1, 2]), [false, true, true, true]);
        assert!(longest_rising(&[]).is_empty());
    }
}
