//! One command of the bridge from start to end: exit code, what it printed, how much memory it took.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bridge::binary;

const POLL: Duration = Duration::from_millis(10);

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// −1: a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The largest resident size that was seen, in kB.
    pub peak_kb: u64,
}

impl Finished {
    /// Runs `kafka-bridge <arguments>` with its outputs in `folder`.
    pub fn run(folder: &Path, arguments: &[&str], limit: Duration) -> Result<Finished> {
        Finished::fed(folder, arguments, "", limit)
    }

    /// With this on its standard input.
    pub fn fed(folder: &Path, arguments: &[&str], input: &str, limit: Duration) -> Result<Finished> {
        Finished::spawned(folder, arguments, input, None, limit)
    }

    /// With this as its standard output, of which nothing is kept.
    pub fn writing_to(folder: &Path, arguments: &[&str], output: Stdio, limit: Duration) -> Result<Finished> {
        Finished::spawned(folder, arguments, "", Some(output), limit)
    }

    fn spawned(
        folder: &Path,
        arguments: &[&str],
        input: &str,
        output: Option<Stdio>,
        limit: Duration,
    ) -> Result<Finished> {
        let mut given = tempfile::tempfile_in(folder)?;
        given.write_all(input.as_bytes())?;
        given.rewind()?;
        let (out, err) = (tempfile::NamedTempFile::new_in(folder)?, tempfile::NamedTempFile::new_in(folder)?);
        let stream = |file: &tempfile::NamedTempFile| -> Result<File> { Ok(file.as_file().try_clone()?) };
        let output = output.map_or_else(|| stream(&out).map(Stdio::from), Ok)?;
        let mut program = Command::new(binary()?);
        program.args(arguments).stdin(Stdio::from(given)).stdout(output).stderr(stream(&err)?);
        let mut child = program.spawn().context("cannot start kafka-bridge")?;
        let ended = wait(&mut child, limit);
        let text = |file: &tempfile::NamedTempFile| -> Result<String> {
            Ok(String::from_utf8_lossy(&fs::read(file.path())?).into_owned())
        };
        let (stdout, stderr) = (text(&out)?, text(&err)?);
        match ended {
            Ok((code, peak_kb)) => Ok(Finished { code, stdout, stderr, peak_kb }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context(format!("kafka-bridge {arguments:?} said:\n{stdout}{stderr}")))
            }
        }
    }

    /// `kafka-bridge check --json`, and its report.
    pub fn check(config: &Path, limit: Duration) -> Result<(i32, Value)> {
        let folder = config.parent().context("a config is in a folder")?;
        let config = config.to_string_lossy();
        let done = Finished::run(folder, &["check", "--json", "--config", &config], limit)?;
        let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
        Ok((done.code, report))
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<(i32, u64)> {
    let (start, mut peak_kb) = (Instant::now(), 0);
    loop {
        peak_kb = peak_kb.max(resident_kb(child.id()));
        if let Some(status) = child.try_wait()? {
            return Ok((status.code().unwrap_or(-1), peak_kb));
        }
        if start.elapsed() > limit {
            bail!("it still runs after {limit:?}");
        }
        std::thread::sleep(POLL);
    }
}

/// The highest so far, as Linux counts it; 0 when the process is gone.
fn resident_kb(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
