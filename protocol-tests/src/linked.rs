//! The bridge under test, linked statically: what an image that holds nothing else can run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, str};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bridge::{self, binary};

/// Libraries that `src/main.rs` names.
const NAMED: [&str; 2] = ["kafka_bridge", "mimalloc"];

/// Links what the trials are built from once more, into this folder. A build of its own takes minutes, as every dependency is compiled anew.
pub fn static_binary(folder: &Path) -> Result<PathBuf> {
    // So that it is all there.
    binary()?;
    let (mut cargo, target) = bridge::cargo()?;
    let output = cargo.arg("--message-format=json").output().context("cannot run cargo")?;
    let libraries: Vec<Value> =
        output.stdout.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("protocol-tests has no parent")?;
    let linked = folder.join("kafka-bridge");
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-name", "kafka_bridge_static", "-C", "target-feature=+crt-static"]);
    rustc.arg(root.join("src/main.rs"));
    for name in NAMED {
        let is_it = |it: &&Value| it["target"]["name"] == name && it["target"]["kind"][0] == "lib";
        let files = libraries.iter().find(is_it).and_then(|it| it["filenames"].as_array());
        let file = files.into_iter().flatten().filter_map(Value::as_str).find(|it| it.ends_with(".rlib"));
        rustc.arg("--extern").arg(format!("{name}={}", file.with_context(|| format!("cargo names no {name}"))?));
    }
    rustc.arg("-L").arg(format!("dependency={}", target.join("deps").display())).arg("-o").arg(&linked);
    let output = rustc.output().context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc failed:\n{}", str::from_utf8(&output.stderr).unwrap_or_default());
    Ok(linked)
}
