//! MirrorMaker 2 in dedicated mode with exactly-once, as its documentation and its users tune it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use protocol_tests::kafka::{AS_RELEASED, KafkaCluster};
use protocol_tests::process::Process;
use protocol_tests::{jars, ports};

use crate::stage::Stage;

/// What Kafka's `connect-mirror-maker.sh` says.
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx2g"];
const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
/// Printed with the figures: whoever knows better ones can say so.
pub(crate) const SETTINGS: [(&str, &str); 14] = [
    ("tasks.max", "4"),
    ("exactly.once.source.support", "enabled"),
    ("consumer.isolation.level", "read_committed"),
    ("consumer.auto.offset.reset", "earliest"),
    ("consumer.fetch.max.bytes", "67108864"),
    ("consumer.max.partition.fetch.bytes", "8388608"),
    ("consumer.max.poll.records", "20000"),
    ("consumer.receive.buffer.bytes", "1048576"),
    ("producer.override.compression.type", "lz4"),
    ("producer.override.batch.size", "1048576"),
    ("producer.override.buffer.memory", "134217728"),
    ("producer.override.max.request.size", "10485760"),
    ("producer.override.linger.ms", "5"),
    ("producer.override.send.buffer.bytes", "1048576"),
];
/// They would copy what nobody here compares.
const OFF: [&str; 6] = [
    "emit.heartbeats.enabled",
    "emit.checkpoints.enabled",
    "sync.topic.configs.enabled",
    "sync.topic.acls.enabled",
    "sync.group.offsets.enabled",
    "refresh.groups.enabled",
];

/// The source is called by the name of the run, so the copy's topic is `<run>.<topic>`.
pub(crate) fn start(stage: &Stage, run: &str, topic: &str) -> Result<Process> {
    let mut lines = vec![
        format!("clusters = {run}, target"),
        format!("{run}->target.enabled = true"),
        format!("target->{run}.enabled = false"),
        format!("{run}->target.topics = {topic}"),
        "target.exactly.once.source.support = enabled".to_owned(),
        "dedicated.mode.enable.internal.rest = true".to_owned(),
        format!("listeners = http://127.0.0.1:{}", ports::free()?),
        // Nothing is written to the source.
        format!("{run}->target.offset-syncs.topic.location = target"),
        "replication.factor = 1".to_owned(),
    ];
    for topic in ["checkpoints", "heartbeats", "offset-syncs"] {
        lines.push(format!("{topic}.topic.replication.factor = 1"));
    }
    for storage in ["offset", "status", "config"] {
        lines.push(format!("{storage}.storage.replication.factor = 1"));
    }
    lines.extend(SETTINGS.iter().map(|(key, value)| format!("{run}->target.{key} = {value}")));
    lines.extend(OFF.iter().map(|key| format!("{run}->target.{key} = false")));
    lines.extend(end(run, &stage.pair.source)?);
    lines.extend(end("target", &stage.pair.target)?);
    let file = stage.folder().join(format!("{run}.properties"));
    fs::write(&file, lines.join("\n"))?;
    let jars = jars::mirror_maker(&stage.kafka)?;
    let mut command = Command::new("java");
    command.args(HEAP).args(AS_RELEASED).args([QUIET, "-cp"]).arg(jars::classpath(&jars));
    command.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(&file);
    Process::start(&mut command, &stage.folder().join(format!("{run}.log")))
}

fn end(name: &str, cluster: &KafkaCluster) -> Result<Vec<String>> {
    let pki = cluster.pki().context("the clusters have TLS")?;
    let path = |path: &Path| path.display().to_string();
    let settings = [
        ("bootstrap.servers", cluster.bootstrap().join(",")),
        ("security.protocol", "SSL".to_owned()),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", path(&pki.client.keystore)),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", path(&pki.authority.ca_file())),
    ];
    Ok(settings.into_iter().map(|(key, value)| format!("{name}.{key} = {value}")).collect())
}
