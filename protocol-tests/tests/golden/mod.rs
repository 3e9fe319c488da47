//! Bytes that Java wrote (`protocol-tests/golden/README.md`): read as Java meant them, written as Java wrote them.

mod batches;
mod messages;
mod values;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use protocol_tests::{golden, jars};

use crate::{real, trial};

/// The release whose classes wrote the bytes: it still has every version that is used here.
const VERSION: &str = "4.4.0";
const RECORD: &str = "KAFKA_BRIDGE_RECORD";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("golden", "a_flipped_bit_of_a_message_is_seen", messages::flips),
        trial("golden", "other_content_of_a_message_is_seen", messages::other_content),
        trial("golden", "a_flipped_bit_of_a_batch_is_seen", batches::flips),
        trial("golden", "a_flipped_bit_under_a_right_checksum_is_seen", batches::flips_under_a_right_checksum),
        real("golden", "kafka_4_4_0_writes_the_same", &[VERSION], recorded_again),
    ];
    match messages::cases() {
        Ok(cases) => trials.extend(cases.into_iter().map(|(name, version)| {
            trial("golden", &format!("{name}_v{version}"), move || messages::holds(&name, version))
        })),
        Err(error) => trials.push(trial("golden", "messages", move || Err(error))),
    }
    match golden::batches() {
        Ok(all) => trials.extend(all.into_iter().map(|it| {
            let title = it.title;
            trial("golden", &format!("batch_{title}"), move || batches::holds(&title))
        })),
        Err(error) => trials.push(trial("golden", "batches", move || Err(error))),
    }
    trials
}

/// The recorder writes what is checked in. With `KAFKA_BRIDGE_RECORD=1` it is checked in anew.
fn recorded_again() -> Result<()> {
    let work = tempfile::tempdir()?;
    let (messages, batches) = (work.path().join("messages"), work.path().join("batches.txt"));
    let classpath = jars::classpath(&jars::broker(VERSION)?);
    for (program, output) in [("Messages.java", &messages), ("Batches.java", &batches)] {
        let mut command = Command::new("java");
        command.args(["-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classpath]);
        command.arg(golden::folder().join("recorder").join(program)).arg(output);
        let told = command.output().context("cannot run java")?;
        if !told.status.success() {
            bail!("{program} failed; it needs a JDK:\n{}", String::from_utf8_lossy(&told.stderr));
        }
    }
    let mut compared = 0;
    for entry in fs::read_dir(&messages)? {
        let entry = entry?;
        compared += same(&entry.path(), &golden::folder().join("messages").join(entry.file_name()))?;
    }
    compared += same(&batches, &golden::folder().join("batches.txt"))?;
    ensure!(compared > 1_000, "only {compared} lines were recorded");
    Ok(())
}

/// The number of lines that are the same.
fn same(recorded: &Path, known: &Path) -> Result<usize> {
    let text = fs::read_to_string(recorded)?;
    if std::env::var_os(RECORD).is_some() {
        fs::write(known, &text)?;
    }
    let known_text = fs::read_to_string(known).with_context(|| format!("cannot read {}", known.display()))?;
    // Another zlib beneath Java packs otherwise, and not wrongly.
    let pairs = |text: &str| -> Vec<Vec<String>> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.chunks(2).map(<[String]>::to_vec).filter(|pair| !pair.iter().any(|it| it.contains("_gzip "))).collect()
    };
    let (left, right) = (pairs(&text), pairs(&known_text));
    if let Some((left, right)) = left.iter().zip(&right).find(|(left, right)| left != right) {
        bail!("{}: Java writes\n{}\nand recorded is\n{}", known.display(), left.join("\n"), right.join("\n"));
    }
    ensure!(left.len() == right.len(), "{}: {} pairs, and recorded are {}", known.display(), left.len(), right.len());
    Ok(2 * left.len())
}
