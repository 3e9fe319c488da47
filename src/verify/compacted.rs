//! Records of a compacted topic that one end has and the other has not: all right where the other end has a later one of the
//! same key, for its cleaner has taken them.

use super::entry::Entry;
use std::collections::BTreeMap;

/// Kept for each end until their key comes again; about a hundred bytes each. What does not fit is not judged.
const WAITING_MAX: usize = 500_000;

#[derive(Default)]
pub(super) struct Waiting {
    by_key: BTreeMap<u128, Vec<Entry>>,
    count: usize,
    /// Nobody can tell whether they are all right.
    pub(super) unjudged: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, entry: Entry) {
        if self.count >= WAITING_MAX {
            self.unjudged += 1;
            return;
        }
        self.count += 1;
        self.by_key.entry(entry.key).or_default().push(entry);
    }

    /// The other end has a record of this key behind all that waits.
    pub(super) fn seen(&mut self, key: u128) {
        if let Some(explained) = self.by_key.remove(&key) {
            self.count -= explained.len();
        }
    }

    /// Those that no later record of their key explains: the last one of each key. It may have explained those before it until
    /// it was lost, and a tombstone is taken too, in the end, so these are not judged.
    pub(super) fn finish(&mut self) -> Vec<Entry> {
        let mut unexplained = Vec::new();
        for mut entries in std::mem::take(&mut self.by_key).into_values() {
            unexplained.extend(entries.pop_if(|it| !it.is_tombstone));
            self.unjudged += entries.len() as u64;
        }
        unexplained.sort_by_key(|it| it.offset);
        self.count = 0;
        unexplained
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Chain;
    use super::super::ids::Ids;
    use super::*;

    fn entry(offset: i64, key: u128, is_tombstone: bool) -> Entry {
        let digest = Chain::default().0;
        let ids = Ids::default();
        Entry { offset, timestamp: 0, digest, key, value: 0, headers: 0, ids, has_key: true, is_tombstone }
    }

    #[test]
    fn the_last_of_a_key_that_comes_no_more_is_unexplained_unless_it_is_a_tombstone() {
        let mut waiting = Waiting::default();
        for (offset, key, is_tombstone) in [(0, 1, false), (1, 2, false), (2, 2, false), (3, 3, true), (4, 4, false)] {
            waiting.add(entry(offset, key, is_tombstone));
        }
        waiting.seen(1);
        let offsets: Vec<_> = waiting.finish().iter().map(|it| it.offset).collect();
        assert_eq!((offsets, waiting.unjudged), (vec![2, 4], 2));
    }

    #[test]
    fn what_does_not_fit_is_not_judged() {
        let mut waiting = Waiting::default();
        (0..WAITING_MAX + 3).for_each(|number| waiting.add(entry(number as i64, number as u128, false)));
        waiting.seen(0);
        assert_eq!((waiting.finish().len(), waiting.unjudged), (WAITING_MAX - 1, 3));
        assert!(waiting.is_empty());
    }
}
