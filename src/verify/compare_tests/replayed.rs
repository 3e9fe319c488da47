//! Dead letters that were replayed.

use super::*;
use crate::dead_letters::LetterId;
use crate::verify::replays::{Replayed, Replays};

/// A copy in which these went to the dead letters, and came back at its end; and where they stand there.
fn replayed(offsets: &[i64], corrected: bool) -> (Vec<Record>, OfPartition, Replays) {
    let (mut target, letters) = without(offsets);
    let mut replays = Replays::new();
    for (at, offset) in (0..).zip(offsets) {
        let mut it = record(*offset, *offset);
        if corrected {
            it.value = Some(b"mended".to_vec());
        }
        it.offset = target.last().map_or(0, |it| it.offset + 1);
        let digest = Some(filed(&it, 0).digest);
        let letter = LetterId { partition: 2, offset: at };
        replays.insert(it.offset, Replayed { letter, source_offset: *offset, corrected, digest });
        target.push(it);
    }
    (target, letters, replays)
}

fn with_replays(target: &[Record], letters: &OfPartition, replays: &Replays) -> Found {
    let source = copy(COUNT);
    let (letters, replays) = (Arc::new(letters.clone()), Arc::new(replays.clone()));
    compare(Rules { letters, replays, ..rules(&source, target) }, &source, target)
}

#[test]
fn what_was_replayed_is_where_it_should_be() {
    for corrected in [false, true] {
        let (target, letters, replays) = replayed(&DEAD, corrected);
        let found = with_replays(&target, &letters, &replays);
        assert_eq!((found.counts.dead_lettered, found.counts.replayed), (6, 6), "{found:?}");
        assert_eq!((found.counts.records, found.counts.differences(), found.surplus.len()), (COUNT as u64 - 6, 0, 0));
    }
}

#[test]
fn what_is_wrong_with_a_replayed_record_is_told() {
    let (target, letters, replays) = replayed(&DEAD, false);
    let told = |target: &[Record], replays: &Replays| {
        let found = with_replays(target, &letters, replays);
        let all = found.differences.iter().map(|it| (it.kind, it.source_offset, it.dead_letter.clone()));
        (all.collect::<Vec<_>>(), found.surplus.len(), found.counts.replayed)
    };
    let (place, it) = replays.iter().nth(2).map(|it| (*it.0, it.1.clone())).unwrap();
    let name = |kind| (kind, Some(it.source_offset), Some(it.letter.to_string()));
    // The ledger does not name it, or it is there twice.
    let mut unnamed = replays.clone();
    unnamed.remove(&place);
    assert_eq!(told(&target, &unnamed), (vec![], 1, 5));
    let mut twice = target.clone();
    twice.push(Record { offset: target.len() as i64 + 7, ..record(it.source_offset, it.source_offset) });
    assert_eq!(told(&twice, &replays), (vec![], 1, 6));
    // Not there, or something else.
    let gone: Vec<_> = target.iter().filter(|it| it.offset != place).cloned().collect();
    assert_eq!(told(&gone, &replays), (vec![name(Kind::Missing)], 0, 5));
    let mut other = target.clone();
    other[place as usize].value = Some(b"other".to_vec());
    assert_eq!(told(&other, &replays), (vec![name(Kind::Altered)], 0, 5));
    // As it was written, and not as the source has it.
    let mut wrong = replays.clone();
    wrong.get_mut(&place).unwrap().digest = Some(filed(&other[place as usize], 0).digest);
    assert_eq!(told(&other, &wrong), (vec![name(Kind::Altered)], 0, 5));
}
