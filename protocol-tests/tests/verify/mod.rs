//! `kafka-bridge verify`: clean where the copy is, and every planted difference named as what it is, where it is.

mod parts;
mod planted;
mod recorded;
mod stopped;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::Trial;
use protocol_tests::command::Finished;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn trials() -> Vec<Trial> {
    [parts::trials(), planted::trials(), recorded::trials(), stopped::trials()].into_iter().flatten().collect()
}

/// Exit code and report.
fn verify(config: &Path, more: &[&str]) -> Result<(i32, Value)> {
    let folder = config.parent().context("a config is in a folder")?;
    let file = config.to_string_lossy();
    let arguments = [&["verify", "--json", "--config", &file], more].concat();
    let done = Finished::run(folder, &arguments, LIMIT)?;
    let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
    Ok((done.code, report))
}
