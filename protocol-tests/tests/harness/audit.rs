//! A small link's logs, one thing wrong in each, and the audit that must name it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::audit::whole;
use protocol_tests::ledger::Ledger;
use protocol_tests::raw::records::ReadRecord;
use protocol_tests::raw::{Codec, ReadBatch};

use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    let plant = |case: &str, plant: fn(&mut Link), expected: &'static str| {
        trial("harness", &format!("audit_names_{case}"), move || check(plant, expected))
    };
    vec![
        plant("nothing_in_a_sound_link", |_| {}, ""),
        plant("a_position_that_leaves_a_gap", |link| link.ledger[4] = position(4, 1, 4, 6, 5, 2), "breaks"),
        plant("a_position_that_overlaps", |link| link.ledger[4] = position(4, 1, 2, 6, 5, 2), "breaks"),
        plant("a_position_that_goes_back", |link| link.ledger[4] = position(4, 1, 3, 2, 5, 2), "breaks"),
        plant("a_transaction_number_twice", |link| link.ledger[4] = position(4, 1, 3, 5, 5, 1), "breaks"),
        plant("a_position_outside_a_transaction", |link| link.ledger[4].transactional = false, "in no transaction"),
        plant("a_count_that_is_wrong", |link| link.data[4] = data(4, 1, 3), "its position says 2"),
        plant("records_without_a_position", |link| drop(link.ledger.drain(4..6)), "without a position"),
        plant("a_position_without_records", |link| drop(link.data.drain(4..6)), "without data"),
        plant("records_aborted_under_a_committed_position", |link| link.data[5] = marker(7, false), "torn"),
        plant("records_committed_under_an_aborted_position", |link| link.data[3] = marker(6, true), "torn"),
    ]
}

struct Link {
    ledger: Vec<ReadBatch>,
    data: Vec<ReadBatch>,
}

/// Three records, two that are aborted, the same two again.
fn check(plant: fn(&mut Link), expected: &str) -> Result<()> {
    let mut link = Link {
        ledger: vec![
            position(0, 0, 0, 3, 3, 1),
            marker(1, true),
            position(2, 0, 3, 5, 5, 2),
            marker(3, false),
            position(4, 1, 3, 5, 5, 2),
            marker(5, true),
        ],
        data: vec![data(0, 0, 3), marker(3, true), data(4, 0, 2), marker(6, false), data(7, 1, 2), marker(9, true)],
    };
    plant(&mut link);
    let found = audit(&link);
    match (&found, expected) {
        (Ok(()), "") => Ok(()),
        (Err(error), expected) if !expected.is_empty() && format!("{error:#}").contains(expected) => Ok(()),
        _ => anyhow::bail!("expected {expected:?}, found {found:?}"),
    }
}

fn audit(link: &Link) -> Result<()> {
    let ledger = Ledger::of(std::slice::from_ref(&link.ledger))?;
    ensure!(ledger.breaks.is_empty(), "breaks: {}", ledger.breaks[0]);
    whole(&ledger, &BTreeMap::from([(("copy".to_owned(), 0), link.data.clone())]), None)?;
    Ok(())
}

fn batch(offset: i64, epoch: i16, records: Vec<ReadRecord>) -> ReadBatch {
    ReadBatch {
        base_offset: offset,
        last_offset: offset + records.len() as i64 - 1,
        codec: Codec::None,
        transactional: true,
        control: false,
        producer_id: 9,
        producer_epoch: epoch,
        base_sequence: 0,
        bytes: 0,
        body_hash: 0,
        records,
    }
}

fn record(offset: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> ReadRecord {
    ReadRecord { offset, timestamp: 0, create_time: 0, key, value, headers: vec![] }
}

fn data(offset: i64, epoch: i16, count: i64) -> ReadBatch {
    batch(offset, epoch, (0..count).map(|index| record(offset + index, None, None)).collect())
}

/// Of any epoch: a fence writes it with its own.
fn marker(offset: i64, commit: bool) -> ReadBatch {
    let key = vec![0, 0, 0, u8::from(commit)];
    ReadBatch { control: true, ..batch(offset, 5, vec![record(offset, Some(key), Some(vec![]))]) }
}

fn position(offset: i64, epoch: i16, from: i64, next: i64, records: u64, transaction: u64) -> ReadBatch {
    let key = r#"{"source":"c","topic":"data","partition":0}"#;
    let value = format!(
        r#"{{"v":1,"next_offset":{next},"from":{from},"records":{records},"target_topic":"copy","target_partition":0,"transaction":{transaction}}}"#
    );
    batch(offset, epoch, vec![record(offset, Some(key.into()), Some(value.into_bytes()))])
}
