//! What was committed is what a restart reads, wherever the process died.

use super::{Change, LaneLedger, LedgerError, LedgerRecord, Owner, Position, PositionKey, Replay};
use crate::batch::{BatchBuilder, Compression, RawBatch, split};
use crate::target::CommitOffset;
use crate::testing::config;
use crate::types::TopicPartition;
use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

fn partition() -> TopicPartition {
    TopicPartition::new("link.ledger", 0)
}

fn owner(instance: u128) -> Owner {
    Owner { instance: Uuid::from_u128(instance), host: "h".into(), pid: 1, started_ms: 2, version: "0".into() }
}

fn change(number: i32, next_offset: i64) -> Change {
    let position = Position {
        next_offset,
        leader_epoch: 0,
        topic_id: Uuid::from_u128(1),
        from: next_offset - 1,
        records: 1,
        target_topic: "orders".into(),
        target_partition: number,
        target_topic_id: Uuid::from_u128(2),
        target_offset: None,
        transaction: 0,
        time_ms: 0,
        dead_letters: None,
        decision: None,
        anchor: None,
    };
    Change { key: PositionKey { cluster_id: "c".into(), topic: "orders".into(), partition: number }, position }
}

/// The ledger's partition as a broker keeps it.
#[derive(Default)]
struct Log {
    batches: Vec<RawBatch>,
    end: i64,
    group_offset: Option<i64>,
}

impl Log {
    fn append(&mut self, batch: &RawBatch) -> i64 {
        let base = self.end;
        let mut bytes = batch.bytes().to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        let stored = split(Bytes::from(bytes)).next().unwrap().unwrap();
        self.end = stored.header().next_offset();
        self.batches.push(stored);
        base
    }

    fn replay(&self, from: i64) -> LaneLedger {
        let mut replay = Replay::new(partition());
        for batch in self.batches.iter().filter(|it| it.header().next_offset() > from) {
            replay.feed(batch).unwrap();
        }
        replay.finish()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(i32, i64)>),
    Abort(i32),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec((0..6, 1..50i64), 0..4).prop_map(Step::Commit),
        2 => (0..6).prop_map(Step::Abort),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..400)
}

fn same(a: &LaneLedger, b: &LaneLedger) -> bool {
    a.positions() == b.positions() && a.owner() == b.owner()
}

proptest! {
    #![proptest_config(config(64))]
    #[test]
    fn a_restart_reads_what_was_committed(steps in steps()) {
        let mut log = Log::default();
        let mut instance = 1;
        let mut ledger = LaneLedger::new(partition());
        ledger.take(owner(instance));
        let mut committed = ledger.clone();
        for step in steps {
            match step {
                Step::Commit(moves) => {
                    let changes = moves.iter().map(|(number, by)| {
                        let of = change(*number, 0);
                        let before = ledger.position(&of.key).map_or(0, |it| it.next_offset);
                        change(*number, before + by)
                    });
                    let pending = ledger.begin(0, changes.collect(), 5).unwrap();
                    let at = log.append(&pending.batch);
                    log.group_offset = Some(match pending.offset {
                        CommitOffset::LedgerBase => at,
                        CommitOffset::Fixed(offset) => offset,
                    });
                    ledger.committed(pending, &[(partition(), at)]);
                    committed = ledger.clone();
                }
                // Nothing reaches the log that a reader sees.
                Step::Abort(number) => drop(ledger.begin(0, vec![change(number, 1_000_000)], 5).unwrap()),
                Step::Crash => {
                    ledger = log.replay(log.group_offset.unwrap_or(0));
                    if log.group_offset.is_some() {
                        prop_assert!(same(&ledger, &committed), "{ledger:?} {committed:?}");
                    }
                    instance += 1;
                    ledger.take(owner(instance));
                }
            }
        }
        if let Some(offset) = log.group_offset {
            prop_assert!(same(&log.replay(offset), &committed));
            prop_assert!(same(&log.replay(0), &committed));
            prop_assert_eq!(log.replay(0).transaction(), log.replay(offset).transaction());
        }
    }
}

#[test]
fn the_tail_behind_a_snapshot_is_bounded() {
    let mut log = Log::default();
    let mut ledger = LaneLedger::new(partition());
    ledger.take(owner(1));
    for number in 0..10_000 {
        let pending = ledger.begin(0, vec![change(0, number)], 5).unwrap();
        let at = log.append(&pending.batch);
        let from = match pending.offset {
            CommitOffset::LedgerBase => at,
            CommitOffset::Fixed(offset) => offset,
        };
        assert!(log.end - from <= 1_100, "{from} {}", log.end);
        ledger.committed(pending, &[(partition(), at)]);
    }
}

#[test]
fn a_lane_with_too_many_partitions_says_so() {
    let mut ledger = LaneLedger::new(partition());
    ledger.take(owner(1));
    let mut seed = 1u64;
    let changes = (0..40_000).map(|number| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut change = change(number, 5);
        change.position.topic_id = Uuid::from_u64_pair(seed, seed.rotate_left(20));
        change
    });
    assert!(matches!(ledger.begin(0, changes.collect(), 5), Err(LedgerError::TooLarge { .. })));
}

#[test]
fn what_another_wrote_is_an_error_with_its_place() {
    let batch = |key: &[u8], value: &[u8]| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(5, Some(key), Some(value), &[]);
        builder.build().unwrap()
    };
    let fed = |batch: &RawBatch| Replay::new(partition()).feed(batch);
    assert!(matches!(fed(&batch(b"orders", b"1")), Err(LedgerError::Malformed { offset: 0, .. })));
    let (key, value) = LedgerRecord::Owner(1, Some(owner(1))).encode().unwrap();
    let newer = String::from_utf8(value.unwrap()).unwrap().replacen("\"v\":1", "\"v\":7", 1);
    assert!(matches!(fed(&batch(&key, newer.as_bytes())), Err(LedgerError::Newer { found: 7, .. })));
}

#[test]
fn an_older_transaction_behind_a_newer_one_is_an_error() {
    let mut log = Log::default();
    let mut ledger = LaneLedger::new(partition());
    ledger.take(owner(1));
    for next_offset in [1, 2] {
        let pending = ledger.begin(0, vec![change(0, next_offset)], 5).unwrap();
        let at = log.append(&pending.batch);
        ledger.committed(pending, &[(partition(), at)]);
    }
    let mut replay = Replay::new(partition());
    replay.feed(&log.batches[1]).unwrap();
    assert!(matches!(replay.feed(&log.batches[0]), Err(LedgerError::Disorder { before: 2, found: 1, .. })));
}
