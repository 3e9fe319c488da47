//! `compose/`: built, started, broken, counted and taken down, in a container engine of the trial's own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::program;
use protocol_tests::browser;
use protocol_tests::linked::static_binary;
use protocol_tests::process::Process;

use crate::chaos::lacks;
use crate::{is_required, real};

/// Its steps have limits of their own, and say which one was missed; this ends what hangs.
const LIMIT: Duration = Duration::from_secs(1200);
/// For stopping what it has started.
const END_LIMIT: Duration = Duration::from_secs(90);
/// In its own words.
const SHOWN: [&str; 7] = ["isolated", "is told", "in a browser", "Kafka UI", "accounted", "verdict", "is left"];
const PROGRAMS: [&str; 7] = ["docker", "dockerd", "docker-compose", "debootstrap", "iptables", "nft", "ip"];

pub(super) fn trials() -> Vec<Trial> {
    let trial = real("compose", "kafka_3_9_2_zookeeper_to_4_4_0_in_containers", &["3.9.2", "4.4.0"], in_containers);
    vec![match lacks(&PROGRAMS) {
        Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
        None => trial,
    }]
}

fn in_containers() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")?;
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(root.join("compose/self-test.sh"));
    command.env("KAFKA_BRIDGE_STATIC", static_binary(folder.path())?);
    let browser = browser::program();
    match &browser {
        Ok(_) => {
            command.env("KAFKA_BRIDGE_VISIT", program("visit")?).env("KAFKA_BRIDGE_PICTURES", browser::pictures());
        }
        Err(reason) if is_required() => bail!("{reason}"),
        Err(reason) => println!("not looked at in a browser: {reason}"),
    }
    let mut process = Process::start(&mut command, &folder.path().join("log"))?;
    let ended = process.wait(LIMIT);
    if ended.is_err() {
        // In order: its engine and containers would outlive it.
        process.signal("TERM")?;
        process.wait(END_LIMIT)?;
    }
    let code = ended?;
    ensure!(code == 0, "compose/self-test.sh ended with {code}:\n{}", process.log());
    let log = process.log();
    ensure!(browser.is_err() || log.contains("in a browser"), "nobody has looked at the console:\n{log}");
    for line in log.lines().filter(|line| SHOWN.iter().any(|it| line.contains(it))) {
        println!("{line}");
    }
    Ok(())
}
