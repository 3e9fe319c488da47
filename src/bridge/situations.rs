//! Single situations of a lane, each of which went wrong once.

use super::lane::{Input, Phase};
use super::model::{key, ledger, source};
use super::process::{Ended, POOL_BYTES, Process, Question};
use super::rig::Rig;
use super::world::World;
use crate::ledger::{Change, LaneLedger, Position, PositionKey};
use crate::source::SourceRequest;
use crate::target::{self, TransactionProtocol, TxnRequest};
use std::time::Duration;
use uuid::Uuid;

const INVALID_TXN_STATE: i16 = 48;
const PRODUCER_FENCED: i16 = 90;

fn is_commit(process: &Process) -> bool {
    process.sending.iter().any(|it| matches!(it.request, TxnRequest::EndTxn { commit: true, .. }))
}

fn is_fetching(process: &Process) -> bool {
    process.fetching.iter().any(|it| matches!(it.request, SourceRequest::Fetch(_)))
}

/// Fenced before the other had signed the ledger, the older one took the lane back, and so on, until both gave up; or the
/// newer one found the older one's signature and left.
#[test]
fn of_two_bridges_that_start_at_nearly_the_same_time_the_newer_one_works() {
    for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
        for steps in 0..40 {
            let mut world = World::new(protocol, None, Vec::new());
            for _ in 0..steps {
                world.step();
            }
            world.start();
            world.drive_bounded();
            assert_eq!(world.broken, None, "second after {steps} steps");
            assert_eq!(world.processes.iter().map(|it| it.number).collect::<Vec<_>>(), [2], "after {steps} steps");
        }
    }
}

/// A link with many lanes starved when some of them had failed: what their fetches had been granted never came back.
#[test]
fn a_lane_that_ends_gives_back_what_its_fetches_were_granted() {
    let mut rig = Rig::start(3);
    rig.run(is_fetching);
    assert!(rig.process.pool_bytes < POOL_BYTES);
    rig.give(Input::Broken("the ledger is gone".into()));
    assert_eq!(rig.process.ended, Some(Ended::Failed("the ledger is gone".into())));
    assert_eq!(rig.process.pool_bytes, POOL_BYTES);
    let late = crate::source::Input::BudgetGranted { node: 0, bytes: 10 };
    rig.process.lane.handle(rig.now, Input::Source(late));
    assert!(matches!(rig.process.lane.poll_output(), Some(super::lane::Output::ReturnBudget { bytes: 10 })));
}

/// The lane said that it was drained, and the transaction stayed open until the coordinator timed it out.
#[test]
fn a_drain_waits_until_a_transaction_of_unknown_outcome_is_ended() {
    let mut rig = Rig::start(3);
    rig.run(is_commit);
    rig.refuse(INVALID_TXN_STATE);
    assert_eq!(rig.process.lane.phase, Phase::Taking);
    rig.give(Input::Drain);
    assert_eq!(rig.process.ended, None);
    assert!(rig.target.broker.is_open());
    rig.run(|it| it.ended.is_some());
    assert_eq!(rig.process.ended, Some(Ended::Drained));
    assert!(!rig.target.broker.is_open());
}

/// On the other hand nobody waits for a cluster that was never reached.
#[test]
fn a_drain_before_the_lane_is_taken_ends_at_once() {
    let mut rig = Rig::start(3);
    rig.give(Input::Drain);
    assert_eq!(rig.process.ended, Some(Ended::Drained));
}

/// A late answer began the partition in the middle of the drain, and the drain went on with whatever it read.
#[test]
fn a_drain_begins_no_partition() {
    let mut rig = Rig::start(3);
    rig.run(|it| matches!(&it.questions[..], [Question::TargetEnd { .. }]) && !it.sending.is_empty());
    rig.give(Input::Drain);
    rig.question();
    assert!(rig.process.fetching.is_empty(), "nothing is asked of the source");
    rig.run(|it| it.ended.is_some());
    assert_eq!(rig.process.ended, Some(Ended::Drained));
}

/// The fetch machine had spoken after the lane had listened to it: its bytes came back with the next input, whenever that was.
#[test]
fn what_a_fence_sets_free_is_given_back_at_once() {
    let mut rig = Rig::start(3);
    rig.source.compact(&source(0), 0);
    // The first batch is missing, and the lane asks whether it was compaction.
    rig.run(is_fetching);
    // The partition's first position goes to the target meanwhile.
    let is_produce = |it: &TxnRequest| matches!(it, TxnRequest::Produce { .. });
    while !rig.process.sending.iter().any(|it| is_produce(&it.request)) {
        if !rig.process.sending.is_empty() {
            rig.send();
        }
        rig.now += Duration::from_millis(50);
        rig.give(Input::Timeout);
    }
    rig.fetch();
    rig.front(is_produce);
    assert!(rig.process.pool_bytes < POOL_BYTES, "charged to a delivery that is not confirmed");
    rig.refuse(PRODUCER_FENCED);
    assert!(matches!(rig.process.lane.phase, Phase::Asking | Phase::Waiting(_)));
    assert_eq!(rig.process.pool_bytes, POOL_BYTES);
}

/// The records had been handed to the transaction machine before the ledger refused: they were lost to the budget, and a
/// transaction was left open.
#[test]
fn a_ledger_that_has_grown_too_large_opens_no_transaction() {
    let mut rig = Rig::start(3);
    rig.run(|it| it.copied() == 3);
    rig.source.produce(&source(0), 1, None);
    rig.run(|it| it.lane.in_flight.is_none() && it.lane.held_bytes > 0);
    rig.process.lane.ledger = Some(too_large());
    rig.run(|it| it.ended.is_some());
    assert!(
        matches!(&rig.process.ended, Some(Ended::Failed(reason)) if reason.contains("limit")),
        "{:?}",
        rig.process.ended
    );
    assert!(rig.process.sending.is_empty());
    assert_eq!(rig.process.pool_bytes, POOL_BYTES);
}

fn too_large() -> LaneLedger {
    let mut ledger = LaneLedger::new(ledger());
    let mut random = fastrand::Rng::with_seed(1);
    for chunk in 0..20 {
        let changes = (0..1_000).map(|index| {
            let position = Position {
                next_offset: 1,
                leader_epoch: 0,
                topic_id: Uuid::from_u128(random.u128(..)),
                from: 0,
                records: 1,
                target_topic: "copy".into(),
                target_partition: index,
                target_topic_id: Uuid::nil(),
                target_offset: None,
                transaction: 0,
                time_ms: 0,
                dead_letters: None,
                decision: None,
                anchor: None,
            };
            let partition = chunk * 1_000 + index + 1;
            Change { key: PositionKey { partition, ..key(&source(0)) }, position }
        });
        let pending = ledger.begin(0, changes.collect(), 0).unwrap();
        ledger.committed(pending, &[(super::model::ledger(), 0)]);
    }
    let owner = ledger.owner().cloned();
    assert_eq!(owner, None);
    ledger.take(super::process::owner(1));
    ledger
}

/// A change of protocol bumps the epoch of an idle machine; fenced by it while the ledger was read, the lane read it a second
/// time, and could have taken the first answer for the second.
#[test]
fn the_protocol_does_not_change_while_the_ledger_is_read() {
    let mut rig = Rig::start(3);
    rig.run(|it| it.lane.phase == Phase::Replaying);
    rig.give(Input::Target(target::Input::SetProtocol(TransactionProtocol::V1)));
    assert!(rig.process.sending.is_empty());
    rig.question();
    let is_bump = |it: &TxnRequest| matches!(it, TxnRequest::InitProducerId { identity: Some(_), .. });
    rig.run(|it| it.sending.iter().any(|it| is_bump(&it.request)));
    rig.run(|it| it.lane.phase == Phase::Copying && it.lane.transactor.is_idle());
    assert_eq!(rig.process.lane.transactor.protocol(), TransactionProtocol::V1);
}
