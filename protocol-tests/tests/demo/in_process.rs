//! `kafka-bridge demo`: the binary alone, with and without faults.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::binary;
use protocol_tests::process::Process;
use protocol_tests::{http, ports};
use serde_json::Value;

use crate::trial;

const RECORDS: u64 = 30_000;
const TOPICS: usize = 5;
/// What is planted in events, as the dead letters tell it.
const REASONS: [&str; 6] =
    ["framing_magic", "framing_too_short", "rule_one_of", "trailing_bytes", "truncated", "unknown_schema"];
const SEED: &str = "7";
const LIMIT: Duration = Duration::from_secs(240);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("demo", "in_process_copies_all_that_was_produced", || {
            let shown = demo(&["--records", &RECORDS.to_string()])?;
            ensure!(!shown.contains("survived"), "faults that nobody asked for:\n{shown}");
            Ok(())
        }),
        trial("demo", "in_process_survives_its_faults", || {
            let shown = watched()?;
            ensure!(shown.contains("survived: "), "no fault happened:\n{shown}");
            ensure!(shown.contains(" registry "), "the registry was never in trouble:\n{shown}");
            Ok(())
        }),
        trial("demo", "in_process_ends_on_ctrl_c_with_a_verdict", || {
            let folder = tempfile::tempdir()?;
            let mut process = Process::start(Command::new(binary()?).arg("demo"), &folder.path().join("log"))?;
            process.wait_for_log("copied", LIMIT)?;
            process.signal("INT")?;
            let code = process.wait(LIMIT)?;
            ensure!(process.log().contains("verdict after"), "no verdict:\n{}", process.log());
            // Stopped before anything was copied is not a clean copy.
            let copied = figure(&process.log(), "copied")?;
            ensure!((code == 0) == (copied > 0), "exit code {code}:\n{}", process.log());
            Ok(())
        }),
    ]
}

/// With faults, and somebody who looks on at the console: it answers through all lives of the bridge, and after the verdict.
fn watched() -> Result<String> {
    let (folder, port) = (tempfile::tempdir()?, ports::free()?);
    let mut command = Command::new(binary()?);
    command.args(["demo", "--seed", SEED, "--records", &RECORDS.to_string(), "--chaos", "--hold"]);
    command.args(["--console", &format!("127.0.0.1:{port}")]);
    let mut process = Process::start(&mut command, &folder.path().join("log"))?;
    process.wait_for_log("console at http://127.0.0.1:", LIMIT)?;
    let link = || -> Result<Value> {
        let (_, body) = http::get(port, "/api/link")?;
        Ok(serde_json::from_str(&body)?)
    };
    let adds_up = |it: &Value| {
        let of = |name: &str| it["totals"][name].as_u64().unwrap_or_default();
        of("read") == of("written") + of("dead_lettered")
    };
    let (start, mut answers, mut is_over) = (Instant::now(), 0, false);
    loop {
        match link() {
            Ok(link) => {
                ensure!(adds_up(&link), "a life of the bridge does not add up: {link:#}");
                answers += 1;
                let lanes = link["lanes"]["taken"].as_array().map_or(0, Vec::len);
                if is_over && link["ready"]["is_well"] == true && link["totals"]["lag_records"] == 0 && lanes == 8 {
                    break;
                }
            }
            // It is not there at once, and then always.
            Err(error) => ensure!(answers == 0, "after {answers} answers: {error:#}\n{}", process.log()),
        }
        is_over = process.log().contains("everything runs on until Ctrl-C");
        ensure!(start.elapsed() < LIMIT, "it never came to rest:\n{}", process.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    process.signal("INT")?;
    clean(&mut process)
}

fn demo(arguments: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(binary()?);
    command.args(["demo", "--seed", SEED]).args(arguments);
    clean(&mut Process::start(&mut command, &folder.path().join("log"))?)
}

/// A clean run: what it printed.
fn clean(process: &mut Process) -> Result<String> {
    let code = process.wait(LIMIT)?;
    let shown = process.log();
    ensure!(code == 0 && shown.contains("clean: each record exactly once"), "exit code {code}:\n{shown}");
    // Some of what was written under faults may not have arrived; aborted records are extra.
    let of = |name: &str| figure(&shown, name);
    let (produced, copied, letters) = (of("produced")?, of("copied")?, of("dead-lettered")?);
    ensure!(produced > RECORDS / 2 && letters > RECORDS / 500, "{produced} produced, {letters} dead letters:\n{shown}");
    ensure!(produced == copied + letters, "{produced} produced, {copied} copied, {letters} dead letters:\n{shown}");
    ensure!(shown.matches("in each of 3 partitions").count() == TOPICS, "a partition does not add up:\n{shown}");
    let by_reason = REASONS.iter().map(|reason| of(reason)).sum::<Result<u64>>()?;
    ensure!(by_reason == letters, "{by_reason} of {letters} dead letters have a reason:\n{shown}");
    // Decoded, and what no longer decodes.
    ensure!(shown.contains("\"currency\":\"XXX\"") && shown.contains(" bytes: "), "no dead letter is shown:\n{shown}");
    Ok(shown)
}

/// A number of the verdict.
fn figure(shown: &str, name: &str) -> Result<u64> {
    let verdict = shown.rsplit("verdict after").next().unwrap_or_default();
    let mut words = verdict.split_whitespace().skip_while(|word| *word != name);
    let figure = words.nth(1).with_context(|| format!("the verdict does not name {name}:\n{shown}"))?;
    Ok(figure.trim_end_matches([',', ';']).parse()?)
}
