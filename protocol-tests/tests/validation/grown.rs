//! A dead letters' topic that somebody has grown, or taken away.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::raw::{Codec, Isolation, Rec};

use super::events::{Poison, TIME_MS, event};
use super::judge::{letters, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, TOPIC};
use super::verified::{Copied, copied, is_clean, translates_exactly, verify};
use crate::trial;

/// Of each partition, after the topic has grown.
const MORE: i64 = 10;
const GROWN: i32 = 4;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "verify_finds_dead_letters_after_their_topic_has_grown", grown),
        trial("validation", "verify_tells_that_the_dead_letters_are_gone", gone),
    ]
}

/// Lanes write to other partitions of it than before, and what they wrote before is where it was.
fn grown() -> Result<()> {
    let mut scene = copied(Some(1))?;
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    let (records, dead) = scene.counts();
    is_clean(&scene.file, &[], records, dead)?;
    target.grow_topic(DEAD_LETTERS, GROWN)?;
    is_clean(&scene.file, &[], records, dead)?;
    let (mut more, partitions) = (0, source.partition_count(TOPIC)?);
    for partition in 0..partitions {
        let first = 1_000_000 * i64::from(partition + 1);
        let of = |it: i64| event(scene.id, it, (it % 2 == 0).then_some(Poison::Symbol));
        source.write(TOPIC, partition, Codec::Lz4, (first..first + MORE).map(of).collect())?;
        for record in source.read(TOPIC, partition, Isolation::ReadCommitted)? {
            let number = record.timestamp - TIME_MS;
            if number >= first && number % 2 == 0 {
                scene.poisoned.insert((TOPIC.to_owned(), partition, record.offset), "enum_index");
                more += 1;
            }
        }
    }
    let mut bridge = Bridge::run(&scene.file)?;
    until_judged((&mut source, &mut target), &[TOPIC], DEAD_LETTERS, &scene.poisoned, LIMIT)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let filled = (0..GROWN).map(|it| Ok(!target.read(DEAD_LETTERS, it, Isolation::ReadCommitted)?.is_empty()));
    ensure!(filled.collect::<Result<Vec<_>>>()? == [true; GROWN as usize], "the lanes write where they wrote before");
    is_clean(&scene.file, &[], records + (MORE as usize * partitions as usize - more), dead + more)?;
    translates_exactly(&scene, &BTreeSet::new())?;
    (0..partitions).try_for_each(|partition| translates_alone(&scene, partition))
}

/// Of one partition alone, no other one's lane leads to where its dead letters are.
fn translates_alone(scene: &Copied, partition: i32) -> Result<()> {
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    let records = source.read(TOPIC, partition, Isolation::ReadCommitted)?;
    let is_copied = |it: &&Rec| !scene.poisoned.contains_key(&(TOPIC.to_owned(), partition, it.offset));
    let next = records[records.len() / 2..].iter().find(is_copied).context("nothing is copied")?;
    let (number, offset) = (partition.to_string(), next.offset.to_string());
    let asked = ["translate", "--json", "--topic", TOPIC, "--partition", &number, "--offset", &offset];
    let done = positions(&scene.file, &asked)?;
    let translated: serde_json::Value = serde_json::from_str(&done.stdout).with_context(|| format!("{done:?}"))?;
    let copies = target.read(TOPIC, partition, Isolation::ReadCommitted)?;
    let copy = copies.iter().find(|it| Some(it.offset) >= translated["target_offset"].as_i64());
    let found = copy.map(|it| it.timestamp);
    ensure!(found == Some(next.timestamp), "{partition}: {translated:#} is {found:?}, not {}", next.timestamp);
    Ok(())
}

fn positions(file: &Path, arguments: &[&str]) -> Result<Finished> {
    let folder = file.parent().context("a config is in a folder")?;
    let name = file.to_string_lossy();
    Finished::run(folder, &[&["positions"], arguments, &["--config", &name]].concat(), LIMIT)
}

/// Else each of them would be missing, and a translation would count them as copied.
fn gone() -> Result<()> {
    let scene = copied(None)?;
    let mut target = scene.target.client();
    ensure!(letters(&mut target, DEAD_LETTERS)?.len() == scene.poisoned.len());
    target.delete_topic(DEAD_LETTERS)?;
    let (code, report) = verify(&scene.file, &[])?;
    ensure!(code == 1, "exit code {code}: {report:#}");
    let says = |text: &str| text.contains("the dead letters' topic is gone, or hidden: grant DESCRIBE and READ on it");
    for partition in report["partitions"].as_array().context("no partitions")? {
        ensure!(partition["stopped"].as_str().is_some_and(says), "{report:#}");
        ensure!(partition["differences"] == serde_json::json!([]), "{report:#}");
    }
    ensure!(report["total"]["missing"] == 0 && report["total"]["unknown"] == scene.counts().0, "{report:#}");
    let asked = ["translate", "--topic", TOPIC, "--partition", "0", "--offset", "300"];
    let done = positions(&scene.file, &asked)?;
    ensure!(done.code == 1 && says(&done.stderr), "{done:?}");
    Ok(())
}
