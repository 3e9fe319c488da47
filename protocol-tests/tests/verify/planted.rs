//! One difference in each partition of a copy that the bridge has made, told by three that do not know each other: the
//! bridge's own command, this harness' checker, and librdkafka.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::compare::{self, Timestamps};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::{Pair, differences, until_none};
use protocol_tests::plant::{new_record, replant};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};
use serde_json::Value;

use super::{LIMIT, verify};
use crate::{real, trial};

const LINK: &str = "orders-dmz";
const TOPIC: &str = "orders";
const RECORDS: i64 = 400;
/// The partition that is left as it is, and one for each difference.
const PARTITIONS: i32 = 8;
/// Where the differences are planted: the number of a record among those of its partition.
const AT: usize = 120;
const PYTHON: &str = "KAFKA_BRIDGE_PYTHON";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("verify", "names_each_planted_difference", embedded),
        real("verify", "kafka_3_9_2_zookeeper_to_4_4_0_names_each_planted_difference", &["3.9.2", "4.4.0"], || {
            on_kafka(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())
        }),
        real("verify", "kafka_4_4_0_to_3_9_2_names_each_planted_difference", &["4.4.0", "3.9.2"], || {
            on_kafka(Spec::kraft("4.4.0"), Spec::kraft("3.9.2"))
        }),
    ]
}

fn embedded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
    let (source, target) = (cluster()?, cluster()?);
    let mut config = Config::new(LINK, source.end(), target.end(), &[TOPIC]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    let file = config.write(folder.path(), "bridge")?;
    let servers = (source.plaintext_bootstrap().join(","), target.plaintext_bootstrap().join(","));
    names_each(&mut source.client(), &mut target.client(), &file, &servers)
}

fn on_kafka(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let file = pair.config(LINK, &[TOPIC]).write(pair.folder(), "bridge")?;
    let servers = (pair.source.plaintext_bootstrap().join(","), pair.target.plaintext_bootstrap().join(","));
    names_each(&mut pair.source.client(), &mut pair.target.client(), &file, &servers)
}

fn record(partition: i32, number: i64) -> NewRecord {
    let header = |value: &[u8]| (b"trace".to_vec(), Some(value.to_vec()));
    NewRecord {
        timestamp: 1_700_000_000_000 + number,
        key: Some(format!("key {}", number % 11).into_bytes()),
        value: Some(format!("id={partition}-{number}\n{}", "x".repeat(100)).into_bytes()),
        headers: vec![header(b"1"), header(b"1"), header(b"2")],
    }
}

/// Plain batches of every codec, committed and aborted transactions.
fn write(source: &mut RawClient) -> Result<()> {
    source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    let mut producer = source.producer(Some("writer"))?;
    for partition in 0..PARTITIONS {
        for (number, codec) in (0..RECORDS).step_by(20).zip(Codec::ALL.into_iter().cycle()) {
            let records: Vec<_> = (number..number + 20).map(|it| record(partition, it)).collect();
            if number % 60 == 0 {
                let aborted: Vec<_> = (number..number + 3).map(|it| record(partition, 1_000_000 + it)).collect();
                producer.send(source, TOPIC, partition, codec, aborted)?;
                producer.abort(source)?;
                producer.send(source, TOPIC, partition, codec, records)?;
                producer.commit(source)?;
            } else {
                source.write(TOPIC, partition, codec, records)?;
            }
        }
    }
    Ok(())
}

/// What was planted: partition, kind, and the offset that names it (of a missing record the source's, else the target's).
type Named = BTreeSet<(i64, String, i64)>;

fn names_each(source: &mut RawClient, target: &mut RawClient, file: &Path, servers: &(String, String)) -> Result<()> {
    write(source)?;
    let mut bridge = Bridge::run(file)?;
    let topics = [TOPIC.to_owned()];
    until_none(LIMIT, || differences(source, target, &topics)).with_context(|| bridge.log())?;
    // Beside a bridge that runs.
    let (code, report) = verify(file, &[])?;
    ensure!(code == 0 && named(&report)?.is_empty(), "exit code {code}: {report:#}");
    let whole = i64::from(PARTITIONS) * RECORDS;
    ensure!(report["total"]["records"] == whole && report["total"]["unknown"] == 0, "{:#}", report["total"]);
    ensure!(bridge.terminate(LIMIT)? == 0, "verify has disturbed the bridge:\n{}", bridge.log());
    ensure!(!bridge.log().contains("aborted, its"), "{}", bridge.log());

    let at_source = |source: &mut RawClient, partition| source.read(TOPIC, partition, Isolation::ReadCommitted);
    let lost = at_source(source, 1)?[AT].offset;
    let all = source.read(TOPIC, 5, Isolation::ReadUncommitted)?;
    let visible: BTreeSet<i64> = at_source(source, 5)?.iter().map(|it| it.offset).collect();
    let aborted = all.iter().rfind(|it| !visible.contains(&it.offset)).context("nothing was aborted")?;
    replant(target, LINK, TOPIC, |partition, copy| {
        match partition {
            1 => drop(copy.remove(AT)),
            2 => copy.insert(AT + 1, copy[AT].clone()),
            3 => copy.swap(AT, AT + 1),
            4 => copy[AT].value.as_mut().context("no value")?[40] ^= 1,
            5 => copy.insert(AT, new_record(aborted)),
            6 => copy[AT].timestamp += 1,
            7 => drop(copy[AT].headers.remove(1)),
            _ => {}
        }
        Ok(())
    })?;
    let planted = [
        (1, "missing", lost),
        (2, "doubled", AT as i64 + 1),
        (3, "reordered", AT as i64 + 1),
        (4, "altered", AT as i64),
        (5, "phantom", AT as i64),
        (6, "altered", AT as i64),
        (7, "altered", AT as i64),
    ];
    let planted: Named = planted.map(|(partition, kind, offset)| (partition, kind.to_owned(), offset)).into();

    let (code, report) = verify(file, &[])?;
    println!("{report:#}");
    ensure!(code == 1 && named(&report)? == planted, "exit code {code}: {:#?}", named(&report)?);
    both_offsets(source, &report, aborted.offset)?;
    let by_harness = compare::topics((source, TOPIC), (target, TOPIC), Timestamps::Equal)?;
    let by_harness: Named = by_harness
        .iter()
        .map(|it| (i64::from(it.partition), format!("{:?}", it.kind).to_lowercase(), it.offset))
        .collect();
    ensure!(by_harness == planted, "the harness' own checker: {by_harness:#?}");
    match foreign(servers)? {
        Some(by_foreign) => ensure!(by_foreign == planted, "librdkafka: {by_foreign:#?}"),
        None => println!("librdkafka is not there: {PYTHON} names no interpreter that has it"),
    }
    Ok(())
}

fn named(report: &Value) -> Result<Named> {
    let mut named = Named::new();
    for partition in report["partitions"].as_array().context("no partitions")? {
        for difference in partition["differences"].as_array().context("no differences")? {
            let kind = difference["kind"].as_str().context("no kind")?.to_owned();
            let offset = if kind == "missing" { &difference["source_offset"] } else { &difference["target_offset"] };
            let number = partition["partition"].as_i64().context("no number")?;
            named.insert((number, kind, offset.as_i64().context("no offset")?));
        }
    }
    Ok(named)
}

/// The other end's offset is the right one too, and what was altered is told.
fn both_offsets(source: &mut RawClient, report: &Value, aborted: i64) -> Result<()> {
    let difference = |partition: usize| &report["partitions"][partition]["differences"][0];
    ensure!(difference(1)["target_offset"] == AT as i64, "{:#}", difference(1));
    for (partition, number) in [(2, AT), (3, AT), (4, AT), (6, AT), (7, AT)] {
        let at_source = source.read(TOPIC, partition, Isolation::ReadCommitted)?[number].offset;
        let found = difference(partition as usize);
        ensure!(found["source_offset"] == at_source, "partition {partition}: {found:#}, not {at_source}");
    }
    ensure!(difference(5)["source_offset"] == aborted, "{:#}", difference(5));
    for (partition, what) in [(4, "value"), (6, "timestamp"), (7, "headers")] {
        ensure!(difference(partition)["what"] == what, "{:#}", difference(partition));
    }
    Ok(())
}

/// None: it is not installed.
fn foreign(servers: &(String, String)) -> Result<Option<Named>> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import confluent_kafka"]).output()?;
    if !has.status.success() {
        return Ok(None);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/compare.py");
    let mut command = Command::new(python);
    command.arg(script).args([&servers.0, &servers.1, TOPIC, &PARTITIONS.to_string()]);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let named = found["differences"].as_array().context("no differences")?.iter().map(|it| {
        let number = |name: &str| it[name].as_i64().with_context(|| format!("no {name}"));
        Ok((number("partition")?, it["kind"].as_str().context("no kind")?.to_owned(), number("offset")?))
    });
    named.collect::<Result<Named>>().map(Some)
}
