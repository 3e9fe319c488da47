//! What is written is read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::raw::Isolation;
use serde_json::{Value, json};

use super::{LIMIT, PARTITIONS, Stage, TOPIC, clean, schema};
use crate::trial;

const PRODUCE: i16 = 0;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("events", "a_thousand_events_are_written_and_proved", thousand),
        trial("events", "aborted_transactions_are_invisible", aborted),
        trial("events", "references_are_registered_first", references),
        trial("events", "what_carries_no_id_leaves_a_registry_alone", without_ids),
        trial("events", "lines_come_back_as_they_were", lines),
        trial("events", "lost_answers_double_nothing", lost_answers),
        trial("events", "what_comes_is_followed", followed),
        trial("events", "following_asks_for_offsets_alone", idle),
    ]
}

fn visible(stage: &Stage, isolation: Isolation) -> Result<usize> {
    let mut client = stage.source.client();
    (0..PARTITIONS).map(|it| Ok(client.read(TOPIC, it, isolation)?.len())).sum()
}

fn thousand() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let mut total = 0;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let more = ["--schema", &order, "--generate", "--count", "1000", "--codec", codec, "--key", "id"];
        let (code, report) = stage.produce(&more, "")?;
        ensure!(code == 0 && report["events"] == 1_000 && report["schema_id"] == 1, "exit code {code}: {report:#}");
        ensure!(report["partitions"].as_array().is_some_and(|it| it.len() == PARTITIONS as usize), "{report:#}");
        total += 1_000;
        clean(&stage.consume(&["--expect", &total.to_string()])?, total)?;
    }
    // The harness' own reader.
    ensure!(visible(&stage, Isolation::ReadCommitted)? as u64 == total, "{total} were proved");
    let first = stage.source.client().read(TOPIC, 0, Isolation::ReadCommitted)?.remove(0);
    ensure!(first.value.is_some_and(|it| it.starts_with(&[0, 0, 0, 0, 1])), "no framing of Confluent's");
    ensure!(first.headers.iter().any(|it| it.0 == b"sequence" && it.1.as_deref() == Some(b"0")), "{:?}", first.headers);
    ensure!(stage.registry.server().requests("/subjects/orders-value/versions") == 5, "not registered there");
    let (code, report) = stage.consume(&["--expect", "5001"])?;
    ensure!(code == 1 && report["is_clean"] == false, "exit code {code}: {report:#}");
    Ok(())
}

fn aborted() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let more = [
        "--schema",
        &order,
        "--generate",
        "--count",
        "3000",
        "--transactional",
        "--abort-ratio",
        "0.5",
        "--rate",
        "4000",
    ];
    let (code, report) = stage.produce(&more, "")?;
    ensure!(code == 0 && report["aborted"].as_u64().is_some_and(|it| it > 0), "exit code {code}: {report:#}");
    clean(&stage.consume(&[])?, 3_000)?;
    let (committed, all) = (visible(&stage, Isolation::ReadCommitted)?, visible(&stage, Isolation::ReadUncommitted)?);
    ensure!(committed == 3_000 && all > committed, "{committed} of {all} are committed");
    stage.source.client().no_transaction_hangs(&[TOPIC.to_owned()])
}

fn references() -> Result<()> {
    let stage = Stage::new()?;
    let (shipment, address) = (schema("shipment.avsc"), schema("address.avsc"));
    let more = ["--schema", &shipment, "--reference", &address, "--generate", "--count", "200"];
    let (code, report) = stage.produce(&more, "")?;
    ensure!(code == 0 && report["schema_id"] == 2, "exit code {code}: {report:#}");
    // From the registry alone.
    clean(&stage.consume(&[])?, 200)?;
    ensure!(stage.registry.server().requests("/subjects/com.example.shop.Address/versions/1") == 1, "not referred to");
    let more =
        ["--schema", &shipment, "--reference", &address, "--generate", "--count", "200", "--framing", "single-object"];
    let stage = Stage::without_registry()?;
    ensure!(stage.produce(&more, "")?.0 == 0, "single-object encoding");
    let file = ["--schema", &shipment, "--reference", &address, "--framing", "single-object"];
    clean(&stage.consume(&file)?, 200)?;
    let (code, report) = stage.consume(&["--schema", &schema("order.avsc"), "--framing", "single-object"])?;
    ensure!(code == 1 && report["invalid"]["unknown_schema"] == 200, "exit code {code}: {report:#}");
    Ok(())
}

fn without_ids() -> Result<()> {
    let stage = Stage::new()?;
    let (shipment, address) = (schema("shipment.avsc"), schema("address.avsc"));
    for framing in ["single-object", "raw"] {
        let more = ["--schema", &shipment, "--reference", &address, "--generate", "--count", "9", "--framing", framing];
        let (code, report) = stage.produce(&more, "")?;
        ensure!(code == 0 && report["framing"] == framing && report["events"] == 9, "exit code {code}: {report:#}");
        ensure!(report["schema_id"].is_null(), "{report:#}");
    }
    ensure!(stage.registry.server().requests("") == 0, "the registry was asked");
    Ok(())
}

fn lines() -> Result<()> {
    let stage = Stage::without_registry()?;
    let address = |number: u32| json!({ "name": format!("Ana {number}"), "street": "Rua \"Nova\"", "city": "Évora", "postal_code": null, "country": "PT" });
    let written: Vec<Value> = (0..50).map(address).collect();
    let input: String = written.iter().map(|it| format!("{it}\n\n")).collect();
    let address = schema("address.avsc");
    let (code, report) = stage.produce(&["--schema", &address, "--key", "name"], &input)?;
    ensure!(code == 0 && report["events"] == 50 && report["framing"] == "raw", "exit code {code}: {report:#}");
    let done = stage.run("consume", &["--schema", &address], "")?;
    ensure!(done.code == 0, "{done:?}");
    let read: Vec<Value> = done.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for event in &read {
        ensure!(event["key"] == event["value"]["name"] && event["headers"]["sequence"].is_string(), "{event}");
    }
    let mut values: Vec<_> = read.iter().map(|it| it["value"].to_string()).collect();
    let mut expected: Vec<_> = written.iter().map(ToString::to_string).collect();
    values.sort();
    expected.sort();
    ensure!(values == expected, "{values:#?}");
    let done = stage.run("consume", &["--schema", &address, "--format", "table", "--count", "7"], "")?;
    ensure!(done.code == 0 && done.stdout.lines().count() == 7 && done.stdout.contains("Rua"), "{done:?}");
    Ok(())
}

fn lost_answers() -> Result<()> {
    let stage = Stage::new()?;
    let rule = Rule::new(PRODUCE, Fault::LoseAnswer(Loss::Close)).client_id("kafka-bridge").skip(2).times(3);
    let rule = stage.source.with(|cluster, _| cluster.add_rule(rule));
    let order = schema("order.avsc");
    let (code, report) = stage.produce(&["--schema", &order, "--generate", "--count", "5000"], "")?;
    ensure!(code == 0, "exit code {code}: {report:#}");
    ensure!(stage.source.with(|cluster, _| cluster.struck(rule)) == 3, "the fault did not happen");
    clean(&stage.consume(&[])?, 5_000)
}

fn followed() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    stage.produce(&["--schema", &order, "--generate", "--count", "10"], "")?;
    let more = ["--topic", TOPIC, "--end", "source", "--follow", "--count", "210", "--quiet", "--json"];
    let mut consumer = Bridge::command("consume", &stage.file, &more)?;
    stage.produce(&["--schema", &order, "--generate", "--count", "200", "--rate", "400"], "")?;
    ensure!(consumer.wait(LIMIT)? == 0, "{}", consumer.log());
    ensure!(consumer.log().contains("\"events\": 210"), "{}", consumer.log());
    // What was there before is left out, and what begins in the middle has lost nothing.
    let more =
        ["--topic", TOPIC, "--end", "source", "--from", "latest", "--follow", "--count", "5", "--quiet", "--json"];
    let mut consumer = Bridge::command("consume", &stage.file, &more)?;
    std::thread::sleep(Duration::from_secs(1));
    stage.produce(&["--schema", &order, "--generate", "--count", "5"], "")?;
    ensure!(consumer.wait(LIMIT)? == 0, "{}", consumer.log());
    let (code, report) = stage.consume(&["--from", "20"])?;
    let read = report["events"].as_u64().context("no count")?;
    ensure!(code == 0 && read < 215 && read > 0, "exit code {code}: {report:#}");
    Ok(())
}

fn idle() -> Result<()> {
    let stage = Stage::without_registry()?;
    let order = schema("order.avsc");
    stage.produce(&["--schema", &order, "--generate", "--count", "10"], "")?;
    // No fault: it counts.
    let count = |api| Rule::new(api, Fault::DelayAnswer(1)).client_id("kafka-bridge").times(10_000);
    let (offsets, metadata) =
        stage.source.with(|cluster, _| (cluster.add_rule(count(LIST_OFFSETS)), cluster.add_rule(count(METADATA))));
    let asked = || stage.source.with(|cluster, _| (cluster.struck(offsets), cluster.struck(metadata)));
    let more = ["--topic", TOPIC, "--end", "source", "--schema", &order, "--follow", "--count", "20", "--quiet"];
    let mut consumer = Bridge::command("consume", &stage.file, &more)?;
    let begin = Instant::now();
    while asked().0 < 60 {
        ensure!(begin.elapsed() < LIMIT, "it asked {:?} times: {}", asked(), consumer.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let (offsets, metadata) = asked();
    ensure!(metadata * 2 < offsets, "it asked for metadata {metadata} times, for offsets {offsets} times");
    stage.produce(&["--schema", &order, "--generate", "--count", "10"], "")?;
    ensure!(consumer.wait(LIMIT)? == 0, "{}", consumer.log());
    Ok(())
}
