//! Points of the exact map between the offsets of both ends, and which of them are kept.
//!
//! From the nearest one the map goes on by counting committed records at both ends, so a point is worth keeping where the
//! way from the one before is long. Rings of growing steps keep many of the last ones and few of the old ones: their number
//! does not grow with the link's life, and a compacted topic keeps them without anybody deleting anything.

use super::record::PositionKey;
use serde::{Deserialize, Serialize};

/// "`records` records of the partition were copied before; the first one from `source_offset` on is the first committed
/// one at or behind `target_offset`."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub records: u64,
    pub source_offset: i64,
    pub target_offset: i64,
}

/// Where a milestone is kept: the next one of the same slot takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MilestoneKey {
    #[serde(flatten)]
    pub of: PositionKey,
    pub level: u8,
    pub slot: u8,
}

/// The step of level 0 is 4,096 records: counting so many takes both brokers one answer each.
const STEP_BITS: u32 = 12;
/// Each level reaches twice as far back as the one below it.
const SLOTS: u64 = 64;
/// Its step is more records than a partition can hold, so what is there stays: the partition's first anchor.
const LEVEL_FIRST: u8 = 51;

/// The levels and slots that `next` is to be kept in, after `last`.
pub(super) fn places(last: Option<Anchor>, next: Anchor) -> Vec<(u8, u8)> {
    let Some(last) = last else { return vec![(LEVEL_FIRST, 0)] };
    let step = |records: u64, level: u8| records.checked_shr(STEP_BITS + u32::from(level)).unwrap_or(0);
    // Past a gap the count stands still; the point behind it is needed all the same.
    let is_gap = last.records == next.records && last != next;
    let crossed = |level: &u8| step(last.records, *level) < step(next.records, *level) || (is_gap && *level == 0);
    let slot = |level: u8| u8::try_from(step(next.records, level) % SLOTS).unwrap_or(0);
    (0..LEVEL_FIRST).take_while(crossed).map(|level| (level, slot(level))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn anchor(records: u64) -> Anchor {
        Anchor { records, source_offset: records as i64 * 2, target_offset: records as i64 * 3 }
    }

    #[test]
    fn the_first_one_has_a_place_of_its_own() {
        assert_eq!(places(None, anchor(0)), [(LEVEL_FIRST, 0)]);
        assert_eq!(places(Some(anchor(0)), anchor(u64::MAX)).last().map(|it| it.0), Some(LEVEL_FIRST - 1));
    }

    #[test]
    fn a_step_is_kept_on_every_level_that_it_crosses() {
        assert_eq!(places(Some(anchor(0)), anchor(4095)), []);
        assert_eq!(places(Some(anchor(4095)), anchor(4096)), [(0, 1)]);
        assert_eq!(places(Some(anchor(4096)), anchor(8192)), [(0, 2), (1, 1)]);
        assert_eq!(places(Some(anchor(64 * 4096 - 1)), anchor(64 * 4096)).first(), Some(&(0, 0)));
        let behind_a_gap = Anchor { source_offset: 1_000_000, ..anchor(5000) };
        assert_eq!(places(Some(anchor(5000)), behind_a_gap), [(0, 1)]);
        assert_eq!(places(Some(anchor(5000)), anchor(5000)), []);
    }

    /// However long a link lives: the way from the nearest anchor is a small part of the way back, and few are kept.
    #[test]
    fn history_grows_coarser_and_not_longer() {
        let mut kept = BTreeMap::new();
        let mut last = None;
        let mut records = 0;
        while records < 200_000_000 {
            for place in places(last, anchor(records)) {
                kept.insert(place, records);
            }
            last = Some(anchor(records));
            records += 3_001;
        }
        assert!(kept.len() < 20 * 64, "{} are kept", kept.len());
        let end = records;
        let kept: std::collections::BTreeSet<u64> = kept.into_values().collect();
        assert_eq!(kept.first(), Some(&0));
        for back in [5_000, 100_000, 3_000_000, 150_000_000] {
            let wanted = end - back;
            let nearest = *kept.range(..=wanted).next_back().unwrap();
            assert!(wanted - nearest <= 8_192.max(back / 16), "{back} back: {} on from the nearest", wanted - nearest);
        }
    }
}
