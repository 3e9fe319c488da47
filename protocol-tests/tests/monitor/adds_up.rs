//! Read = written + dead-lettered, by partition: also where a bridge loses records, and then it does not.

use std::path::Path;

use anyhow::{Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config, End};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewRecord, RawClient};
use serde_json::Value;

use super::{Console, LIMIT, Metrics, groups};
use crate::{real, trial};

const PARTITIONS: i32 = 3;
/// Of each partition; every tenth does not pass.
const RECORDS: i64 = 300;
const TOPIC: &str = "numbers";
const SCHEMA: &str = r#"{"type": "record", "name": "Number", "fields": [{"name": "n", "type": "int"}]}"#;

pub(super) fn trials() -> Vec<Trial> {
    let embedded = |bug: Option<&'static str>| {
        let (source, target) =
            (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
        let folder = tempfile::tempdir()?;
        adds_up((source.client(), source.end()), (target.client(), target.end()), folder.path(), bug)
    };
    vec![
        trial("monitor", "what_is_read_is_written_or_dead_lettered", move || embedded(None)),
        trial("monitor", "a_bridge_that_loses_records_does_not_add_up", move || embedded(Some("letter_dropped"))),
        real("monitor", "kafka_3_9_2_to_4_4_0_what_is_read_is_written_or_dead_lettered", &["3.9.2", "4.4.0"], || {
            let pair = Pair::start(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0").with_tls())?;
            let [source, target] = [&pair.source, &pair.target].map(|it| (it.client(), End::of(it)));
            adds_up(source, target, pair.folder(), None)
        }),
    ]
}

fn adds_up(
    (mut client, source): (RawClient, End),
    (mut at_target, target): (RawClient, End),
    folder: &Path,
    bug: Option<&'static str>,
) -> Result<()> {
    client.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    for partition in 0..PARTITIONS {
        for first in (0..RECORDS).step_by(50) {
            let record = |number: i64| NewRecord {
                timestamp: 1_750_000_000_000,
                // A datum of one byte, and one that is cut off.
                value: Some(if number % 10 == 0 { vec![0x80] } else { vec![2] }),
                ..NewRecord::default()
            };
            client.write(TOPIC, partition, Codec::Lz4, (first..first + 50).map(record).collect())?;
        }
    }
    std::fs::write(folder.join("number.avsc"), SCHEMA)?;
    let console = Console::new()?;
    let mut config = Config::new("numbers", source, target, &[TOPIC]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    config.topics_extra = "value_schema = \"number.avsc\"\nframing = \"raw\"\n".to_owned();
    config.tables = console.table() + "records = true\n";
    let file = config.write(folder, "bridge")?;
    let mut bridge = match bug {
        Some(bug) => Bridge::run_with_bug(bug, &file)?,
        None => Bridge::run(&file)?,
    };
    let wanted = (RECORDS * i64::from(PARTITIONS)) as f64;
    let metrics = console.until("all is read", |it| it.sum("records_read_total", "") >= wanted)?;
    let unfit = wanted / 10.0;
    let count = |it: &Metrics, name: &str, of: &str| it.sum(&format!("records_{name}_total"), of);
    for partition in 0..PARTITIONS {
        let of = format!("partition=\"{partition}\"");
        let (read, written) = (count(&metrics, "read", &of), count(&metrics, "written", &of));
        let dead = count(&metrics, "dead_lettered", &of);
        let lost = read - written - dead;
        ensure!((read, written) == (RECORDS as f64, (RECORDS - RECORDS / 10) as f64), "{of}: {}", metrics.0);
        ensure!((lost != 0.0) == bug.is_some(), "{of}: {lost} records do not add up, bug {bug:?}");
    }
    if bug.is_some() {
        return Ok(());
    }
    ensure!(metrics.sum("dead_letters_total", "reason=\"truncated\"") == unfit, "{}", metrics.0);
    let (committed, aborted) = (
        metrics.sum("transactions_total", "outcome=\"committed\""),
        metrics.sum("transactions_total", "outcome=\"aborted\""),
    );
    let told = metrics.sum("commit_latency_seconds_count", "");
    ensure!(committed > 0.0 && aborted == 0.0 && told == committed, "{}", metrics.0);
    let share = metrics.sum("batches_reencoded_total", "reason=\"dead_letter\"");
    ensure!(share > 0.0 && share <= metrics.sum("batches_total", ""), "{}", metrics.0);
    console.until("nothing is left", |it| it.max("lag_records", "") == Some(0.0))?;
    let at_rest = console.until("the memory is given back", |it| {
        it.sum("memory_used_bytes", "") < it.sum("memory_budget_bytes", "") / 2.0
    })?;
    ensure!(at_rest.max("lag_seconds", "") == Some(0.0), "{}", at_rest.0);
    ensure!(at_rest.max("retention_headroom_seconds", "") == Some(f64::INFINITY), "{}", at_rest.0);
    // Mutual TLS at the target.
    for whose in ["bridge", "broker"] {
        let label = format!("end=\"target\",whose=\"{whose}\"");
        console.until("certificates are told of", |it| it.sum("certificate_days_left", &label) > 0.0)?;
    }
    console.until_status("/readyz", 200)?;
    let (status, link) = console.get("/api/link")?;
    let link: Value = serde_json::from_str(&link)?;
    ensure!(status == 200 && link["totals"]["read"] == wanted, "{link:#}");
    ensure!(link["totals"]["written"] == wanted - unfit && link["totals"]["dead_lettered"] == unfit, "{link:#}");
    each_is_found(&console)?;
    groups::are_seen(&console, &mut client, &mut at_target, TOPIC, 1)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    // The ledger's sums are those of the link's whole life: another process begins with them, and with counters of its own.
    let mut again = Bridge::run(&file)?;
    console.until_status("/readyz", 200)?;
    let (_, link) = console.get("/api/link")?;
    let link: Value = serde_json::from_str(&link)?;
    let sum =
        |key: &str| link["partitions"].as_array().into_iter().flatten().filter_map(|it| it[key].as_f64()).sum::<f64>();
    ensure!((sum("records"), sum("dead_letters"), sum("read")) == (wanted - unfit, unfit, 0.0), "{link:#}");
    ensure!(again.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", again.log());
    Ok(())
}

/// What the console says of both clusters, and of where records went.
fn each_is_found(console: &Console) -> Result<()> {
    let ask = |path: &str| -> Result<Value> {
        let (status, told) = console.get(path)?;
        ensure!(status == 200, "{path}: {status} {told}");
        Ok(serde_json::from_str(&told)?)
    };
    let clusters = ask("/api/clusters")?;
    for end in ["source", "target"] {
        let brokers = clusters[end]["brokers"].as_array().map_or(&[][..], Vec::as_slice);
        let is_known = |it: &Value| it["error"].is_null() && it["kafka"].is_string();
        ensure!(!brokers.is_empty() && brokers.iter().all(is_known), "{end}: {clusters:#}");
    }
    let topic = &clusters["topics"][0];
    ensure!(topic["source_topic"] == TOPIC && topic["note"].is_null(), "{clusters:#}");
    ensure!(clusters["group"]["error"].is_null(), "{clusters:#}");
    let mut last = -1;
    for offset in 0..25 {
        let told = ask(&format!("/api/destination?topic={TOPIC}&partition=1&offset={offset}"))?;
        let found = &told["destination"];
        if offset % 10 == 0 {
            ensure!(found["outcome"] == "dead_letter", "{told}");
            continue;
        }
        // Compared with the record of the source; each behind the one before.
        let at = found["target_offset"].as_i64().unwrap_or(-1);
        ensure!(found["outcome"] == "copied" && at > last, "{told}");
        last = at;
    }
    let records = ask(&format!("/api/records?end=source&topic={TOPIC}&partition=1&offset=9&count=2"))?;
    let shown = [&records["records"][0]["value"], &records["records"][1]["value"]];
    ensure!(shown[0]["form"] == "avro" && shown[0]["text"].to_string().contains("\\\"n\\\": 1"), "{records:#}");
    ensure!(shown[1]["form"] == "hex" && shown[1]["fault"].is_string(), "{records:#}");
    Ok(())
}
