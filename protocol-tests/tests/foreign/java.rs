//! Java's own clients through Kafka's command line tools, protocol v2 included: its transactional copier is the client that
//! the protocol was made for.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::jars;
use protocol_tests::raw::{Codec, Isolation, NewRecord};

use crate::real;

/// The newest release whose tools are on Maven Central.
const VERSION: &str = "4.3.1";
const RECORDS: usize = 200;

pub(super) fn trials() -> Vec<Trial> {
    // Not named like the trials on real Kafka: the clients are Kafka's, the cluster is the embedded one.
    vec![
        real("foreign", "java_tools_4_3_1_produce_and_consume_every_codec", &[VERSION], codecs),
        real("foreign", "java_tools_4_3_1_copy_in_transactions_v2", &[VERSION], || copier(2)),
        real("foreign", "java_tools_4_3_1_copy_in_transactions_v1", &[VERSION], || copier(0)),
        real("foreign", "java_tools_4_3_1_administer", &[VERSION], administer),
    ]
}

struct Tools {
    classpath: String,
    bootstrap: String,
}

impl Tools {
    fn of(cluster: &EmbeddedCluster) -> Result<Tools> {
        let classpath = jars::classpath(&jars::tools(VERSION)?);
        Ok(Tools { classpath, bootstrap: cluster.plaintext_bootstrap().join(",") })
    }

    /// What the tool prints; it must end well.
    fn run(&self, main: &str, server_option: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new("java");
        command.args(["-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &self.classpath, main]);
        command.args([server_option, &self.bootstrap]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run java")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{main} {arguments:?} failed:\n{said}\n{complained}");
        Ok(said.into_owned())
    }
}

fn codecs() -> Result<()> {
    let cluster = EmbeddedCluster::start(Settings::nodes(1))?;
    let tools = Tools::of(&cluster)?;
    cluster.client().create_topic("codecs", 1, 1, &[])?;
    let mut expected = vec![];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: Vec<String> = (0..20).map(|index| format!("{codec} {index}")).collect();
        let arguments = ["--topic", "codecs", "--compression-codec", codec];
        tools.run(
            "org.apache.kafka.tools.ConsoleProducer",
            "--bootstrap-server",
            &arguments,
            &(lines.join("\n") + "\n"),
        )?;
        expected.extend(lines);
    }
    let count = expected.len().to_string();
    let arguments =
        ["--topic", "codecs", "--from-beginning", "--isolation-level", "read_committed", "--max-messages", &count];
    let read = tools.run("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", &arguments, "")?;
    ensure!(read.lines().eq(expected.iter().map(String::as_str)), "read {} of {count} lines", read.lines().count());
    Ok(())
}

/// Consumes in a group, produces in transactions with its offsets in them, and aborts some of them.
fn copier(transaction_version: i16) -> Result<()> {
    let settings = Settings { transaction_version, ..Settings::nodes(1) };
    let cluster = EmbeddedCluster::start(settings)?;
    let tools = Tools::of(&cluster)?;
    let mut client = cluster.client();
    client.create_topic("input", 1, 1, &[])?;
    client.create_topic("output", 1, 1, &[])?;
    let record = |index: usize| NewRecord {
        timestamp: 1_700_000_000_000,
        value: Some(index.to_string().into_bytes()),
        ..NewRecord::default()
    };
    client.write("input", 0, Codec::Lz4, (0..RECORDS).map(record).collect())?;
    let count = RECORDS.to_string();
    let said = tools.run(
        "org.apache.kafka.tools.TransactionalMessageCopier",
        "--broker-list",
        &[
            "--input-topic",
            "input",
            "--input-partition",
            "0",
            "--output-topic",
            "output",
            "--consumer-group",
            "copier",
            "--transactional-id",
            "copier",
            "--transaction-size",
            "10",
            "--max-messages",
            &count,
            "--enable-random-aborts",
        ],
        "",
    )?;
    let read = client.read("output", 0, Isolation::ReadCommitted)?;
    let committed = read.iter().map(|it| String::from_utf8_lossy(it.value.as_deref().unwrap_or_default()).into_owned());
    ensure!(committed.eq((0..RECORDS).map(|it| it.to_string())), "{} of {RECORDS} in order: {said}", read.len());
    // An aborted transaction is processed again. Its records need not be in the log: the client may not have sent them yet.
    let processed: Vec<&str> = said.lines().filter_map(|line| line.split("\"totalProcessed\":").nth(1)).collect();
    ensure!(processed.windows(2).any(|pair| pair[0] == pair[1]), "no transaction was aborted: {said}");
    client.no_transaction_hangs(&["output".to_owned()])
}

fn administer() -> Result<()> {
    let cluster = EmbeddedCluster::start(Settings::nodes(3))?;
    let tools = Tools::of(&cluster)?;
    let topics = "org.apache.kafka.tools.TopicCommand";
    let create = [
        "--create",
        "--topic",
        "orders",
        "--partitions",
        "3",
        "--replication-factor",
        "3",
        "--config",
        "retention.ms=1",
    ];
    tools.run(topics, "--bootstrap-server", &create, "")?;
    let said = tools.run(topics, "--bootstrap-server", &["--describe", "--topic", "orders"], "")?;
    ensure!(said.contains("PartitionCount: 3") && said.contains("retention.ms=1"), "described as {said}");
    tools.run(topics, "--bootstrap-server", &["--alter", "--topic", "orders", "--partitions", "5"], "")?;
    cluster.client().write("orders", 4, Codec::None, vec![NewRecord::default(); 7])?;
    let offsets = "org.apache.kafka.tools.GetOffsetShell";
    let said = tools.run(offsets, "--bootstrap-server", &["--topic", "orders", "--time", "-1"], "")?;
    ensure!(said.contains("orders:4:7"), "offsets are {said}");
    let mut client = cluster.client();
    let mut producer = client.producer(Some("open"))?;
    producer.send(&mut client, "orders", 0, Codec::None, vec![NewRecord::default()])?;
    let transactions = "org.apache.kafka.tools.TransactionsCommand";
    let said = tools.run(transactions, "--bootstrap-server", &["list"], "")?;
    ensure!(said.contains("open") && said.contains("Ongoing"), "transactions are {said}");
    let describe = ["describe", "--transactional-id", "open"];
    let said = tools.run(transactions, "--bootstrap-server", &describe, "")?;
    ensure!(said.contains("orders-0"), "the transaction is {said}");
    producer.abort(&mut client)?;
    tools.run(topics, "--bootstrap-server", &["--delete", "--topic", "orders"], "")?;
    ensure!(cluster.client().topic_names()?.is_empty(), "the topic is still there");
    Ok(())
}
