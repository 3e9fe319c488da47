//! Ctrl-C: what was read is still written.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::raw::Isolation;
use serde_json::Value;

use super::{LIMIT, PARTITIONS, Stage, TOPIC, clean, schema};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("events", "ctrl_c_writes_what_was_read", stopped)]
}

fn stopped() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let more = ["--topic", TOPIC, "--schema", &order, "--generate", "--rate", "300", "--transactional", "--json"];
    let mut producer = Bridge::command("produce", &stage.file, &more)?;
    let (mut client, begin) = (stage.source.client(), Instant::now());
    let mut written = || -> Result<usize> {
        (0..PARTITIONS).map(|it| Ok(client.read(TOPIC, it, Isolation::ReadCommitted)?.len())).sum()
    };
    while written()? < 100 {
        ensure!(begin.elapsed() < LIMIT, "{}", producer.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    producer.process().signal("INT")?;
    ensure!(producer.wait(LIMIT)? == 0, "{}", producer.log());
    let log = producer.log();
    let report: Value = serde_json::from_str(log.get(log.find('{').unwrap_or(0)..).unwrap_or_default())?;
    let events = report["events"].as_u64().unwrap_or(0);
    ensure!(report["is_stopped"] == true && written()? as u64 == events, "{report:#}");
    clean(&stage.consume(&[])?, events)
}
