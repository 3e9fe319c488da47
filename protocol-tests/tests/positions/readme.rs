//! The commands that the README shows for incidents, proofs and consumers, typed as they stand there.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::{Codec, NewRecord};

use super::incidents::until;
use super::{LIMIT, Stage};
use crate::trial;

const README: &str = include_str!("../../../README.md");
const TOPIC: &str = "orders";

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("positions", "the_commands_of_the_readme_do_what_it_says", typed)]
}

/// A command line, and the lines that follow it.
struct Shown {
    words: Vec<String>,
    output: Vec<&'static str>,
}

/// Those of the console block below a heading.
fn shown(heading: &str) -> Result<Vec<Shown>> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).context("no such heading")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section.split("```console\n").nth(1).and_then(|it| it.split("```").next()).context("no block")?;
    let mut all: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ kafka-bridge "), all.last_mut()) {
            (Some(command), _) => all.push(Shown { words: words(command), output: Vec::new() }),
            // Left out there.
            (None, _) if line.trim() == "…" => {}
            (None, Some(last)) => last.output.push(line),
            (None, None) => {}
        }
    }
    Ok(all)
}

/// As a shell takes them apart: quotes, and a comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted && word.is_empty() => break,
            ' ' if !is_quoted => words.extend(Some(std::mem::take(&mut word)).filter(|it| !it.is_empty())),
            letter => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|it| !it.is_empty()));
    words
}

fn typed() -> Result<()> {
    let stage = Stage::new()?;
    let folder = stage.folder.path();
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    let file = stage.config(&[TOPIC]).write(folder, "bridge")?;
    let path = file.to_string_lossy();
    let run = |heading: &str, codes: &[i32]| -> Result<()> {
        let commands = shown(heading)?;
        ensure!(commands.len() == codes.len(), "{heading} shows {} commands", commands.len());
        for (Shown { words, output }, code) in commands.iter().zip(codes) {
            let words: Vec<_> = words.iter().map(|it| if it == "bridge.toml" { &path } else { it.as_str() }).collect();
            let done = Finished::run(folder, &words, LIMIT)?;
            ensure!(done.code == *code, "{words:?}: {done:?}");
            for line in output {
                ensure!(done.stdout.lines().any(|it| it == *line), "{words:?} does not say {line:?}: {done:?}");
            }
        }
        Ok(())
    };
    source.create_topic(TOPIC, 4, 1, &[("retention.ms", "-1")])?;
    let records = |count| vec![NewRecord { timestamp: 1_700_000_000_000, ..NewRecord::default() }; count];
    for partition in 0..4 {
        source.write(TOPIC, partition, Codec::None, records(1200))?;
    }
    let mut bridge = Bridge::run(&file)?;
    until_none(LIMIT, || differences(&mut source, &mut target, &[TOPIC.to_owned()])).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    source.write(TOPIC, 3, Codec::None, records(200))?;
    source.delete_records(TOPIC, 3, 1350)?;
    run("Incidents", &[1, 0])?;

    // Beside a bridge that runs.
    let mut bridge = Bridge::run(&file)?;
    until(&mut target, 3, 1250).with_context(|| bridge.log())?;
    run("Proving the copy", &[0, 0])?;
    source.set_group_offset("billing", TOPIC, 0, 700)?;
    run("Moving consumers", &[0, 0, 0, 0])?;
    ensure!(target.group_offset("billing", TOPIC, 0)?.is_some(), "nothing was committed");
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    Ok(())
}
