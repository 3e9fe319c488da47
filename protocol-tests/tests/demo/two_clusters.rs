//! Two real clusters and the bridge between them, in one command.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::process::Process;

use crate::{real, trial};

const BINARY: &str = env!("CARGO_BIN_EXE_two-clusters");
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("demo", "two_clusters_explains_itself", || {
            let help = Command::new(BINARY).arg("--help").output()?;
            ensure!(help.status.success() && String::from_utf8(help.stdout)?.contains("--keep"), "there is no help");
            let wrong = Command::new(BINARY).arg("--kep").output()?;
            ensure!(wrong.status.code() == Some(2), "a wrong option is wrong usage");
            ensure!(String::from_utf8(wrong.stderr)?.contains("unknown option --kep"), "it is not named");
            Ok(())
        }),
        real("demo", "kafka_3_9_2_zookeeper_to_4_4_0_two_clusters", &["3.9.2", "4.4.0"], two_clusters),
    ]
}

/// Left running, then ended as Ctrl-C does.
fn two_clusters() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(BINARY);
    let mut process = Process::start(command.args(["--short", "--keep"]), &folder.path().join("log"))?;
    process.wait_for_log("Ctrl-C ends", LIMIT)?;
    let shown = process.log();
    println!("{shown}");
    ensure!(shown.contains("EQUAL: "), "no verdict");
    let line = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim().to_owned()).with_context(|| format!("{name} is not named"))
    };
    let (config, log) = (line("config")?, line("log")?);
    ensure!(std::fs::read_to_string(&config)?.contains("link = \"orders-dmz\""), "{config} is not the link's");
    ensure!(Path::new(&log).is_file(), "{log} is missing");
    let addresses = [line("source")?, line("target")?];
    let address = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
    for address in addresses.iter().map(address) {
        TcpStream::connect(&address).with_context(|| format!("nobody listens at {address}"))?;
    }
    process.signal("INT")?;
    let code = process.wait(LIMIT)?;
    ensure!(code == 0, "exit code {code}:\n{}", process.log_tail(30));
    for address in addresses.iter().map(address) {
        ensure!(TcpStream::connect(&address).is_err(), "somebody still listens at {address}");
    }
    ensure!(!Path::new(&config).exists(), "{config} was left behind");
    Ok(())
}
