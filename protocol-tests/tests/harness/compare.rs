//! One planted difference of each kind, and the checker that must name it.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::compare::{Kind, Timestamps, compacted, partition, torn};
use protocol_tests::raw::{Codec, Rec};

use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    let plant = |case: &str, plant: fn(&mut Vec<Rec>), expected: &'static [(Kind, i64)]| {
        trial("harness", &format!("compare_names_{case}"), move || check(plant, expected))
    };
    vec![
        plant("nothing_in_an_equal_log", |_| {}, &[]),
        plant("a_missing_record", |target| drop(target.remove(4)), &[(Kind::Missing, 1004)]),
        plant("a_missing_tail", |target| target.truncate(8), &[(Kind::Missing, 1008), (Kind::Missing, 1009)]),
        plant("a_doubled_record", |target| target.insert(6, at(&target[2], 77)), &[(Kind::Doubled, 77)]),
        plant("a_doubled_record_without_a_name", |target| target.insert(8, at(&target[7], 77)), &[(Kind::Doubled, 77)]),
        plant("two_swapped_records", |target| target.swap(3, 4), &[(Kind::Reordered, 3)]),
        plant("an_altered_key", |target| target[5].key = None, &[(Kind::Altered, 5)]),
        plant("an_altered_value", |target| target[5].value = Some(b"id=5\nother".to_vec()), &[(Kind::Altered, 5)]),
        plant("an_altered_timestamp", |target| target[5].timestamp += 1, &[(Kind::Altered, 5)]),
        plant("swapped_headers", |target| target[5].headers.reverse(), &[(Kind::Altered, 5)]),
        plant("an_empty_header_made_null", |target| target[5].headers[1].1 = None, &[(Kind::Altered, 5)]),
        plant("a_phantom", |target| target.insert(2, at(&record(500), 88)), &[(Kind::Phantom, 88)]),
        trial("harness", "compare_ignores_timestamps_when_told", ignored_timestamps),
        trial("harness", "compare_forgives_what_a_cleaner_takes_and_nothing_else", compacted_log),
        trial("harness", "compare_names_a_torn_transaction", torn_transaction),
    ]
}

fn record(number: i64) -> Rec {
    // Number 7 has no name of its own, like data of foreign producers.
    let value = (number != 7).then(|| format!("id={number}\ncontents").into_bytes());
    Rec {
        offset: number,
        timestamp: 1000 + number,
        key: Some(b"key".to_vec()),
        value,
        headers: vec![(b"one".to_vec(), Some(b"1".to_vec())), (b"two".to_vec(), Some(vec![]))],
        producer_id: 1,
        epoch: 0,
        transactional: true,
        codec: Codec::None,
        body_hash: 0,
    }
}

fn at(record: &Rec, offset: i64) -> Rec {
    Rec { offset, ..record.clone() }
}

fn check(plant: fn(&mut Vec<Rec>), expected: &[(Kind, i64)]) -> Result<()> {
    let source: Vec<Rec> = (0..10).map(|number| at(&record(number), 1000 + number)).collect();
    let mut target: Vec<Rec> = (0..10).map(record).collect();
    plant(&mut target);
    let found = partition("topic", 3, &source, &target, Timestamps::Equal);
    let named: Vec<(Kind, i64)> = found.iter().map(|difference| (difference.kind, difference.offset)).collect();
    ensure!(named == expected, "expected {expected:?}, found {named:?}");
    ensure!(found.iter().all(|difference| difference.topic == "topic" && difference.partition == 3), "wrong place");
    Ok(())
}

fn ignored_timestamps() -> Result<()> {
    let target = vec![Rec { timestamp: 5, ..record(1) }];
    let found = partition("topic", 0, &[record(1)], &target, Timestamps::Ignored);
    ensure!(found.is_empty(), "found {found:?}");
    Ok(())
}

fn compacted_log() -> Result<()> {
    // Keys 0 to 2, written in turn: the records 7 to 9 are the last of their keys.
    fn keyed(number: i64) -> Rec {
        Rec { key: Some(vec![(number % 3) as u8]), ..record(number) }
    }
    let written: Vec<Rec> = (0..10).map(|number| at(&keyed(number), 1000 + number)).collect();
    let check = |case: &str, plant: fn(&mut Vec<Rec>), expected: &[(Kind, i64)]| {
        let mut target: Vec<Rec> = (0..10).map(keyed).collect();
        plant(&mut target);
        let found = compacted("topic", 3, &written, &target);
        let named: Vec<_> = found.iter().map(|difference| (difference.kind, difference.offset)).collect();
        ensure!(named == expected, "{case}: expected {expected:?}, found {named:?}");
        Ok(())
    };
    check("nothing cleaned", |_| {}, &[])?;
    check("superseded records", |target| drop(target.drain(2..7)), &[])?;
    check("the last record of a key", |target| drop(target.remove(8)), &[(Kind::Missing, 1008)])?;
    check("an older value came back behind the last", |target| target.push(at(&keyed(4), 99)), &[(Kind::Doubled, 99)])?;
    let moved = [(Kind::Reordered, 6), (Kind::Reordered, 7), (Kind::Reordered, 8)];
    check("a superseded record behind the last", |target| target.swap(6, 9), &moved)?;
    check("an altered record", |target| target[9].timestamp += 1, &[(Kind::Altered, 9)])?;
    check("a record that was never written", |target| target.push(at(&keyed(11), 99)), &[(Kind::Phantom, 99)])
}

fn torn_transaction() -> Result<()> {
    let all: Vec<Rec> = (0..10).map(|number| Rec { epoch: (number / 5) as i16, ..record(number) }).collect();
    let whole = torn(&all, &all[5..], |record| (record.producer_id, record.epoch));
    ensure!(whole.is_empty(), "an aborted transaction is not torn: {whole:?}");
    let split = torn(&all, &all[3..], |record| (record.producer_id, record.epoch));
    ensure!(split == [(1, 0)], "found {split:?}");
    Ok(())
}
