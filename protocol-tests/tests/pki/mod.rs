//! `pki/mint.sh`: what is there stays as it is, and what is wrong is told. That real brokers and the bridge take what it makes is
//! shown by the scripts in `chaos/`.

mod inspect;
mod reload;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::{is_required, trial};

const WANTED: [&str; 4] = ["--broker", "source/kafka:kafka.example.org,10.0.0.1", "--client", "source/bridge"];
const REFUSED: Option<i32> = Some(1);
const WRONG_USAGE: Option<i32> = Some(2);

pub(super) fn trials() -> Vec<Trial> {
    let has_openssl =
        Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok_and(|it| it.success());
    let trials = vec![
        trial("pki", "a_second_run_changes_nothing", a_second_run_changes_nothing),
        trial(
            "pki",
            "certificates_are_renewed_and_the_authority_stays",
            certificates_are_renewed_and_the_authority_stays,
        ),
        trial("pki", "what_is_not_as_wanted_is_told", what_is_not_as_wanted_is_told),
        trial("pki", "wrong_usage_makes_nothing", wrong_usage_makes_nothing),
        trial(
            "pki",
            "inspect_shows_what_was_minted_and_what_is_wrong",
            inspect::inspect_shows_what_was_minted_and_what_is_wrong,
        ),
    ];
    // In CI they fail where it is missing, as those do that need Kafka.
    let is_ignored = !has_openssl && !is_required();
    let with_openssl = trials.into_iter().map(|it| match is_ignored {
        true => it.with_kind("openssl is not installed").with_ignored_flag(true),
        false => it,
    });
    with_openssl.chain(reload::trials()).collect()
}

fn mint(out: &Path, arguments: &[&str]) -> Result<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")?;
    let mut command = Command::new("bash");
    command.arg(root.join("pki/mint.sh")).arg("--out").arg(out).args(arguments).stdin(Stdio::null());
    command.output().context("bash cannot be started")
}

fn minted(out: &Path, arguments: &[&str]) -> Result<String> {
    let output = mint(out, arguments)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The exit code, and why.
fn told(output: &Output, code: Option<i32>, part: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == code && said.contains(part), "{:?}, {said}", output.status);
    Ok(())
}

fn files(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.insert(path.clone(), fs::read_to_string(&path)?);
        }
    }
    Ok(files)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

fn a_second_run_changes_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let out = folder.path().join("out");
    let said = minted(&out, &WANTED)?;
    ensure!(said.contains("DNS:kafka,DNS:kafka.example.org,IP:10.0.0.1"), "{said}");
    let first = files(&out)?;
    ensure!(first.len() == 8, "{:?}", first.keys());
    for (path, text) in &first {
        let name = path.to_string_lossy();
        let is_secret = name.ends_with(".key") || name.ends_with(".keystore.pem");
        ensure!(is_secret == text.contains("-----BEGIN PRIVATE KEY-----"), "{name}:\n{text}");
        ensure!(mode(path)? == if is_secret { 0o600 } else { 0o644 }, "{name} has mode {:o}", mode(path)?);
    }
    let said = minted(&out, &WANTED)?;
    ensure!(said.is_empty() && files(&out)? == first, "{said}");
    Ok(())
}

fn certificates_are_renewed_and_the_authority_stays() -> Result<()> {
    let folder = TempDir::new()?;
    minted(folder.path(), &WANTED)?;
    let first = files(folder.path())?;
    minted(folder.path(), &[&WANTED[..], &["--renew"]].concat())?;
    for (path, text) in files(folder.path())? {
        let is_authority = path.file_stem().is_some_and(|it| it == "ca");
        ensure!((first.get(&path) == Some(&text)) == is_authority, "{}", path.display());
    }
    // Soon over, and so told; yet left alone.
    minted(folder.path(), &[&WANTED[..], &["--renew", "--days", "20"]].concat())?;
    let said = minted(folder.path(), &WANTED)?;
    ensure!(said.matches("in 30 days or less").count() == 2, "{said}");
    Ok(())
}

fn what_is_not_as_wanted_is_told() -> Result<()> {
    let folder = TempDir::new()?;
    let source = folder.path().join("source");
    minted(folder.path(), &[&WANTED[..], &["--client", "target/bridge"]].concat())?;
    told(&mint(folder.path(), &["--client", "source/bridge:other"])?, REFUSED, "has the names DNS:bridge, wanted are")?;
    told(&mint(folder.path(), &["--broker", "source/bridge"])?, REFUSED, "is for TLS Web Client Authentication")?;
    let (key, other) = (source.join("bridge.key"), source.join("kafka.key"));
    let own = fs::read(&key)?;
    fs::copy(&other, &key)?;
    told(&mint(folder.path(), &WANTED)?, REFUSED, "does not belong to the key")?;
    fs::write(&key, own)?;
    minted(folder.path(), &WANTED)?;
    for name in ["bridge.pem", "bridge.key", "bridge.keystore.pem"] {
        fs::copy(folder.path().join("target").join(name), source.join(name))?;
    }
    told(&mint(folder.path(), &WANTED)?, REFUSED, "is not signed by the authority")?;
    // To make another authority would orphan all that the first has signed.
    fs::remove_file(source.join("ca.key"))?;
    told(&mint(folder.path(), &[&WANTED[..], &["--renew"]].concat())?, REFUSED, "restore the other")
}

fn wrong_usage_makes_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let out = folder.path().join("out");
    for wrong in [
        &["--client", "bridge"][..],
        &["--client", "source/ca"],
        &["--client", "../source/bridge"],
        &["--broker", "source/kafka:a b"],
        &["--client", "source/bridge", "--broker"],
        &["--days", "0"],
        &["--days", "many"],
        &["--force"],
    ] {
        told(&mint(&out, wrong)?, WRONG_USAGE, "--help").with_context(|| format!("{wrong:?}"))?;
    }
    ensure!(!out.exists(), "{} was made", out.display());
    Ok(())
}
