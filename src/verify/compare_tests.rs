//! Each difference is planted once, alone: it must be named as what it is, where it is, and nothing else with it.

mod replayed;

use super::compare::{Comparer, End, Point, Rules, Step};
use super::entry::{Chain, Digest, Mask};
use super::found::{Found, Kind};
use super::letters::{Filed, OfPartition};
use crate::batch::{BatchBuilder, Compression, RawBatch, split};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn record(offset: i64, number: i64) -> Record {
    Record {
        offset,
        timestamp: 1_000 + number,
        key: Some(format!("key {}", number % 7).into_bytes()),
        value: Some(format!("value {number}").into_bytes()),
        headers: vec![(b"h".to_vec(), None), (b"h".to_vec(), None)],
    }
}

fn copy(count: i64) -> Vec<Record> {
    (0..count).map(|it| record(it, it)).collect()
}

fn renumbered(mut records: Vec<Record>) -> Vec<Record> {
    (0..).zip(&mut records).for_each(|(offset, record)| record.offset = offset);
    records
}

/// A batch of records whose offsets follow each other, as a broker keeps it.
fn batch(records: &[Record], compression: Compression) -> RawBatch {
    let mut builder = BatchBuilder::new(compression);
    for it in records {
        let headers: Vec<_> = it.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        builder.push(it.timestamp, it.key.as_deref(), it.value.as_deref(), &headers);
    }
    let mut bytes = builder.build().unwrap().bytes().to_vec();
    bytes[..8].copy_from_slice(&records[0].offset.to_be_bytes());
    split(Bytes::from(bytes)).next().unwrap().unwrap()
}

fn batches(records: &[Record], size: usize) -> Vec<RawBatch> {
    let follows = |one: &Record, other: &Record| one.offset + 1 == other.offset;
    let runs = records.chunk_by(follows).flat_map(|run| run.chunks(size));
    runs.map(|it| batch(it, Compression::Lz4)).collect()
}

fn rules(source: &[Record], target: &[Record]) -> Rules {
    let end = |all: &[Record]| all.last().map_or(0, |it| it.offset + 1);
    Rules {
        source: 0..end(source),
        target: 0..end(target),
        due_before: end(source),
        gaps: Vec::new(),
        letters: Arc::default(),
        replays: Arc::default(),
        mask: Mask::default(),
        is_compacted: false,
        with_create_time: false,
        is_loose: false,
        is_part: false,
    }
}

fn run(comparer: &mut Comparer, source: Vec<RawBatch>, target: Vec<RawBatch>) -> Found {
    let (mut source, mut target) = (source.into_iter(), target.into_iter());
    loop {
        let (end, next) = match comparer.step().unwrap() {
            Step::Done => break,
            Step::Want(End::Source) => (End::Source, source.next()),
            Step::Want(End::Target) => (End::Target, target.next()),
        };
        match next {
            Some(batch) => comparer.push(end, vec![batch]),
            None => comparer.end(end),
        }
    }
    comparer.found().clone()
}

/// Batches of both ends are cut at different places.
fn compare(rules: Rules, source: &[Record], target: &[Record]) -> Found {
    let mut found = run(&mut Comparer::new(rules, None, Found::default()), batches(source, 10), batches(target, 7));
    found.pair_moved();
    found
}

fn of(source: &[Record], target: &[Record]) -> Found {
    compare(rules(source, target), source, target)
}

fn kinds(found: &Found) -> Vec<(Kind, Option<i64>, Option<i64>, &str)> {
    found.differences.iter().map(|it| (it.kind, it.source_offset, it.target_offset, it.what.as_str())).collect()
}

const COUNT: i64 = 3_000;

#[test]
fn equal_ends_are_clean() {
    let found = of(&copy(COUNT), &copy(COUNT));
    assert_eq!((found.counts.records, found.counts.differences()), (COUNT as u64, 0));
    assert_eq!(of(&[], &[]), Found::default());
}

#[test]
fn a_batch_that_was_passed_on_is_compared_as_it_is() {
    let all = batches(&copy(COUNT), 10);
    let mut comparer = Comparer::new(rules(&copy(COUNT), &copy(COUNT)), None, Found::default());
    let found = run(&mut comparer, all.clone(), all);
    assert_eq!((found.counts.records, found.counts.differences()), (COUNT as u64, 0));
    assert_eq!(comparer.point(), Some(Point { source_offset: COUNT, target_offset: COUNT }));
}

#[test]
fn a_loss_is_one_record() {
    for at in [0, 1_234, COUNT as usize - 1] {
        let mut target = copy(COUNT);
        target.remove(at);
        let found = of(&copy(COUNT), &renumbered(target));
        let at = at as i64;
        assert_eq!(kinds(&found), [(Kind::Missing, Some(at), Some(at), "")]);
        assert_eq!(found.counts.records, COUNT as u64 - 1);
    }
}

#[test]
fn a_duplicate_is_one_record() {
    for at in [0, 1_234, COUNT as usize - 1] {
        let mut target = copy(COUNT);
        target.insert(at + 1, target[at].clone());
        let found = of(&copy(COUNT), &renumbered(target));
        assert!(found.differences.is_empty());
        let surplus: Vec<_> = found.surplus.iter().map(|it| it.offset).collect();
        assert_eq!(surplus, [at as i64 + 1]);
    }
}

#[test]
fn a_swap_is_one_record_that_moved() {
    let mut target = copy(COUNT);
    target.swap(700, 701);
    let found = of(&copy(COUNT), &renumbered(target));
    assert_eq!(found.counts.reordered, 1);
    assert_eq!((found.counts.differences(), found.counts.records), (1, COUNT as u64));
    assert!(found.differences[0].source_offset.is_some_and(|it| it == 700 || it == 701));
}

#[test]
fn a_record_that_moved_far_is_one_too() {
    let mut target = copy(200_000);
    let moved = target.remove(100);
    target.push(moved);
    let found = of(&copy(200_000), &renumbered(target));
    assert_eq!(kinds(&found), [(Kind::Reordered, Some(100), Some(199_999), "")]);
}

#[test]
fn what_is_altered_is_told() {
    type Edit = fn(&mut Record);
    let edits: [(Edit, &str); 5] = [
        (|it| it.value.as_mut().unwrap()[3] ^= 1, "value"),
        (|it| it.key = None, "key"),
        (|it| it.timestamp += 1, "timestamp"),
        (|it| drop(it.headers.pop()), "headers"),
        (|it| it.value = Some(Vec::new()), "value"),
    ];
    for (edit, what) in edits {
        let mut target = copy(COUNT);
        edit(&mut target[1_500]);
        let found = of(&copy(COUNT), &target);
        assert_eq!(kinds(&found), [(Kind::Altered, Some(1_500), Some(1_500), what)]);
    }
}

#[test]
fn several_differences_stay_apart() {
    let mut target = copy(COUNT);
    target[2_000].timestamp = 5;
    target.insert(1_200, record(0, 77_777));
    target.swap(600, 601);
    target.remove(100);
    let found = of(&copy(COUNT), &renumbered(target));
    assert_eq!((found.counts.missing, found.counts.altered, found.counts.reordered), (1, 1, 1));
    assert_eq!(found.surplus.iter().map(|it| it.offset).collect::<Vec<_>>(), [1_199]);
}

#[test]
fn many_losses_at_once_are_so_many() {
    let target = renumbered(copy(20_000).into_iter().filter(|it| !(5_000..9_000).contains(&it.offset)).collect());
    let found = of(&copy(20_000), &target);
    assert_eq!((found.counts.missing, found.counts.differences(), found.counts.records), (4_000, 4_000, 16_000));
    assert_eq!(found.differences[0].source_offset, Some(5_000));
}

/// Nothing tells one from the other, so where one is gone is anybody's guess; that one is gone is not.
#[test]
fn records_that_are_all_the_same_are_counted() {
    let same: Vec<_> = (0..COUNT).map(|offset| Record { offset, ..record(0, 0) }).collect();
    let short: Vec<_> = same[..COUNT as usize - 1].to_vec();
    let (lost, doubled) = (of(&same, &short), of(&short, &same));
    assert_eq!((lost.counts.missing, lost.counts.differences()), (1, 1));
    assert_eq!((doubled.surplus.len(), doubled.counts.differences()), (1, 0));
}

#[test]
fn what_is_not_due_yet_is_not_missing() {
    let (source, target) = (copy(COUNT), copy(COUNT - 10));
    let due = |due_before| Rules { due_before, ..rules(&source, &target) };
    assert_eq!(compare(due(COUNT - 10), &source, &target).counts.differences(), 0);
    assert_eq!(compare(due(COUNT - 9), &source, &target).counts.missing, 1);
    // The copy may be farther than the ledger that was read.
    assert_eq!(compare(due(COUNT - 200), &source, &target).counts.differences(), 0);
}

#[test]
fn a_gap_by_decision_is_accepted_and_a_loss_beside_it_is_not() {
    let target = renumbered(copy(COUNT).into_iter().filter(|it| !(500..600).contains(&it.offset)).collect());
    let accepted = compare(Rules { gaps: vec![500..600; 1], ..rules(&copy(COUNT), &target) }, &copy(COUNT), &target);
    assert_eq!((accepted.counts.accepted, accepted.counts.differences()), (100, 0));
    let less = compare(Rules { gaps: vec![500..599; 1], ..rules(&copy(COUNT), &target) }, &copy(COUNT), &target);
    assert_eq!((less.counts.accepted, less.counts.missing), (99, 1));
}

#[test]
fn without_a_common_beginning_only_what_follows_is_judged() {
    let (source, mut target) = (copy(COUNT), renumbered(copy(COUNT).split_off(50)));
    let loose = Rules { is_loose: true, ..rules(&source, &target) };
    let found = compare(loose.clone(), &source, &target);
    assert_eq!((found.counts.unknown, found.counts.differences()), (50, 0));
    target.remove(800);
    let found = compare(loose, &source, &renumbered(target));
    assert_eq!((found.counts.unknown, found.counts.missing), (50, 1));
}

/// The records that a cleaner leaves: of each key the last, of those it has reached.
fn cleaned(records: &[Record], up_to: i64) -> Vec<Record> {
    let is_last = |it: &Record| !records.iter().any(|other| other.key == it.key && other.offset > it.offset);
    records.iter().filter(|it| it.offset >= up_to || is_last(it)).cloned().collect()
}

#[test]
fn what_a_cleaner_took_at_either_end_is_no_difference() {
    let all: Vec<_> = (0..600).map(|it| Record { key: Some(vec![(it % 31) as u8]), ..record(it, it) }).collect();
    for (at_source, at_target) in [(0, 300), (300, 0), (200, 500), (600, 600), (600, 0), (0, 600)] {
        let (source, target) = (cleaned(&all, at_source), cleaned(&all, at_target));
        let compacted = Rules { is_compacted: true, ..rules(&source, &target) };
        let found = compare(compacted.clone(), &source, &target);
        assert_eq!((found.counts.differences(), found.surplus.len()), (0, 0), "{at_source} {at_target}");
        // The last one of its key is nobody's to take.
        let mut lossy = target.clone();
        let at = lossy.len() - 3;
        let lost = lossy.remove(at).offset;
        let found = compare(compacted.clone(), &source, &lossy);
        assert_eq!(kinds(&found)[0].1, Some(lost), "{at_source} {at_target}");
        let found = compare(compacted, &lossy, &target);
        assert!(found.surplus.iter().any(|it| it.offset == lost), "{at_source} {at_target}: {found:?}");
    }
}

#[test]
fn a_comparison_goes_on_where_one_has_stopped() {
    let all = copy(COUNT);
    let compare = |rules: Rules, chain, from: usize, to: usize| {
        let mut comparer = Comparer::new(rules, Some(chain), Found::default());
        let found = run(&mut comparer, batches(&all[from..to], 10), batches(&all[from..to], 7));
        assert_eq!(found.counts.differences(), 0);
        (comparer.point().unwrap(), comparer.chain().unwrap())
    };
    let (point, whole) = compare(rules(&all, &all), Chain::default(), 0, COUNT as usize);
    assert_eq!(point, Point { source_offset: COUNT, target_offset: COUNT });
    let (middle, chain) = compare(rules(&all[..1_000], &all[..1_000]), Chain::default(), 0, 1_000);
    let rest = Rules { source: middle.source_offset..COUNT, target: middle.target_offset..COUNT, ..rules(&all, &all) };
    assert_eq!(compare(rest, chain, 1_000, COUNT as usize), (point, whole));
}

proptest! {
    #![proptest_config(crate::testing::config(64))]
    /// Whatever is done to a copy: it is clean if and only if nothing was done.
    #[test]
    fn a_copy_is_clean_if_and_only_if_it_is_one(
        count in 1..400_i64, edits in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8), 0..4),
        distinct in 1..400_i64,
    ) {
        let source: Vec<_> = (0..count).map(|it| record(it, it % distinct)).collect();
        let mut target = source.clone();
        for (at, edit) in edits {
            if target.is_empty() {
                break;
            }
            let at = at.index(target.len());
            match edit {
                0 => drop(target.remove(at)),
                1 => target.insert(at, target[at].clone()),
                2 => target.swap(at, 0),
                3 => target[at].timestamp += 1_000_000,
                _ => target.push(record(0, 1_000_000)),
            }
        }
        let target = renumbered(target);
        let contents = |all: &[Record]| all.iter().map(|it| Record { offset: 0, ..it.clone() }).collect::<Vec<_>>();
        let found = of(&source, &target);
        let is_clean = found.counts.differences() == 0 && found.surplus.is_empty();
        prop_assert_eq!(is_clean, contents(&source) == contents(&target), "{:?}", found);
        let net = found.counts.records + found.surplus.len() as u64;
        prop_assert_eq!(net, target.len() as u64);
        prop_assert_eq!(found.counts.records + found.counts.missing, source.len() as u64);
    }
}

fn filed(record: &Record, offset: i64) -> Filed {
    let batch = batch(std::slice::from_ref(record), Compression::None).decode(1 << 20).unwrap();
    let view = batch.records().next().unwrap().unwrap();
    Filed { id: (2, offset), digest: Digest::of(record.timestamp, &view), time_ms: 0 }
}

/// A copy in which each of these went to the dead letters instead.
fn without(offsets: &[i64]) -> (Vec<Record>, OfPartition) {
    let target = renumbered(copy(COUNT).into_iter().filter(|it| !offsets.contains(&it.offset)).collect());
    let letters = (0..).zip(offsets).map(|(at, it)| (*it, vec![filed(&record(*it, *it), at)])).collect();
    (target, letters)
}

fn with_letters(target: &[Record], letters: &OfPartition) -> Found {
    let source = copy(COUNT);
    compare(Rules { letters: Arc::new(letters.clone()), ..rules(&source, target) }, &source, target)
}

const DEAD: [i64; 6] = [0, 1, 700, 1_234, COUNT - 2, COUNT - 1];

#[test]
fn what_is_in_the_dead_letters_is_where_it_should_be() {
    let (target, letters) = without(&DEAD);
    let found = with_letters(&target, &letters);
    assert_eq!((found.counts.dead_lettered, found.counts.differences()), (6, 0), "{found:?}");
    assert_eq!((found.counts.records, found.surplus.len()), (COUNT as u64 - 6, 0));
    // All of them, and of the whole partition.
    let (target, letters) = without(&(0..COUNT).collect::<Vec<_>>());
    let found = with_letters(&target, &letters);
    assert_eq!((found.counts.dead_lettered, found.counts.records), (COUNT as u64, 0));
    assert_eq!(found.counts.differences(), 0);
}

#[test]
fn what_is_wrong_with_a_dead_letter_is_told() {
    let (target, letters) = without(&DEAD);
    let told = |letters: &OfPartition, target: &[Record]| {
        let found = with_letters(target, letters);
        let all = found.differences.iter().map(|it| (it.kind, it.source_offset, it.dead_letter.clone()));
        (all.collect::<Vec<_>>(), found)
    };
    let one = |kind, offset, id: &str| vec![(kind, Some(offset), Some(id.to_owned()))];

    let mut doubled = letters.clone();
    doubled.get_mut(&700).unwrap().push(filed(&record(700, 700), 9));
    let (all, found) = told(&doubled, &target);
    assert_eq!((all, found.counts.dead_lettered), (one(Kind::Doubled, 700, "2-9"), 6));

    let mut altered = letters.clone();
    let mut flipped = record(700, 700);
    flipped.value.as_mut().unwrap()[0] ^= 1;
    altered.insert(700, vec![filed(&flipped, 9)]);
    let (all, found) = told(&altered, &target);
    assert_eq!((all, found.counts.dead_lettered), (one(Kind::Altered, 700, "2-9"), 5));

    let mut gone = letters.clone();
    gone.remove(&700);
    let (all, found) = told(&gone, &target);
    assert_eq!((all, found.counts.missing), (vec![(Kind::Missing, Some(700), None)], 1));

    let (shorter, mut phantom) = without(&DEAD);
    phantom.insert(COUNT + 5, vec![filed(&record(0, 0), 9)]);
    let source = copy(COUNT);
    let beyond = Rules { letters: Arc::new(phantom), ..rules(&source, &shorter) };
    let found = compare(Rules { source: 0..COUNT + 10, ..beyond.clone() }, &source, &shorter);
    assert_eq!((found.counts.phantom, found.differences[0].source_offset), (1, Some(COUNT + 5)));
    // What is not asked for is not judged.
    assert_eq!(compare(beyond, &source, &shorter).counts.differences(), 0);

    let mut both = copy(COUNT).into_iter().filter(|it| it.offset == 700 || !DEAD.contains(&it.offset));
    let found = with_letters(&renumbered(both.by_ref().collect()), &letters);
    assert_eq!((found.surplus.len(), found.counts.dead_lettered, found.counts.differences()), (1, 6, 0));
    assert_eq!(found.surplus[0].offset, 698);
}

/// Copied behind the cut of the target, a record may become a dead letter before these are read.
#[test]
fn dead_letters_behind_the_end_of_the_copy_are_not_judged() {
    let (source, target) = (copy(COUNT), copy(COUNT / 2));
    let letters = OfPartition::from([(COUNT - 3, vec![filed(&record(COUNT - 3, COUNT - 3), 0)])]);
    let cut = Rules { due_before: COUNT / 2, letters: Arc::new(letters), ..rules(&source, &target) };
    let found = compare(cut, &source, &target);
    assert_eq!((found.counts.records, found.counts.dead_lettered), (COUNT as u64 / 2, 0));
    assert_eq!(kinds(&found), []);
}

/// The source's cleaner has taken what the dead letter's record supersedes; the target has no such record, and keeps it.
#[test]
fn a_dead_letter_is_a_later_record_of_its_key() {
    const SUPERSEDED: i64 = 5;
    let keyed = |key: i64, it: i64| Record { key: Some(key.to_be_bytes().to_vec()), ..record(it, it) };
    let of = |key: i64, at: i64| {
        let mut source: Vec<_> = (0..COUNT).map(|it| keyed(it, it)).collect();
        source[at as usize] = keyed(key, at);
        let target = renumbered(source.iter().filter(|it| it.offset != at).cloned().collect());
        let letters = OfPartition::from([(at, vec![filed(&source[at as usize], 0)])]);
        source.remove(SUPERSEDED as usize);
        let rules = Rules { is_compacted: true, letters: Arc::new(letters), ..rules(&source, &target) };
        compare(rules, &source, &target)
    };
    // At once, while the ends are held against each other, far behind that, and as the last record.
    for at in [SUPERSEDED + 1, 9, 500, COUNT - 1] {
        let found = of(SUPERSEDED, at);
        assert_eq!((found.counts.superseded, found.counts.dead_lettered), (1, 1), "{at}");
        assert_eq!((found.counts.differences(), found.surplus.len()), (0, 0), "{at}");
        assert_eq!(of(-1, at).surplus.len(), 1, "{at}: another key");
    }
    assert_eq!(of(SUPERSEDED, 2).surplus.len(), 1, "an earlier one explains nothing");
}

#[test]
fn batches_without_a_dead_letter_are_compared_as_they_are() {
    let (target, letters) = without(&DEAD);
    // Cut so that what lies between two dead letters is the same at both ends.
    let cut = |all: &[Record]| {
        let is_same = |one: &Record, other: &Record| {
            let number = |it: &Record| it.timestamp - 1_000;
            number(one) / 10 == number(other) / 10
        };
        all.chunk_by(is_same).map(|it| batch(it, Compression::Lz4)).collect::<Vec<_>>()
    };
    let source = copy(COUNT);
    let rules = Rules { letters: Arc::new(letters), ..rules(&source, &target) };
    let mut comparer = Comparer::new(rules, None, Found::default());
    let found = run(&mut comparer, cut(&source), cut(&target));
    assert_eq!((found.counts.dead_lettered, found.counts.differences()), (6, 0));
    assert_eq!(comparer.point(), Some(Point { source_offset: COUNT, target_offset: COUNT - 6 }));
}

#[test]
fn of_a_mapped_schema_the_id_alone_may_differ() {
    let framed = |id: u8, it: i64| {
        let value = Some([&[0, 0, 0, 0, id], format!("value {it}").as_bytes()].concat());
        Record { value, ..record(it, it) }
    };
    let source: Vec<_> = (0..COUNT).map(|it| framed(3, it)).collect();
    let mut target: Vec<_> = (0..COUNT).map(|it| framed(77, it)).collect();
    let mask = Mask::default().with_value();
    let mapped = |target: &[Record]| compare(Rules { mask, ..rules(&source, target) }, &source, target);
    let found = mapped(&target);
    assert_eq!((found.counts.records, found.counts.differences()), (COUNT as u64, 0));
    assert!(of(&source, &target).counts.differences() > 0);
    for at in [0, 5, 9] {
        target[1_500].value.as_mut().unwrap()[at] ^= 1;
        assert_eq!(kinds(&mapped(&target)), [(Kind::Altered, Some(1_500), Some(1_500), "value")], "{at}");
        target[1_500].value.as_mut().unwrap()[at] ^= 1;
    }
    target.remove(2_000);
    assert_eq!(mapped(&renumbered(target)).counts.missing, 1);
}

#[test]
fn a_mapped_id_is_always_the_same_one() {
    let framed = |id: i64, it: i64| {
        let value = Some([&[0, 0, 0, 0, id as u8], format!("value {it}").as_bytes()].concat());
        Record { value, ..record(it, it) }
    };
    let source: Vec<_> = (0..COUNT).map(|it| framed(3 + it % 2, it)).collect();
    let mut target: Vec<_> = (0..COUNT).map(|it| framed(77 - it % 2, it)).collect();
    let mapped = |target: &[Record]| {
        compare(Rules { mask: Mask::default().with_value(), ..rules(&source, target) }, &source, target)
    };
    assert_eq!(mapped(&target).counts.differences(), 0);
    // Where batches are compared in step, and where one was not changed at all.
    for id in [77, 4] {
        target[1_501] = framed(id, 1_501);
        let found = mapped(&target);
        assert_eq!(kinds(&found), [(Kind::Altered, Some(1_501), Some(1_501), "schema id of the value")]);
        assert_eq!(found.counts.records, COUNT as u64);
    }
    // Where the ends do not agree.
    target.remove(1_500);
    let found = mapped(&renumbered(target));
    let kinds: Vec<_> = found.differences.iter().map(|it| (it.kind, it.source_offset)).collect();
    assert_eq!(kinds, [(Kind::Altered, Some(1_501)), (Kind::Missing, Some(1_500))]);
}

#[test]
fn of_a_mapped_topic_batches_that_were_passed_on_have_their_ids_compared() {
    let framed = |id: u8, it: i64| {
        let value = Some([&[0, 0, 0, 0, id], format!("value {it}").as_bytes()].concat());
        Record { value, ..record(it, it) }
    };
    let source: Vec<_> = (0..100).map(|it| framed(3, it)).collect();
    let target: Vec<_> = (0..100).map(|it| framed(if it < 50 { 77 } else { 3 }, it)).collect();
    let rules = Rules { mask: Mask::default().with_value(), ..rules(&source, &target) };
    let mut comparer = Comparer::new(rules, None, Found::default());
    let found = run(&mut comparer, batches(&source, 10), batches(&target, 10));
    assert_eq!((found.counts.altered, found.counts.records), (50, 100));
}

proptest! {
    #![proptest_config(crate::testing::config(64))]
    /// Wherever dead letters are, and whatever is lost beside them: what is told is what is gone.
    #[test]
    fn what_is_neither_copied_nor_a_dead_letter_is_missing(
        fates in prop::collection::vec(0..12_u8, 1..400), sizes in (1..30_usize, 1..30_usize),
    ) {
        let source: Vec<_> = (0..fates.len() as i64).map(|it| record(it, it)).collect();
        let fate = |it: &Record| fates[it.offset as usize];
        let letters: OfPartition = source.iter().filter(|it| fate(it) == 0).map(|it| (it.offset, vec![filed(it, 0)])).collect();
        let target = renumbered(source.iter().filter(|it| fate(it) > 1).cloned().collect());
        let count = |wanted: u8| fates.iter().filter(|it| **it == wanted).count() as u64;
        let rules = Rules { letters: Arc::new(letters), ..rules(&source, &target) };
        let mut found = run(&mut Comparer::new(rules, None, Found::default()), batches(&source, sizes.0), batches(&target, sizes.1));
        found.pair_moved();
        let counts = &found.counts;
        prop_assert_eq!((counts.dead_lettered, counts.missing, counts.differences()), (count(0), count(1), count(1)));
        prop_assert_eq!(counts.records, target.len() as u64);
    }
}
