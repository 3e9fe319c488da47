//! Replays that are killed, and that fence each other, while a bridge runs on the link: each letter comes to the target once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, End, binary};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::process::Process;
use protocol_tests::raw::{Codec, Isolation, RawClient};
use serde_json::Value;

use super::events::{Poison, RULES, SCHEMA, TIME_MS, event};
use super::judge::{Poisoned, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, LINK, Schemas, TOPIC, config};
use super::replayed::{MENDED, is_clean, replay};
use crate::{real, trial};

const PARTITIONS: i32 = 3;
/// Of each partition, all poison, and in several transactions of a replay.
const LETTERS: i64 = 2_000;
/// Of each partition, while letters are replayed.
const BESIDE: i64 = 400;
const KILLS: u64 = 3;
/// How long a replay runs between two looks at what it has done.
const GLANCE: Duration = Duration::from_millis(10);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "replays_that_are_killed_write_nothing_twice", || {
            let (source, target) =
                (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
            let folder = tempfile::tempdir()?;
            killed((source.client(), target.client()), (source.end(), target.end()), folder.path())
        }),
        real("validation", "kafka_3_9_2_to_4_4_0_replays_that_are_killed", &["3.9.2", "4.4.0"], || {
            let pair = Pair::start(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0").with_tls())?;
            let ends = (End::of(&pair.source), End::of(&pair.target));
            killed((pair.source.client(), pair.target.client()), ends, pair.folder())
        }),
        real("validation", "kafka_3_9_2_v1_replays_that_are_killed", &["3.9.2"], || {
            let pair = Pair::start(Spec::kraft("3.9.2"), Spec::kraft("3.9.2"))?;
            let ends = (End::of(&pair.source), End::of(&pair.target));
            killed((pair.source.client(), pair.target.client()), ends, pair.folder())
        }),
    ]
}

/// How many letters the ledger calls replayed.
fn delivered(target: &mut RawClient) -> Result<usize> {
    let (ledger, mut keys) = (format!("{LINK}.ledger"), BTreeSet::new());
    for lane in 0..target.partition_count(&ledger)? {
        for it in target.read(&ledger, lane, Isolation::ReadCommitted)? {
            let key: Value = serde_json::from_slice(it.key.as_deref().unwrap_or_default())?;
            if key["kind"] == "delivered" {
                keys.insert(key.to_string());
            }
        }
    }
    Ok(keys.len())
}

fn start(config: &Path, log: &str) -> Result<Process> {
    let mut program = Command::new(binary()?);
    program.args(["dead-letters", "replay", "--all", "--config"]).arg(config);
    Process::start(&mut program, &config.with_file_name(log))
}

/// Waits until a replay that runs has brought one more letter to the target; false where it has ended. It stands still while
/// it is looked at, or a slow machine would find it done.
fn until_more(
    replay: &mut Process,
    target: &mut RawClient,
    before: usize,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<bool> {
    let begun = Instant::now();
    loop {
        replay.signal("STOP")?;
        let found = delivered(target)?;
        replay.signal("CONT")?;
        if found > before || replay.exit_code()?.is_some() {
            return Ok(replay.exit_code()?.is_none());
        }
        ensure!(begun.elapsed() < LIMIT, "nothing is replayed:\n{}", replay.log());
        meanwhile()?;
        std::thread::sleep(GLANCE);
    }
}

/// To every partition.
fn write(source: &mut RawClient, id: i32, written: &mut i64, count: i64) -> Result<()> {
    for partition in 0..PARTITIONS {
        let records = (*written..*written + count).map(|it| event(id, it, None)).collect();
        source.write(TOPIC, partition, Codec::None, records)?;
    }
    *written += count;
    Ok(())
}

/// Where a position says that its transaction's records begin, there is a copy, and nothing that a replay wrote in between: by
/// that place a transaction is known whose marker the target has left out.
fn lands_as_the_ledger_says(target: &mut RawClient) -> Result<()> {
    let (ledger, mut looked_at) = (format!("{LINK}.ledger"), 0);
    let mut copies = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for it in target.read(TOPIC, partition, Isolation::ReadCommitted)? {
            copies.insert((i64::from(partition), it.offset), it.timestamp - TIME_MS >= LETTERS);
        }
    }
    for lane in 0..target.partition_count(&ledger)? {
        for it in target.read(&ledger, lane, Isolation::ReadCommitted)? {
            let key: Value = serde_json::from_slice(it.key.as_deref().unwrap_or_default())?;
            let value: Value = serde_json::from_slice(it.value.as_deref().unwrap_or(b"null"))?;
            let place = value["target_partition"].as_i64().zip(value["target_offset"].as_i64());
            let Some(place) = place.filter(|_| key["kind"].is_null()) else { continue };
            looked_at += 1;
            ensure!(copies.get(&place) == Some(&true), "{place:?} is no copy: {value}");
        }
    }
    ensure!(looked_at > 0, "no position says where its records are");
    Ok(())
}

fn killed(clients: (RawClient, RawClient), ends: (End, End), folder: &Path) -> Result<()> {
    let (mut source, mut target) = clients;
    let schemas = Schemas::start()?;
    let id = schemas.register("events-value", SCHEMA)?;
    source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    let file =
        |rules: &str, name: &str| -> Result<PathBuf> { config(ends.clone(), &schemas, rules).write(folder, name) };
    let (strict, mild) = (file(RULES, "strict")?, file(MENDED, "mild")?);
    let mut poisoned = Poisoned::new();
    for partition in 0..PARTITIONS {
        for first in (0..LETTERS).step_by(200) {
            let records = (first..first + 200).map(|it| event(id, it, Some(Poison::Quantity))).collect();
            source.write(TOPIC, partition, Codec::Lz4, records)?;
        }
        poisoned.extend((0..LETTERS).map(|it| ((TOPIC.to_owned(), partition, it), "rule_range")));
    }
    let letters = poisoned.len();
    let mut bridge = Bridge::run(&strict)?;
    until_judged((&mut source, &mut target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT).with_context(|| bridge.log())?;

    // The bridge copies all the time.
    let mut written = LETTERS;
    let mut before = 0;
    for kill in 0..KILLS {
        let mut replay = start(&mild, &format!("replay-{kill}.log"))?;
        let runs = until_more(&mut replay, &mut target, before, || write(&mut source, id, &mut written, 2))?;
        ensure!(runs || delivered(&mut target)? == letters, "it ended before it was killed:\n{}", replay.log());
        // Another moment each time.
        std::thread::sleep(Duration::from_millis(3 * kill));
        replay.kill();
        before = delivered(&mut target)?;
        println!("{before} of {letters} letters were replayed at kill {kill}");
        ensure!(kill > 0 || before < letters, "all letters were replayed before the first kill");
        if before == letters {
            break;
        }
    }
    // One that is told to end finishes its transaction, and leaves nothing open.
    let mut told = start(&mild, "told.log")?;
    if until_more(&mut told, &mut target, before, || Ok(()))? {
        told.signal("TERM")?;
    }
    let code = told.wait(LIMIT)?;
    let all = delivered(&mut target)? == letters;
    ensure!(
        code == i32::from(!all) && (all || told.log().contains("interrupted: ")),
        "exit code {code}: {}",
        told.log()
    );
    target.no_transaction_hangs(&[TOPIC.to_owned()])?;
    // Two at once: the newer goes on, the older says so, or has nothing left to do.
    let mut both = [start(&mild, "one.log")?, start(&mild, "other.log")?];
    write(&mut source, id, &mut written, BESIDE)?;
    let codes = [both[0].wait(LIMIT)?, both[1].wait(LIMIT)?];
    let logs = both.map(|it| it.log());
    ensure!(codes.contains(&0), "{codes:?}: {logs:?}");
    for (code, log) in codes.iter().zip(&logs) {
        ensure!(*code == 0 || (*code == 1 && log.contains("was taken over")), "exit code {code}: {log}");
    }
    let (code, report) = replay(&mild, &["--all"], "")?;
    ensure!(code == 0 && report["selected"] == letters && report["held"] == 0, "{report:#}");
    ensure!(delivered(&mut target)? == letters, "not all letters are replayed");

    // Every record of the source is at the target once, whichever way it came.
    let copied = (written - LETTERS) as usize * PARTITIONS as usize;
    let begun = Instant::now();
    loop {
        let mut found: BTreeMap<(i32, i64), usize> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for it in target.read(TOPIC, partition, Isolation::ReadCommitted)? {
                *found.entry((partition, it.timestamp - TIME_MS)).or_default() += 1;
            }
        }
        ensure!(found.values().all(|it| *it == 1), "a record is at the target twice");
        if found.len() == letters + copied {
            break;
        }
        ensure!(begun.elapsed() < LIMIT, "{} of {}:\n{}", found.len(), letters + copied, bridge.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    is_clean(&mild, &[], [copied, letters, letters])?;
    lands_as_the_ledger_says(&mut target)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let ours = [TOPIC.to_owned(), DEAD_LETTERS.to_owned(), format!("{LINK}.ledger")];
    target.no_transaction_hangs(&ours)?;
    // Whoever takes the lanes again finds them as they were.
    let mut again = Bridge::run(&mild)?;
    write(&mut source, id, &mut written, 1)?;
    let copied = copied + PARTITIONS as usize;
    let begun = Instant::now();
    while is_clean(&mild, &[], [copied, letters, letters]).is_err() {
        ensure!(begun.elapsed() < LIMIT, "not all is copied:\n{}", again.log());
    }
    ensure!(again.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", again.log());
    Ok(())
}
