//! Dead letters that were replayed: where their records stand at the target, by the ledger, and whether they are there as they
//! were written, and as the source has them.

use super::entry::Digest;
use super::found::{Difference, Found, Kind};
use crate::dead_letters::LetterId;
use crate::ledger::{Delivered, LetterKey, Position};
use std::collections::BTreeMap;

/// One of them. About a hundred bytes, and no more of them than dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) letter: LetterId,
    pub(crate) source_offset: i64,
    /// Its value is not the source's.
    pub(crate) corrected: bool,
    /// As it was written. None: the ledger's record holds none.
    pub(crate) digest: Option<Digest>,
}

/// Of one target partition, by offset.
pub(crate) type Replays = BTreeMap<i64, Replayed>;

/// Those in the partition that the position is copied to. Of a topic that was made anew since, offsets are other records'.
pub(crate) fn replays_of(delivered: &BTreeMap<LetterKey, Delivered>, position: &Position) -> Replays {
    let is_here = |it: &Delivered| {
        (&it.target_topic, it.target_partition) == (&position.target_topic, position.target_partition)
            && (position.target_topic_id.is_nil() || it.target_topic_id == position.target_topic_id)
    };
    let here = delivered.iter().filter(|it| is_here(it.1));
    let of = |(key, it): (&LetterKey, &Delivered)| {
        let digest = Digest::try_from(it.sha256.clone()).ok();
        let (letter, source_offset, corrected) = (key.letter, key.offset, it.corrected);
        (it.target_offset, Replayed { letter, source_offset, corrected, digest })
    };
    here.map(of).collect()
}

/// Judges those of a comparison. The two ends come to a letter at different times.
#[derive(Default)]
pub(super) struct Judge {
    /// By source offset, of those that were replayed as they are: the record, without mapped ids, once the source has come to it.
    originals: BTreeMap<i64, Option<Digest>>,
    /// The same at the target, with its offset there.
    copies: Vec<(i64, Digest, i64, LetterId)>,
}

impl Judge {
    pub(super) fn new(replays: &Replays) -> Self {
        let as_they_are = replays.values().filter(|it| !it.corrected);
        Self { originals: as_they_are.map(|it| (it.source_offset, None)).collect(), copies: Vec::new() }
    }

    pub(super) fn at_source(&mut self, offset: i64, masked: Digest) {
        if let Some(original) = self.originals.get_mut(&offset) {
            *original = Some(masked);
        }
    }

    /// `there`: what stands at the offset, whole and without mapped ids; None: nothing.
    pub(super) fn at_target(
        &mut self,
        (offset, it): (i64, &Replayed),
        there: Option<(Digest, Digest)>,
        is_compacted: bool,
        found: &mut Found,
    ) {
        match there {
            // A later record of its key has taken its place.
            None if is_compacted => found.counts.unknown += 1,
            None => found.difference(difference(Kind::Missing, it, offset, "it was replayed, and is not there")),
            Some((whole, _)) if it.digest != Some(whole) => {
                found.difference(difference(Kind::Altered, it, offset, "not what was replayed"));
            }
            Some((_, masked)) => {
                found.counts.replayed += 1;
                if !it.corrected {
                    self.copies.push((it.source_offset, masked, offset, it.letter));
                }
            }
        }
    }

    pub(super) fn finish(&mut self, found: &mut Found) {
        for (source_offset, masked, offset, letter) in std::mem::take(&mut self.copies) {
            let original = self.originals.get(&source_offset).copied().flatten();
            if original.is_some_and(|it| it != masked) {
                let it = Replayed { letter, source_offset, corrected: false, digest: None };
                found.counts.replayed -= 1;
                found.difference(difference(
                    Kind::Altered,
                    &it,
                    offset,
                    "replayed as another record than the source's",
                ));
            }
        }
    }
}

fn difference(kind: Kind, it: &Replayed, offset: i64, what: &str) -> Difference {
    Difference {
        kind,
        source_offset: Some(it.source_offset),
        target_offset: Some(offset),
        dead_letter: Some(it.letter.to_string()),
        what: what.to_owned(),
    }
}
