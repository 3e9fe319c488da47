//! Ids of mapped schemas: whatever number the target's registry has given one, it is the same in every copied record.

use super::entry::Mask;
use crate::batch::RecordView;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Of each part; about fifty bytes each. A topic has a few; ids beyond are not compared.
const IDS_MAX: usize = 10_000;

/// The ids that a record's parts name; None: that part's are not mapped, or it names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) key: Option<[u8; 4]>,
    pub(super) value: Option<[u8; 4]>,
}

impl Ids {
    pub(super) fn of(record: &RecordView<'_>, mask: Mask) -> Self {
        Self { key: mask.key_id(record), value: mask.value_id(record) }
    }
}

type Known = BTreeMap<[u8; 4], [u8; 4]>;

/// The target's ids by the source's, as the first record that names one has it.
#[derive(Default)]
pub(super) struct IdMap {
    keys: Known,
    values: Known,
}

impl IdMap {
    /// What of the copy names another schema than other copies do.
    pub(super) fn altered(&mut self, source: Ids, target: Ids) -> Vec<&'static str> {
        let parts = [
            (&mut self.keys, source.key.zip(target.key), "schema id of the key"),
            (&mut self.values, source.value.zip(target.value), "schema id of the value"),
        ];
        parts.into_iter().filter_map(|(known, ids, what)| is_other(known, ids?).then_some(what)).collect()
    }
}

fn is_other(known: &mut Known, (source, target): ([u8; 4], [u8; 4])) -> bool {
    let is_full = known.len() >= IDS_MAX;
    match known.entry(source) {
        Entry::Occupied(known) => *known.get() != target,
        Entry::Vacant(_) if is_full => false,
        Entry::Vacant(place) => {
            place.insert(target);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(key: Option<u32>, value: Option<u32>) -> Ids {
        Ids { key: key.map(u32::to_be_bytes), value: value.map(u32::to_be_bytes) }
    }

    #[test]
    fn a_second_id_for_one_is_told_and_each_part_has_its_own() {
        let mut map = IdMap::default();
        assert_eq!(map.altered(ids(Some(1), Some(1)), ids(Some(7), Some(8))), Vec::<&str>::new());
        assert_eq!(map.altered(ids(None, Some(2)), ids(None, Some(8))), Vec::<&str>::new());
        assert_eq!(map.altered(ids(Some(1), Some(1)), ids(Some(7), Some(9))), ["schema id of the value"]);
        let both = map.altered(ids(Some(1), Some(2)), ids(Some(8), Some(7)));
        assert_eq!(both, ["schema id of the key", "schema id of the value"]);
    }

    #[test]
    fn what_does_not_fit_is_not_compared() {
        let mut map = IdMap::default();
        let count = u32::try_from(IDS_MAX).unwrap();
        (0..=count).for_each(|it| drop(map.altered(ids(None, Some(it)), ids(None, Some(it)))));
        assert_eq!(map.altered(ids(None, Some(count - 1)), ids(None, Some(0))), ["schema id of the value"]);
        assert_eq!(map.altered(ids(None, Some(count)), ids(None, Some(0))), Vec::<&str>::new());
    }
}
