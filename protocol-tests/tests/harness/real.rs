//! Real brokers: they start, take the whole data set, and give it back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::compare::{Kind, Timestamps, partition};
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::raw::{Codec, Hanging, Isolation, NewRecord};
use protocol_tests::workload::Workload;

use crate::real;

const OLD: &str = "3.9.2";
const NEW: &str = "4.4.0";
const SEED: u64 = 20_240_917;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("harness", "kafka_3_9_2_zookeeper_takes_the_workload", &[OLD], || {
            takes_the_workload(Spec::zookeeper(OLD).with_tls(), 0)
        }),
        real("harness", "kafka_4_4_0_kraft_takes_the_workload", &[NEW], || {
            takes_the_workload(Spec::kraft(NEW).with_tls(), 2)
        }),
        real("harness", "kafka_4_4_0_three_nodes_survive_a_kill", &[NEW], || {
            survives_a_kill(Spec::kraft(NEW).nodes(3))
        }),
        real("harness", "kafka_3_9_2_zookeeper_survives_a_kill", &[OLD], || survives_a_kill(Spec::zookeeper(OLD))),
    ]
}

fn takes_the_workload(spec: Spec, transaction_version: i16) -> Result<()> {
    let start = Instant::now();
    let cluster = KafkaCluster::start(spec)?;
    let started = start.elapsed();
    let mut client = cluster.client();
    ensure!(client.transaction_version()? == transaction_version, "another transaction protocol than expected");

    let workload = Workload::new(SEED, "data");
    let written = workload.write(&mut client)?;
    let wrote = start.elapsed();
    let offsets = client.quiet(&written.topics)?;
    let (mut visible, mut hidden) = (0, 0);
    for (topic, index) in offsets.keys().filter(|(topic, _)| !topic.ends_with("compacted")) {
        let committed = client.read(topic, *index, Isolation::ReadCommitted)?;
        let all = client.read(topic, *index, Isolation::ReadUncommitted)?;
        visible += committed.len();
        hidden += all.len() - committed.len();
        ensure!(
            partition(topic, *index, &committed, &committed, Timestamps::Equal).is_empty(),
            "a log equals itself: {topic}-{index}"
        );
        let aborted = partition(topic, *index, &committed, &all, Timestamps::Equal);
        ensure!(
            aborted.len() == all.len() - committed.len() && aborted.iter().all(|found| found.kind == Kind::Phantom),
            "aborted records must be named phantoms: {aborted:?}"
        );
    }
    ensure!(
        (visible, hidden) == (written.visible_records, written.aborted_records),
        "read {visible} visible and {hidden} aborted records of {written:?}"
    );
    wait_for_holes(&mut client, "data-compacted")?;
    let read = start.elapsed();

    client.no_transaction_hangs(&written.topics)?;
    let mut producer = client.producer(Some("hanging"))?;
    producer.send(&mut client, "data-none", 0, Codec::None, vec![NewRecord::default()])?;
    let hanging = client.hanging_transactions(&written.topics)?;
    ensure!(
        hanging.iter().any(|found| matches!(found, Hanging::Partition { .. }))
            && hanging.iter().any(|found| matches!(found, Hanging::Coordinator { .. })),
        "an open transaction must be seen at its coordinator and its partition: {hanging:?}"
    );
    producer.abort(&mut client)?;
    ensure!(client.delete_records("data-none", 1, 5)? == 5, "the log start moves");
    let first = client.read("data-none", 1, Isolation::ReadUncommitted)?[0].offset;
    ensure!(first >= 5, "deleted records are not read: {first}");
    eprintln!(
        "{} {:?}: started in {started:.1?}, wrote {} records by {wrote:.1?}, read and compared by {read:.1?}, done by {:.1?}",
        cluster.spec().version,
        cluster.spec().mode,
        visible + hidden,
        start.elapsed()
    );
    Ok(())
}

/// The cleaner works by its own clock; without holes the compacted topic would prove nothing.
fn wait_for_holes(client: &mut protocol_tests::raw::RawClient, topic: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let records = client.read(topic, 0, Isolation::ReadCommitted)?;
        let span = records.last().map_or(0, |record| record.offset + 1);
        if (records.len() as i64) < span {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(60), "{topic} was never compacted");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn survives_a_kill(spec: Spec) -> Result<()> {
    let start = Instant::now();
    let mut cluster = KafkaCluster::start(spec)?;
    let started = start.elapsed();
    let mut client = cluster.client();
    client.create_topic("kept", 1, cluster.replication_factor(), &[])?;
    client.write("kept", 0, Codec::Zstd, vec![NewRecord::default(); 3])?;
    cluster.kill(0);
    if cluster.spec().nodes == 3 {
        client.write("kept", 0, Codec::None, vec![NewRecord::default(); 2])?;
    }
    let killed = Instant::now();
    cluster.restart(0)?;
    let back = killed.elapsed();
    let expected = if cluster.spec().nodes == 3 { 5 } else { 3 };
    let found = client.read("kept", 0, Isolation::ReadCommitted)?.len();
    ensure!(found == expected, "{found} records of {expected} are left");
    eprintln!(
        "{} {:?}: started in {started:.1?}, back {back:.1?} after the kill",
        cluster.spec().version,
        cluster.spec().mode
    );
    Ok(())
}
