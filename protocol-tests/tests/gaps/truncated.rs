//! A leader that missed records: an unclean election takes back what was copied already.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::Codec;

use super::{HOUR_MS, ends_with, incident, numbers, range, records, until};
use crate::real;

const NODES: i32 = 3;

pub(super) fn trials() -> Vec<Trial> {
    // ZooKeeper mode: with two of three nodes gone a KRaft controller would have no quorum, and shrink no ISR.
    vec![real("gaps", "kafka_3_9_2_zookeeper_three_nodes_to_4_4_0_truncated", &["3.9.2", "4.4.0"], || {
        truncated(Spec::zookeeper("3.9.2").nodes(3).with_tls(), Spec::kraft("4.4.0").with_tls())
    })]
}

fn truncated(source: Spec, target: Spec) -> Result<()> {
    let mut pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    let settings = [("retention.ms", "-1"), ("min.insync.replicas", "1")];
    at_source.create_topic("kept", 1, 3, &settings)?;
    at_source.create_topic("torn", 1, 3, &[&settings[..], &[("unclean.leader.election.enable", "true")]].concat())?;
    // Idempotent: a write that is repeated while the in-sync replicas shrink must not be there twice.
    let mut producer = at_source.producer(None)?;
    for topic in ["kept", "torn"] {
        producer.send(&mut at_source, topic, 0, Codec::Zstd, records(0..20, HOUR_MS)?)?;
    }
    let mut bridge = pair.run(&pair.config("torn", &["kept", "torn"]), "bridge")?;
    for topic in ["kept", "torn"] {
        until(&mut at_target, &bridge, topic, 0, &range(0..20))?;
    }

    let leader = at_source.leader_of("torn", 0)?;
    let others: Vec<usize> = (0..NODES).filter(|node| *node != leader).map(|node| node as usize).collect();
    others.iter().for_each(|node| pair.source.kill(*node));
    for topic in ["kept", "torn"] {
        producer.send(&mut at_source, topic, 0, Codec::Zstd, records(20..30, HOUR_MS)?)?;
        until(&mut at_target, &bridge, topic, 0, &range(0..30))?;
    }
    pair.source.kill(leader as usize);
    others.iter().try_for_each(|node| pair.source.restart(*node))?;
    // Beyond the position again: the offset alone would not show that the log is another.
    at_source.write("torn", 0, Codec::Zstd, records(100..120, HOUR_MS)?)?;
    let torn = numbers(&mut at_source, "torn", 0)?;
    ensure!(torn == [range(0..20), range(100..120)].concat(), "the source lost nothing: {torn:?}");
    incident(&mut bridge, "truncation", "torn-0", "next_offset=30 first_lost=20 last_lost=29")?;

    pair.source.restart(leader as usize)?;
    at_source.write("kept", 0, Codec::Zstd, records(30..40, HOUR_MS)?)?;
    until(&mut at_target, &bridge, "kept", 0, &range(0..40))?;
    ends_with(&mut bridge, &[("truncation", "torn-0")])?;
    let copied = numbers(&mut at_target, "torn", 0)?;
    ensure!(copied == range(0..30), "torn went on: {copied:?}");
    // The position's epoch is in the ledger: a new start sees it as well.
    let mut bridge = pair.run(&pair.config("torn", &["kept", "torn"]), "again")?;
    incident(&mut bridge, "truncation", "torn-0", "next_offset=30 first_lost=20 last_lost=29")?;
    ends_with(&mut bridge, &[("truncation", "torn-0")])
}
