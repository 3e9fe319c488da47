//! The scripts of `chaos/` that every run goes through: a cut, and the proof that their verdicts can be bad ones.

mod stays;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{binary, planted_binary};
use protocol_tests::process::Process;

use crate::{is_required, real};

/// A script waits up to five minutes for each of a few things, and then says which one did not come; this ends what hangs.
const LIMIT: Duration = Duration::from_secs(1200);
/// For stopping what it has started.
const END_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    let versions = ["3.9.2", "4.4.0"];
    let trials = vec![
        real("chaos", "kafka_3_9_2_zookeeper_to_4_4_0_partition", &versions, || {
            script("partition.sh", &["--seconds", "12"])
        }),
        real("chaos", "kafka_3_9_2_zookeeper_to_4_4_0_self_test", &versions, || script("self-test.sh", &[])),
        real("chaos", "kafka_3_9_2_zookeeper_to_4_4_0_in_a_lab_that_stays", &versions, stays::trial),
    ];
    match missing() {
        Some(reason) => trials.into_iter().map(|it| it.with_kind(&reason).with_ignored_flag(true)).collect(),
        None => trials,
    }
}

/// Why no lab can be made here. In CI only one reason counts: a machine that lets nobody make network namespaces.
fn missing() -> Option<String> {
    lacks(&["ip", "nft", "openssl"])
}

/// Why nothing can be run here that needs network namespaces and these programs.
pub(super) fn lacks(programs: &[&str]) -> Option<String> {
    if !runs(&["unshare", "--net", "--mount", "true"]) {
        return Some("this machine lets nobody make network namespaces".to_owned());
    }
    let absent = programs.iter().find(|it| !runs(&["sh", "-c", &format!("command -v {it}")]));
    absent.filter(|_| !is_required()).map(|it| format!("{it} is not installed"))
}

fn runs(command: &[&str]) -> bool {
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().is_ok_and(|it| it.success())
}

fn repository() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")
}

fn script(name: &str, arguments: &[&str]) -> Result<()> {
    let root = repository()?;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(root.join("chaos").join(name));
    command.args(arguments).env("KAFKA_BRIDGE", binary()?).env("KAFKA_BRIDGE_PLANTED", planted_binary()?);
    let mut process = Process::start(&mut command, &folder.path().join("log"))?;
    let ended = process.wait(LIMIT);
    if ended.is_err() {
        // In order: its brokers and namespaces would outlive it.
        process.signal("TERM")?;
        process.wait(END_LIMIT)?;
    }
    let code = ended?;
    ensure!(code == 0, "{name} ended with {code}:\n{}", process.log());
    // What it proves, in its own words.
    for line in process.log().lines().filter(|it| it.contains("verdict") || it.contains("packets dropped")) {
        println!("{line}");
    }
    Ok(())
}
