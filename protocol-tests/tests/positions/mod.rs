//! `kafka-bridge positions`: where a link stands, and that a reader who changes ends goes on with the right record.

mod compacted;
mod groups;
mod incidents;
mod readme;
mod translated;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Config;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);
const LINK: &str = "orders-dmz";

pub(super) fn trials() -> Vec<Trial> {
    [compacted::trials(), translated::trials(), groups::trials(), incidents::trials(), readme::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// Two embedded clusters and a folder for the config.
struct Stage {
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    folder: TempDir,
}

impl Stage {
    fn new() -> Result<Stage> {
        let cluster = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
        Ok(Stage { source: cluster()?, target: cluster()?, folder: tempfile::tempdir()? })
    }

    fn config(&self, include: &[&str]) -> Config {
        let mut config = Config::new(LINK, self.source.end(), self.target.end(), include);
        config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
        config
    }
}

/// `kafka-bridge positions …`, which must end with this code.
fn positions(config: &Path, arguments: &[&str], code: i32) -> Result<Value> {
    command("positions", config, arguments, code)
}

fn command(name: &str, config: &Path, arguments: &[&str], code: i32) -> Result<Value> {
    let folder = config.parent().context("a config is in a folder")?;
    let file = config.to_string_lossy();
    let arguments = [&[name], arguments, &["--json", "--config", &file]].concat();
    let done = Finished::run(folder, &arguments, LIMIT)?;
    ensure!(done.code == code, "{arguments:?}: {done:?}");
    if done.stdout.is_empty() {
        return Ok(Value::String(done.stderr));
    }
    serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))
}
