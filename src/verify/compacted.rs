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
