//! What a command answers on standard output.

use anyhow::Context;
use serde::Serialize;
use std::io::{self, Write};

/// The report for people, or as JSON for scripts.
pub(super) fn answer<R: Serialize>(report: &R, is_json: bool, text: impl FnOnce(&R) -> String) -> anyhow::Result<()> {
    tell(&if is_json { json(report)? } else { text(report) })
}

pub(super) fn json(report: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

pub(super) fn tell(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    all_written(output.write_all(text.as_bytes()).and_then(|()| output.flush()))
}

/// Who reads may have seen enough, as `head` does. Anything else, as a full disk, leaves a file that is not what was told.
pub(super) fn all_written(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}
