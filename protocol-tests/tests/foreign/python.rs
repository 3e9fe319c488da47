//! `pip install confluent-kafka kafka-python lz4 python-snappy zstandard`

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::embedded::EmbeddedCluster;

use crate::{name, trial};

const PYTHON: &str = "KAFKA_BRIDGE_PYTHON";
const LIBRDKAFKA: &str = "confluent_kafka";
const KAFKA_PYTHON: &str = "kafka, lz4, snappy, zstandard";
/// A transaction's timeout must be seen while the trial lasts.
const REAP_INTERVAL_MS: i64 = 200;

pub(super) fn trials() -> Vec<Trial> {
    let librdkafka = [
        "codecs",
        "transactions",
        "last_stable_offset",
        "offsets_in_transactions",
        "zombie",
        "timeout",
        "range_group",
        "cooperative_group",
    ];
    let kafka_python = ["codecs", "transactions", "group"];
    let librdkafka = librdkafka.map(|case| script("librdkafka", LIBRDKAFKA, case));
    librdkafka.into_iter().chain(kafka_python.map(|case| script("kafka_python", KAFKA_PYTHON, case))).collect()
}

fn python() -> String {
    std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned())
}

fn has(packages: &str) -> bool {
    let mut command = Command::new(python());
    command.args(["-c", &format!("import {packages}")]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn script(client: &'static str, packages: &str, case: &'static str) -> Trial {
    let full = format!("{client}_{case}");
    if !has(packages) {
        let reason = format!("{} has not the packages {packages}", python());
        return Trial::test(name("foreign", &full), || Ok(())).with_kind(reason).with_ignored_flag(true);
    }
    trial("foreign", &full, move || run(client, case))
}

fn run(client: &str, case: &str) -> Result<()> {
    // Three nodes: leaders and coordinators are to be found.
    let settings = Settings { reap_interval_ms: REAP_INTERVAL_MS, default_replication_factor: 1, ..Settings::nodes(3) };
    let cluster = EmbeddedCluster::start(settings)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("foreign/{client}.py"));
    let mut command = Command::new(python());
    command.arg(script).arg(cluster.plaintext_bootstrap().join(",")).arg(case).stdin(Stdio::null());
    let output = command.output().context("cannot run Python")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{client} {case}: {said}");
    Ok(())
}
