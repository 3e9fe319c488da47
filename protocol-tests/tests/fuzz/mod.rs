//! The fuzzer (`protocol-tests/fuzz`), shortly: enough inputs to see a decoder that has come loose. Each runs in a process of
//! its own, for what ends the process is seen too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::trial;

const TARGETS: [&str; 14] = [
    "answers",
    "requests",
    "batch",
    "fetch",
    "gzip",
    "snappy",
    "lz4",
    "zstd",
    "ledger",
    "config",
    "datum",
    "framing",
    "schema",
    "certificate",
];
/// A second or two for each target.
const INPUTS: &str = "4000";
/// Only for a machine that stands still; the number of inputs ends it.
const SECONDS: &str = "300";
/// Inputs that all are refused at once would prove nothing.
const TAKEN_PERCENT_MIN: u64 = 3;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = TARGETS.iter().map(|target| trial("fuzz", target, || holds(target))).collect();
    for planted in ["panic", "verdict", "memory", "death"] {
        trials.push(trial("fuzz", &format!("a_planted_{planted}_is_seen"), move || seen(planted)));
    }
    let files = TARGETS.iter().flat_map(|target| kept(target).into_iter().map(move |file| (*target, file)));
    trials.extend(files.map(|(target, file)| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        trial("fuzz", &format!("{target}_{name}_holds"), move || again(target, &file))
    }));
    trials
}

fn run(arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_fuzz")).args(arguments).output().context("cannot run the fuzzer")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), told))
}

fn holds(target: &str) -> Result<()> {
    let (code, told) = run(&["--target", target, "--inputs", INPUTS, "--seconds", SECONDS])?;
    ensure!(code == Some(0), "{told}");
    let percent = told.split(" % taken").next().and_then(|it| it.rsplit(' ').next()).and_then(|it| it.parse().ok());
    let percent: u64 = percent.with_context(|| told.clone())?;
    ensure!(told.contains(&format!("{INPUTS} inputs hold")) && percent >= TAKEN_PERCENT_MIN, "{told}");
    Ok(())
}

fn seen(planted: &str) -> Result<()> {
    let (code, told) = run(&["--target", "ledger", "--inputs", "600", "--planted", planted])?;
    ensure!(code == Some(1) && told.starts_with("ledger: seed 0, input "), "exit code {code:?}: {told}");
    let why = match planted {
        "panic" => "panic: planted",
        "memory" => "MiB of memory",
        "death" => "ends the process",
        _ => "planted",
    };
    ensure!(told.contains(why), "{told}");
    Ok(())
}

/// Inputs that failed once; their names are checksums, or say what is in them.
fn kept(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions/fuzz").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    files.sort();
    files
}

fn again(target: &str, file: &Path) -> Result<()> {
    let (code, told) = run(&["--target", target, "--input", &file.to_string_lossy()])?;
    if code != Some(0) {
        bail!("{told}");
    }
    Ok(())
}
