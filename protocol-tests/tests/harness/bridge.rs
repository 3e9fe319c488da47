//! The binary under test: found, built, and ended by a signal.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Config, End, binary};
use protocol_tests::process::Process;

use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("harness", "bridge_binary_is_built", || {
            let path = binary()?;
            ensure!(path.is_file(), "{} is missing", path.display());
            Ok(())
        }),
        trial("harness", "bridge_config_has_the_fixed_form", config),
        trial("harness", "process_takes_signals_and_tells_its_exit_code", signals),
    ]
}

fn config() -> Result<()> {
    let end = |port: u16| End { bootstrap: vec![format!("localhost:{port}")], tls: None, extra: String::new() };
    let mut config = Config::new("orders", end(1), end(2), &["orders.*", "payments"]);
    config.target.tls = Some(("/pki/ca.pem".into(), None));
    config.delivery = "lanes = 4".to_owned();
    let text = config.to_toml();
    for line in [
        "link = \"orders\"",
        "[source]",
        "bootstrap_servers = [\"localhost:1\"]",
        "[target.tls]",
        "ca_file = \"/pki/ca.pem\"",
        "[[topics]]",
        "include = [\"orders.*\", \"payments\"]",
        "[delivery]",
        "lanes = 4",
    ] {
        ensure!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    ensure!(!text.contains("[source.tls]"), "a plaintext end has no TLS table");
    Ok(())
}

fn signals() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = "trap 'echo drained; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut process = Process::start(Command::new("sh").args(["-c", script]), &folder.path().join("log"))?;
    process.wait_for_log("ready", Duration::from_secs(5))?;
    process.signal("STOP")?;
    process.signal("TERM")?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(process.exit_code()?.is_none(), "a stopped process does not end");
    process.signal("CONT")?;
    let code = process.wait(Duration::from_secs(5))?;
    ensure!(code == 7 && process.log().contains("drained"), "exit code {code}, log {:?}", process.log());
    let mut process = Process::start(Command::new("sleep").arg("100"), &folder.path().join("log"))?;
    process.kill();
    ensure!(process.exit_code()? == Some(-1), "SIGKILL gives no exit code");
    Ok(())
}
