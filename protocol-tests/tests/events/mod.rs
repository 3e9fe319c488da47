//! `kafka-bridge produce` and `kafka-bridge consume`: what one writes, the other proves; and what is planted between them is
//! named.

mod ended;
mod planted;
mod real;
mod round_trip;
mod wrong;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use kafka_bridge::config::Secret;
use kafka_bridge::demo::registry::{Access, Settings as RegistrySettings};
use libtest_mimic::Trial;
use protocol_tests::bridge::Config;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;

pub(super) fn trials() -> Vec<Trial> {
    let all = [ended::trials(), planted::trials(), real::trials(), round_trip::trials(), wrong::trials()];
    all.into_iter().flatten().collect()
}

fn schema(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    folder.join("avro").join(name).to_string_lossy().into_owned()
}

/// A link between two embedded clusters; the source has a registry behind mutual TLS and a password.
struct Stage {
    source: EmbeddedCluster,
    registry: Registry,
    folder: TempDir,
    file: PathBuf,
    target: EmbeddedCluster,
}

impl Stage {
    fn new() -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        let (source, target) =
            (EmbeddedCluster::start(Settings::nodes(3))?, EmbeddedCluster::start(Settings::nodes(1))?);
        source.client().create_topic(TOPIC, PARTITIONS, 3, &[("retention.ms", "-1")])?;
        let access = Access::Basic { username: "bridge".to_owned(), password: Secret::new("hunter2") };
        let registry = Registry::mutual_tls(
            &folder.path().join("registry"),
            RegistrySettings { access, ..RegistrySettings::default() },
        )?;
        let mut config = Config::new("orders-dmz", source.end(), target.end(), &[TOPIC]);
        config.tables = registry.table("source");
        let file = config.write(folder.path(), "bridge")?;
        Ok(Stage { source, registry, folder, file, target })
    }

    /// A link without any registry.
    fn without_registry() -> Result<Stage> {
        let stage = Stage::new()?;
        let config = Config::new("orders-dmz", stage.source.end(), stage.target.end(), &[TOPIC]);
        config.write(stage.folder.path(), "bridge")?;
        Ok(stage)
    }

    fn run(&self, command: &str, more: &[&str], input: &str) -> Result<Finished> {
        let file = self.file.to_string_lossy();
        let arguments = [&[command, "--config", &file, "--topic", TOPIC, "--end", "source"], more].concat();
        Finished::fed(self.folder.path(), &arguments, input, LIMIT)
    }

    fn produce(&self, more: &[&str], input: &str) -> Result<(i32, Value)> {
        report(self.run("produce", &[&["--json"], more].concat(), input)?)
    }

    fn consume(&self, more: &[&str]) -> Result<(i32, Value)> {
        report(self.run("consume", &[&["--json", "--quiet"], more].concat(), "")?)
    }
}

fn report(done: Finished) -> Result<(i32, Value)> {
    let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
    Ok((done.code, report))
}

/// All is well, and there are so many.
fn clean((code, report): &(i32, Value), events: u64) -> Result<()> {
    ensure!(*code == 0 && report["is_clean"] == true && report["events"] == events, "exit code {code}: {report:#}");
    ensure!(
        report["unnumbered"] == 0 && report["lost"] == 0 && report["problems"] == serde_json::json!([]),
        "{report:#}"
    );
    Ok(())
}
