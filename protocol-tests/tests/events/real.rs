//! On real Kafka, and counted by Java's console consumer.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::command::Finished;
use protocol_tests::java::Tools;
use protocol_tests::kafka::{KafkaCluster, Spec};

use super::{LIMIT, PARTITIONS, TOPIC, clean, report, schema};
use crate::real;

const TOOLS: &str = "4.3.1";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("events", "kafka_4_4_0_has_what_was_produced", &["4.4.0", TOOLS], || {
            proves(Spec::kraft("4.4.0").with_tls())
        }),
        real("events", "kafka_3_9_2_zookeeper_has_what_was_produced", &["3.9.2", TOOLS], || {
            proves(Spec::zookeeper("3.9.2"))
        }),
    ]
}

fn proves(spec: Spec) -> Result<()> {
    let cluster = KafkaCluster::start(spec)?;
    cluster.client().create_topic(TOPIC, PARTITIONS, cluster.replication_factor(), &[])?;
    let folder = tempfile::tempdir()?;
    let order = schema("order.avsc");
    let bootstrap = cluster.bootstrap().join(",");
    let mut end: Vec<String> = vec!["--bootstrap".to_owned(), bootstrap];
    if let Some(pki) = cluster.pki() {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let (ca, client) = (pki.authority.ca_file(), &pki.client);
        end.extend(["--ca-file".to_owned(), text(&ca), "--cert-file".to_owned(), text(&client.chain)]);
        end.extend(["--key-file".to_owned(), text(&client.key)]);
    }
    let run = |command: &str, more: &[&str]| {
        let end: Vec<&str> = end.iter().map(String::as_str).collect();
        let all = [&[command, "--topic", TOPIC, "--schema", &order, "--json"], &end[..], more].concat();
        report(Finished::run(folder.path(), &all, LIMIT)?)
    };
    let (code, written) = run("produce", &["--generate", "--count", "1000", "--key", "id", "--codec", "zstd"])?;
    ensure!(code == 0 && written["events"] == 1_000, "exit code {code}: {written:#}");
    clean(&run("consume", &["--quiet", "--expect", "1000"])?, 1_000)?;
    let more = ["--generate", "--count", "1000", "--transactional", "--abort-ratio", "0.5", "--rate", "2000"];
    let (code, written) = run("produce", &more)?;
    ensure!(code == 0 && written["aborted"].as_u64().is_some_and(|it| it > 0), "exit code {code}: {written:#}");
    clean(&run("consume", &["--quiet", "--expect", "2000"])?, 2_000)?;
    cluster.client().no_transaction_hangs(&[TOPIC.to_owned()])?;

    let tools = Tools::new(TOOLS)?;
    let plain = cluster.plaintext_bootstrap().join(",");
    let mut counted = 0;
    for partition in 0..PARTITIONS {
        let read = tools.console_consume(&plain, TOPIC, partition)?;
        // Values are bytes, line breaks among them; the headers of each record stand once.
        counted += read.matches(",sequence:").count();
    }
    ensure!(counted == 2_000, "Java's console consumer saw {counted}");
    written["producer"].as_str().context("no producer").map(drop)
}
