//! What `check` reports of two healthy clusters, before and while a link runs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::Isolation;
use serde_json::{Value, json};

use super::{LIMIT, array, has_note, until, write};
use crate::{real, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("check", "embedded_clusters_before_and_behind_a_run", before_and_behind_a_run),
        real("check", "kafka_3_9_2_to_4_4_0_says_what_a_run_does", &["3.9.2", "4.4.0"], || {
            says_what_a_run_does(
                Spec::zookeeper("3.9.2").with_tls(),
                Spec::kraft("4.4.0").with_tls(),
                ("3.9", "4.4"),
                2,
            )
        }),
        real("check", "kafka_3_6_2_to_4_3_1_says_what_a_run_does", &["3.6.2", "4.3.1"], || {
            says_what_a_run_does(Spec::kraft("3.6.2"), Spec::kraft("4.3.1"), ("3.6", "4.3"), 2)
        }),
        real("check", "kafka_4_4_0_to_3_9_2_says_what_a_run_does", &["4.4.0", "3.9.2"], || {
            says_what_a_run_does(Spec::kraft("4.4.0"), Spec::zookeeper("3.9.2").with_tls(), ("4.4", "3.9"), 1)
        }),
    ]
}

fn says_what_a_run_does(source: Spec, target: Spec, releases: (&str, &str), protocol: u8) -> Result<()> {
    let tls = (source.tls, target.tls);
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    at_source.create_topic("orders", 3, 1, &[("cleanup.policy", "compact")])?;
    at_source.create_topic("payments", 2, 1, &[])?;
    at_target.create_topic("payments", 1, 1, &[])?;
    write(&mut at_source, "payments", 1, 5)?;

    let mut config = pair.config("orders-dmz", &["orde*", "payments", "later.*"]);
    config.target.extra = "replication_factor = 1\n".to_owned();
    let file = config.write(pair.folder(), "bridge")?;
    let before = names(&mut at_target)?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(code == 0, "a link that can run: exit code {code}, {report:#}");
    ensure!(names(&mut at_target)? == before, "check has created topics: {:?}", names(&mut at_target)?);

    for (end, release, tls) in [("source", releases.0, tls.0), ("target", releases.1, tls.1)] {
        let found = &report[end];
        let brokers = array(found, "/brokers")?;
        ensure!(brokers.len() == 1 && brokers[0]["kafka"] == release, "{end}: {brokers:?}, not {release}");
        ensure!(found["cluster_id"].as_str().is_some_and(|it| it.len() == 22), "{end}: {found:#}");
        let security = &found["security"];
        if tls {
            ensure!(security["kind"] == "mutual_tls" && security["version"] == "TLSv1_3", "{end}: {security:#}");
            let (ours, theirs) = (&security["client_certificate"], &security["broker_certificate"]);
            ensure!(ours["subject"] == "CN=client" && ours["not_after"] == "2090-01-01", "{end}: {security:#}");
            ensure!(theirs["subject"] == "CN=server", "{end}: {security:#}");
            ensure!(found["principal"] == "User:CN=client", "{end}: {found:#}");
        } else {
            ensure!(security["kind"] == "plaintext" && found["principal"] == "User:ANONYMOUS", "{end}: {found:#}");
        }
    }
    ensure!(report["transaction_protocol"]["version"] == protocol, "{:#}", report["transaction_protocol"]);
    ensure!(array(&report, "/missing_rights")?.is_empty(), "{report:#}");
    planned(&report)?;
    ensure!(has_note(&report, "accepted", "target_min_insync_replicas", "orders-dmz.ledger"), "{report:#}");
    ensure!(report["verdict"]["would_run"] == true, "{:#}", report["verdict"]);

    let mut bridge = pair.run(&config, "running")?;
    pair.until_equal(&["payments".to_owned()], LIMIT).with_context(|| bridge.log())?;
    // Beside a running link: it is not fenced, and its positions are seen.
    let report = until(&file, |code, report| code == 0 && report["positions"]["known"] == 5)?;
    let position = partition(&report, "payments", 1)?;
    ensure!(position["next_offset"] == 5 && position["lag"] == 0, "{position:#}");
    let owner = &report["positions"]["owner"];
    ensure!(owner["pid"] == bridge.process().id(), "{owner:#}");
    ensure!(report["plan"]["topics"][0]["action"] == "none", "{report:#}");
    write(&mut at_source, "payments", 1, 3)?;
    pair.until_equal(&["payments".to_owned()], LIMIT).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "check has disturbed the bridge:\n{}", bridge.log());
    ensure!(!bridge.log().contains("fenced") && !bridge.log().contains("aborted, its"), "{}", bridge.log());

    write(&mut at_source, "payments", 1, 4)?;
    let report = until(&file, |_, report| report["positions"]["lag"] == 4)?;
    ensure!(partition(&report, "payments", 1)?["next_offset"] == 8, "{report:#}");
    let text = Finished::run(pair.folder(), &["check", "--config", &file.to_string_lossy()], LIMIT)?;
    ensure!(text.code == 0 && text.stderr.is_empty(), "{text:?}");
    for line in [
        "payments-1  next 8  end 12  lag 4",
        "5 of 5 partitions have one, 4 records to be copied",
        "\"later.*\" of [[topics]]",
    ] {
        ensure!(text.stdout.contains(line), "{line:?} is missing in:\n{}", text.stdout);
    }
    ensure!(
        text.stdout.lines().last() == Some("verdict    run would copy 2 topics of 5 partitions"),
        "{}",
        text.stdout
    );
    println!("{}", text.stdout);

    config.delivery += "transaction_protocol = \"v1\"\n";
    let (_, report) = Finished::check(&config.write(pair.folder(), "v1")?, LIMIT)?;
    let found = &report["transaction_protocol"];
    ensure!(found["version"] == 1 && found["reason"].as_str().is_some_and(|it| it.contains("says so")), "{found:#}");
    recreated(&pair, &config.write(pair.folder(), "recreated")?)
}

/// Positions that a run could not go on from.
fn recreated(pair: &Pair, config: &std::path::Path) -> Result<()> {
    let mut at_source = pair.source.client();
    at_source.delete_records("payments", 1, 10)?;
    let report = until(config, |_, report| has_note(report, "stopped", "retention", "payments-1"))?;
    ensure!(report["verdict"]["exit_code"] == 1, "{:#}", report["verdict"]);
    at_source.delete_topic("orders")?;
    until(config, |code, report| code == 1 && report["plan"]["topics"].as_array().is_some_and(|it| it.len() == 1))?;
    at_source.create_topic("orders", 3, 1, &[("cleanup.policy", "compact")])?;
    until(config, |code, report| code == 1 && has_note(report, "stopped", "recreated", "orders-0"))?;
    Ok(())
}

/// What a newcomer without Java sees.
fn before_and_behind_a_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = || EmbeddedCluster::start(Settings::nodes(1));
    let (source, target) = (cluster()?, cluster()?);
    let (mut at_source, mut at_target) = (source.client(), target.client());
    at_source.create_topic("orders", 2, 1, &[])?;
    write(&mut at_source, "orders", 0, 5)?;
    let mut config = Config::new("orders-dmz", source.end(), target.end(), &["orders"]);
    let file = config.write(folder.path(), "strict")?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(code == 78 && has_note(&report, "refused", "target_min_insync_replicas", "orders"), "{report:#}");
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    let file = config.write(folder.path(), "bridge")?;
    let before = names(&mut at_target)?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(code == 0 && report["plan"]["topics"][0]["action"] == "create", "{report:#}");
    ensure!(report["positions"]["known"] == 0 && report["positions"]["lag"] == 5, "{report:#}");
    ensure!(names(&mut at_target)? == before, "check has created topics");
    let mut bridge = Bridge::run(&config.write(folder.path(), "running")?)?;
    until(&file, |code, report| code == 0 && report["positions"]["known"] == 2 && report["positions"]["lag"] == 0)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "check has disturbed the bridge:\n{}", bridge.log());
    let found = at_target.read("orders", 0, Isolation::ReadCommitted)?.len();
    ensure!(found == 5, "{found} records were copied");
    Ok(())
}

fn planned(report: &Value) -> Result<()> {
    let topics = array(report, "/plan/topics")?;
    let [orders, payments] = &topics[..] else { anyhow::bail!("{topics:#?}") };
    ensure!(orders["source"] == "orders" && orders["pattern"] == "orde*" && orders["rule"] == 1, "{orders:#}");
    ensure!(
        orders["action"] == "create" && orders["partitions"] == 3 && orders["replication_factor"] == 1,
        "{orders:#}"
    );
    ensure!(orders["configs"]["cleanup.policy"] == "compact", "{orders:#}");
    ensure!(payments["action"] == "grow" && payments["target_partitions"] == 1, "{payments:#}");
    let expected = json!([{ "pattern": "later.*", "rule": 1 }]);
    ensure!(report["plan"]["unmatched_patterns"] == expected, "{:#}", report["plan"]["unmatched_patterns"]);
    let ledger = &report["plan"]["ledger"];
    ensure!(
        ledger["topic"] == "orders-dmz.ledger" && ledger["action"] == "create" && ledger["lanes"] == 1,
        "{ledger:#}"
    );
    ensure!(report["positions"]["known"] == 0 && report["positions"]["lag"] == 5, "{:#}", report["positions"]);
    Ok(())
}

fn partition<'a>(report: &'a Value, topic: &str, number: i32) -> Result<&'a Value> {
    let all = array(report, "/positions/partitions")?;
    all.iter().find(|it| it["topic"] == topic && it["partition"] == number).context("no such partition")
}

/// Kafka's own too.
fn names(client: &mut protocol_tests::raw::RawClient) -> Result<BTreeSet<String>> {
    let metadata = client.metadata(None)?;
    Ok(metadata.topics.iter().filter_map(|it| it.name.as_ref()).map(|it| it.0.to_string()).collect())
}
