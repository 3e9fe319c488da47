//! Offsets at random, in a topic that holds everything that makes the two ends' offsets differ: batches that were merged and
//! split, aborted transactions, markers of both ends. The next record at the translated offset is the right one each time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::{Pair, differences, until_none};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient, Rec};

use super::{LIMIT, LINK, Stage, positions};
use crate::{real, trial};

const TOPIC: &str = "orders";
const SEED: u64 = 20_261_125;
/// Enough that anchors lie between: each step of the map is 4,096 records.
const RECORDS: i64 = 30_000;
/// Groups that are switched, and in each one offset of every partition.
const GROUPS: usize = 125;
const PARTITIONS: i32 = 8;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("positions", "translates_offsets_at_random", || {
            let stage = Stage::new()?;
            let file = stage.config(&[TOPIC]).write(stage.folder.path(), "bridge")?;
            translates(&mut stage.source.client(), &mut stage.target.client(), &file, 12)
        }),
        real("positions", "kafka_3_9_2_zookeeper_to_4_4_0_translates_1000_offsets", &["3.9.2", "4.4.0"], || {
            let pair = Pair::start(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())?;
            let file = pair.config(LINK, &[TOPIC]).write(pair.folder(), "bridge")?;
            translates(&mut pair.source.client(), &mut pair.target.client(), &file, GROUPS)
        }),
    ]
}

fn record(number: i64) -> NewRecord {
    NewRecord {
        timestamp: 1_700_000_000_000 + number,
        key: None,
        value: Some(format!("id={number}\n").into_bytes()),
        headers: vec![],
    }
}

/// One partition's records: batches of all sizes, so that small ones are merged, and transactions of which some are aborted.
fn write(source: &mut RawClient, partition: i32, random: &mut fastrand::Rng) -> Result<()> {
    let mut producer = source.producer(Some(&format!("writer-{partition}")))?;
    let mut number = 0;
    while number < RECORDS / i64::from(PARTITIONS) * 2 {
        let count = random.i64(1..120);
        let codec = random.choice(Codec::ALL).context("a codec")?;
        let records: Vec<_> = (number..number + count).map(record).collect();
        number += count;
        match random.u32(..4) {
            0 => {
                producer.send(source, TOPIC, partition, codec, records)?;
                producer.abort(source)?;
            }
            1 => {
                producer.send(source, TOPIC, partition, codec, records)?;
                producer.commit(source)?;
            }
            _ => drop(source.write(TOPIC, partition, codec, records)?),
        }
    }
    Ok(())
}

fn translates(source: &mut RawClient, target: &mut RawClient, file: &Path, groups: usize) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(SEED);
    source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    let mut bridge = Bridge::run(file)?;
    // While it is copied: many transactions, at both ends.
    for partition in 0..PARTITIONS {
        write(source, partition, &mut random)?;
    }
    let topics = [TOPIC.to_owned()];
    until_none(LIMIT, || differences(source, target, &topics)).with_context(|| bridge.log())?;
    let mut logs: BTreeMap<i32, (Vec<Rec>, Vec<Rec>, i64, i64)> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let (ours, theirs) = (source.offsets(TOPIC, partition)?, target.offsets(TOPIC, partition)?);
        let log = (
            source.read(TOPIC, partition, Isolation::ReadCommitted)?,
            target.read(TOPIC, partition, Isolation::ReadCommitted)?,
            ours.last_stable,
            theirs.last_stable,
        );
        // Markers and aborted records make the offsets differ, by more and more.
        let last = (log.0.last().context("nothing")?.offset, log.1.last().context("nothing")?.offset);
        ensure!(last.0 != last.1 && log.0.len() > 1_000, "{partition}: {last:?}, {} records", log.0.len());
        logs.insert(partition, log);
    }
    let mut switched = 0;
    for number in 0..groups {
        let group = format!("group-{number}");
        let mut wanted = BTreeMap::new();
        for (partition, (records, _, end, _)) in &logs {
            let offset = match number {
                0 => 0,
                1 => *end,
                2 => records.last().context("nothing")?.offset,
                _ => random.i64(0..=*end),
            };
            source.set_group_offset(&group, TOPIC, *partition, offset)?;
            wanted.insert(*partition, offset);
        }
        let report = positions(file, &["translate", "--group", &group, "--apply"], 0)?;
        let rows = report["rows"].as_array().context("no rows")?;
        ensure!(rows.len() == wanted.len(), "{report:#}");
        for (partition, offset) in wanted {
            let (ours, theirs, _, end) = &logs[&partition];
            let translated = target.group_offset(&group, TOPIC, partition)?.context("nothing was committed")?;
            let next = |records: &[Rec], offset: i64| records.iter().find(|it| it.offset >= offset).cloned();
            let (expected, found) = (next(ours, offset), next(theirs, translated));
            let (expected, found) = (expected.map(|it| it.value), found.map(|it| it.value));
            let place = format!("{partition}: offset {offset} became {translated}");
            ensure!(expected == found, "{place}: {found:?}, not {expected:?}");
            ensure!(translated <= *end, "{place}: the target ends at {end}");
            switched += 1;
        }
    }
    println!("{switched} offsets, each followed by the right record");
    let one = positions(file, &["translate", "--topic", TOPIC, "--partition", "0", "--offset", "0"], 0)?;
    ensure!(one["target_offset"] == logs[&0].1[0].offset, "{one:#}");
    let beyond = (logs[&0].2 + 1).to_string();
    positions(file, &["translate", "--topic", TOPIC, "--partition", "0", "--offset", &beyond], 1)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    Ok(())
}
