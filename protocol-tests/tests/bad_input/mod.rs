//! Wrong config, wrong certificates, wrong brokers, wrong data: a clear error with place and remedy, the documented exit
//! code, nothing lost, no panic.

mod broker;
mod config;
mod data;
mod tls;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Config, End};
use protocol_tests::command::Finished;

pub(super) fn trials() -> Vec<Trial> {
    [broker::trials(), config::trials(), data::trials(), tls::trials()].into_iter().flatten().collect()
}

const LIMIT: Duration = Duration::from_secs(60);
/// What the bridge may take while a peer claims gigabytes: its own size, and one answer of the largest kind that it accepts.
const PEAK_KB_MAX: u64 = 200_000;

fn plaintext(address: &str) -> End {
    End { bootstrap: vec![address.to_owned()], tls: None, extra: String::new() }
}

/// A link from `source` to `target` that copies one topic.
fn link(source: End, target: End) -> Config {
    Config::new("bad-input", source, target, &["orders"])
}

/// Runs a command of the bridge on this config, which must not end by a panic or a signal, nor take much memory.
fn ended(folder: &Path, command: &str, config: &Config) -> Result<Finished> {
    let file = config.write(folder, command)?;
    let done = Finished::run(folder, &[command, "--config", &file.to_string_lossy()], LIMIT)?;
    ensure!(done.code >= 0 && done.code != 101, "{command} was ended by a panic or a signal: {done:?}");
    ensure!(!done.stderr.contains("panicked"), "{command} panicked: {done:?}");
    ensure!(done.peak_kb < PEAK_KB_MAX, "{command} took {} kB", done.peak_kb);
    Ok(done)
}

/// `run` and `check` both end with this code and say all of this.
fn refused(folder: &Path, config: &Config, code: i32, says: &[&str]) -> Result<()> {
    for command in ["check", "run"] {
        let done = ended(folder, command, config)?;
        let said = format!("{}{}", done.stdout, done.stderr);
        ensure!(done.code == code, "{command} ends with {}, not {code}:\n{said}", done.code);
        for text in says {
            ensure!(said.contains(text), "{command} does not say {text:?}:\n{said}");
        }
    }
    Ok(())
}
