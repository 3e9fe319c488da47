//! A coordinator of Kafka 4.x completes a transaction without the marker of a partition that has no leader at that moment.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::Spec;
use protocol_tests::ledger;
use protocol_tests::pair::Pair;
use protocol_tests::proxy::Action;
use protocol_tests::raw::{Codec, Isolation, NewRecord};

use super::single::END_TXN;
use super::stage::{LIMIT, target};
use crate::real;

const NODES: usize = 3;
/// More than the outage: the verdict that is held is the only one.
const TIMEOUTS: &str = "lanes = 1\nrequest_timeout_ms = 40000\ntransaction_timeout_ms = 100000\n";
/// As long as the control looks on: a marker that was late would have come.
const LOOKED_ON: Duration = Duration::from_secs(6);
const RECORDS: usize = 10;

pub(super) fn trials() -> Vec<Registered> {
    vec![real("faults", "kafka_4_4_0_markers_left_out", &["4.4.0"], || {
        // So that a killed node has no partitions any more after seconds.
        let spec = target(Spec::kraft("4.4.0").nodes(NODES))
            .property("broker.session.timeout.ms", "2000")
            .property("broker.heartbeat.interval.ms", "500");
        let mut pair = Pair::start_behind_proxies(Spec::kraft("4.4.0"), spec)?;
        left_out(&mut pair, "mended", None)?;
        left_out(&mut pair, "trusted", Some("markers_trusted"))
    })]
}

/// Its verdict is held, the only node of the copy dies, and the coordinator is let go on without it.
fn left_out(pair: &mut Pair, link: &str, bug: Option<&str>) -> Result<()> {
    let (topic, node) = alone(pair, link)?;
    let mut config = pair.config(link, &[&topic]);
    config.delivery += TIMEOUTS;
    let file = config.write(pair.folder(), link)?;
    let mut bridge = match bug {
        None => Bridge::run(&file)?,
        Some(bug) => Bridge::run_with_bug(bug, &file)?,
    };
    write(pair, &topic, 0)?;
    pair.until_equal(std::slice::from_ref(&topic), LIMIT)?;

    let coordinator = coordinator(pair, link)?;
    let proxy = &pair.target_proxies[coordinator];
    let end_txn = proxy.take_request_with(END_TXN, link, 1, Action::Hold)?;
    write(pair, &topic, 1)?;
    proxy.wait_held(end_txn, LIMIT)?;
    pair.target.kill(node);
    let judge = i32::try_from(coordinator)?;
    until(|| Ok(pair.target.client().leader_by(judge, &topic, 0).is_ok_and(|leader| leader < 0)))?;
    pair.target_proxies[coordinator].release(end_txn)?;
    let told = "likely deleted already and hence can be skipped";
    until(|| Ok(pair.target.log(coordinator).lines().any(|line| line.contains(told) && line.contains(&topic))))
        .context("the coordinator has not left the marker out")?;
    pair.target.restart(node)?;

    let visible = || Ok::<_, anyhow::Error>(pair.target.client().read(&topic, 0, Isolation::ReadCommitted)?.len());
    if bug.is_some() {
        // The control: nobody but the bridge brings the marker.
        until(|| Ok(visible().is_ok()))?;
        thread::sleep(LOOKED_ON);
        let found = visible()?;
        ensure!(found == RECORDS, "{found} records are visible: the marker was not left out");
        return Ok(());
    }
    pair.until_equal(std::slice::from_ref(&topic), LIMIT).with_context(|| bridge.log())?;
    bridge.process().wait_for_log("the target had left out the markers", LIMIT)?;
    write(pair, &topic, 2)?;
    pair.audit(link, std::slice::from_ref(&topic), LIMIT)?;
    let code = bridge.terminate(LIMIT)?;
    ensure!(code == 0, "the bridge ended with {code}:\n{}", bridge.log());
    let topics = [topic, ledger::topic(link)];
    pair.target.client().no_transaction_hangs(&topics)
}

fn coordinator(pair: &Pair, link: &str) -> Result<usize> {
    Ok(usize::try_from(pair.target.client().transaction_coordinator(&format!("{link}.0"))?)?)
}

/// A topic whose copy lies on one node alone, which does not coordinate.
fn alone(pair: &Pair, link: &str) -> Result<(String, usize)> {
    let coordinator = coordinator(pair, link)?;
    for number in 0..20 {
        let topic = format!("a-{link}-{number}");
        let mut client = pair.target.client();
        client.create_topic(&topic, 1, 1, &[("retention.ms", "-1")])?;
        let node = usize::try_from(client.leader_of(&topic, 0)?)?;
        if node != coordinator {
            pair.source.client().create_topic(&topic, 1, 1, &[("retention.ms", "-1")])?;
            return Ok((topic, node));
        }
        client.delete_topic(&topic)?;
    }
    anyhow::bail!("every topic is made on the coordinator's node")
}

fn write(pair: &Pair, topic: &str, part: usize) -> Result<()> {
    let record = |number| NewRecord {
        timestamp: 1_750_000_000_000,
        value: Some(format!("id={number}\n").into_bytes()),
        ..NewRecord::default()
    };
    let records = (part * RECORDS..(part + 1) * RECORDS).map(record).collect();
    pair.source.client().write(topic, 0, Codec::Lz4, records).map(|_| ())
}

fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < LIMIT, "it does not come to that within {LIMIT:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
