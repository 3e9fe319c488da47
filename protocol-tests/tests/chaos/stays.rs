//! `compose/up --lab` and `compose/down`: a lab that stays, to be looked at from this machine.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol_tests::bridge::binary;
use protocol_tests::http;
use protocol_tests::process::Process;
use serde_json::Value;

use super::{END_LIMIT, LIMIT, repository};

const GROWTH_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// What a fresh checkout has of it; its keys and notes are the trial's own.
const PARTS: [&str; 4] = ["avro", "chaos", "compose", "pki"];

pub(super) fn trial() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("repository");
    fs::create_dir(&root)?;
    for it in PARTS {
        let copied = Command::new("cp").arg("-r").arg(repository()?.join(it)).arg(&root).status()?;
        ensure!(copied.success(), "{it} cannot be copied");
    }
    for it in ["compose/build", "compose/.env", "compose/.env.local"] {
        let path = root.join(it);
        if path.is_dir() { fs::remove_dir_all(path)? } else { drop(fs::remove_file(path)) }
    }
    let script = |name: &str| {
        let mut command = Command::new(root.join("compose").join(name));
        // An engine on this machine is nobody's here: compose/down would end what somebody has started in it.
        command.env("DOCKER_HOST", "unix:///nonexistent").env("TMPDIR", folder.path());
        command
    };
    let mut command = script("up");
    command.arg("--lab").env("KAFKA_BRIDGE", binary()?);
    let mut up = Process::start(&mut command, &folder.path().join("log"))?;
    let ended = up.wait(LIMIT);
    if ended.is_err() {
        // In order: its brokers and namespaces would outlive it.
        up.signal("TERM")?;
        up.wait(END_LIMIT)?;
    }
    let (code, said) = (ended?, up.log());
    ensure!(code == 0, "compose/up --lab ended with {code}:\n{said}");
    let seen = works(&root, &said);
    // While one stands there is no other.
    let again = script("up").arg("--lab").output()?;
    let down = script("down").output()?;
    seen?;
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(again.status.code() == Some(1) && told.contains("compose/down"), "{again:?}");
    ensure!(down.status.success(), "{down:?}");
    is_gone(&lab(&said)?)
}

fn lab(said: &str) -> Result<PathBuf> {
    said.lines().last().filter(|it| it.starts_with('/')).map(PathBuf::from).context("the last line is no folder")
}

fn works(root: &Path, said: &str) -> Result<()> {
    let lab = lab(said)?;
    ensure!(said.contains("isolated: the bridge zone reaches both brokers"), "{said}");
    let addresses: Vec<&str> = said
        .lines()
        .filter_map(|it| it.split_once("the console of ")?.1.split_once(": http://")?.1.strip_suffix('/'))
        .collect();
    ensure!(addresses.len() == 2, "two consoles are to be told:\n{said}");
    let exec = |zone: &str, script: &str| -> Result<Output> {
        let mut command = Command::new(root.join("chaos/lab.sh"));
        Ok(command.arg("exec").arg(&lab).args([zone, "bash", "-c", script]).output()?)
    };
    let connects = |zone: &str, address: &str, port: &str| -> Result<bool> {
        Ok(exec(zone, &format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"))?.status.success())
    };
    ensure!(connects("bridge", "10.91.2.11", "9093")?, "the bridge zone does not reach the target");
    for (zone, other) in [("source", "10.91.2.11"), ("target", "10.91.1.11")] {
        ensure!(!connects(zone, other, "9093")?, "the {zone} zone connects to {other}");
    }
    grows(&addresses)?;
    let (host, port) = addresses[0].split_once(':').context("an address without a port")?;
    for zone in ["source", "target"] {
        ensure!(!connects(zone, host, port)?, "the {zone} zone reaches the console");
    }
    // Without what keeps it from there it would be reached: so the above can fail.
    let opened = exec("bridge", "nft flush chain inet isolation arrived")?;
    ensure!(
        opened.status.success() && connects("source", host, port)?,
        "nothing was kept from the console: {opened:?}"
    );
    Ok(())
}

/// What both bridges say from outside: records flow, and every lane is somebody's.
fn grows(addresses: &[&str]) -> Result<()> {
    let read = || -> Result<i64> {
        let mut lanes = Vec::new();
        let mut read = 0;
        for address in addresses {
            let (status, body) = http::ask(TcpStream::connect(address)?, address, "/api/link")?;
            ensure!(status == 200, "{address}: {status} {body}");
            let link: Value = serde_json::from_str(&body)?;
            lanes.extend(link["lanes"]["taken"].as_array().into_iter().flatten().filter_map(Value::as_i64));
            read += link["totals"]["read"].as_i64().with_context(|| format!("{link}"))?;
        }
        lanes.sort_unstable();
        ensure!(lanes == (0..8).collect::<Vec<_>>(), "the bridges work lanes {lanes:?}");
        Ok(read)
    };
    let (first, start) = (read()?, Instant::now());
    while read()? <= first {
        ensure!(start.elapsed() < GROWTH_LIMIT, "no more than {first} records are read");
        thread::sleep(POLL);
    }
    for address in addresses {
        let (status, page) = http::ask(TcpStream::connect(address)?, address, "/")?;
        ensure!(status == 200 && page.contains("<script"), "{address} shows no page: {status} {page}");
    }
    Ok(())
}

/// No folder, no namespace, no cable, no process.
fn is_gone(lab: &Path) -> Result<()> {
    let name = lab.extension().and_then(|it| it.to_str()).context("the lab has no name")?;
    ensure!(!lab.exists(), "{} is left", lab.display());
    for arguments in [["netns", "list"], ["-oneline", "link"]] {
        let listed = Command::new("ip").args(arguments).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(!listed.contains(&format!("kb-{name}")), "{arguments:?}: {listed}");
    }
    let hosts = fs::read_dir("/etc/netns").into_iter().flatten().filter_map(Result::ok);
    let hosts: Vec<_> = hosts.map(|it| it.file_name()).filter(|it| it.to_string_lossy().contains(name)).collect();
    ensure!(hosts.is_empty(), "/etc/netns: {hosts:?}");
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        ensure!(!line.contains(&format!("kafka-bridge-lab.{name}")), "it runs on: {line}");
    }
    Ok(())
}
