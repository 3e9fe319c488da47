//! Topics that appear, grow, are renamed or left out.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::compare::{self, Timestamps};
use protocol_tests::kafka::Spec;
use protocol_tests::ledger::Ledger;
use protocol_tests::pair::{Pair, until_none};
use protocol_tests::raw::{Isolation, RawClient};

use super::{write, write_at};
use crate::real;

const LIMIT: Duration = Duration::from_secs(120);
/// What is promised.
const APPEARS_WITHIN: Duration = Duration::from_secs(5);
/// So many, because one may meet a busy machine.
const APPEARANCES: usize = 4;
/// 2023-11-14T22:13:20Z
const START_MS: i64 = 1_700_000_000_000;
const POLL: Duration = Duration::from_millis(20);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("topics", "kafka_3_9_2_zookeeper_to_4_4_0_follows_them", &["3.9.2", "4.4.0"], || {
            follows(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0"))
        }),
        real("topics", "kafka_4_4_0_to_4_4_0_with_three_nodes_renames_them", &["4.4.0"], || {
            renames(Spec::kraft("4.4.0"), Spec::kraft("4.4.0").nodes(3))
        }),
    ]
}

/// The records from `from` on, compared with the copy under its name.
fn copied(
    source: (&mut RawClient, &str, i32),
    target: (&mut RawClient, &str),
    from: i64,
) -> Result<Vec<compare::Difference>> {
    let mut ours = source.0.read(source.1, source.2, Isolation::ReadCommitted)?;
    ours.retain(|record| record.offset >= from);
    let theirs = target.0.read(target.1, source.2, Isolation::ReadCommitted)?;
    Ok(compare::partition(source.1, source.2, &ours, &theirs, Timestamps::Equal))
}

fn until_copied(pair: &Pair, bridge: &Bridge, topic: &str, copy: &str, partition: i32, from: i64) -> Result<()> {
    let (mut source, mut target) = (pair.source.client(), pair.target.client());
    until_none(LIMIT, || copied((&mut source, topic, partition), (&mut target, copy), from))
        .map_err(|error| error.context(format!("{topic}-{partition} from {from}")).context(bridge.log()))
}

/// `start = "latest"` everywhere: whatever is new must come from its first record all the same.
fn latest(pair: &Pair, link: &str, include: &[&str]) -> Config {
    let mut config = pair.config(link, include);
    config.topics_extra = "start = \"latest\"".to_owned();
    config
}

fn follows(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    at_source.create_topic("grows", 1, 1, &[])?;
    write(&mut at_source, "grows", 0, 0, 10)?;
    let config = latest(&pair, "followed", &["*"]);
    let mut bridge = pair.run(&config, "bridge")?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    until_recorded(&mut at_target, "followed", "grows", 1)?;
    write(&mut at_source, "grows", 0, 10, 5)?;
    until_copied(&pair, &bridge, "grows", "grows", 0, 10)?;

    let mut took = vec![];
    for number in 0..APPEARANCES {
        let topic = format!("appears-{number}");
        at_source.create_topic(&topic, 2, 1, &[])?;
        let start = Instant::now();
        write(&mut at_source, &topic, 1, 0, 10)?;
        loop {
            // Quietly: until it is made, the topic is unknown.
            let is_there = at_target.topic_id(&topic)?.is_some();
            if is_there && at_target.offsets(&topic, 1)?.last_stable > 0 {
                break;
            }
            ensure!(start.elapsed() < LIMIT, "{topic} was not picked up:\n{}", bridge.log());
            std::thread::sleep(POLL);
        }
        took.push(start.elapsed());
        until_copied(&pair, &bridge, &topic, &topic, 1, 0)?;
    }
    println!("new topics were copied after {took:.1?}");
    // One may meet a busy machine; an interval that is too long would delay all of them.
    took.sort();
    ensure!(took[0] <= APPEARS_WITHIN, "no new topic was copied within {APPEARS_WITHIN:?}: {took:?}");

    at_source.grow_topic("grows", 3)?;
    for partition in 1..3 {
        write(&mut at_source, "grows", partition, 0, 10)?;
    }
    for partition in 1..3 {
        until_copied(&pair, &bridge, "grows", "grows", partition, 0)?;
    }
    ensure!(at_target.partition_count("grows")? == 3, "the target's topic has not grown with the source's");
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());

    // Grown while nobody looked.
    at_source.grow_topic("grows", 5)?;
    write(&mut at_source, "grows", 4, 0, 10)?;
    let mut bridge = pair.run(&config, "again")?;
    until_copied(&pair, &bridge, "grows", "grows", 4, 0)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}

/// Waits until the ledger has a position of each of the topic's partitions: from there on nothing is passed over.
fn until_recorded(client: &mut RawClient, link: &str, topic: &str, partitions: usize) -> Result<()> {
    let start = Instant::now();
    while Ledger::read(client, link)?.positions.keys().filter(|place| place.0 == topic).count() < partitions {
        ensure!(start.elapsed() < LIMIT, "the ledger of {link} does not know {topic}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn renames(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    let topics = ["orders.eu", "orders.eu.internal", "payments", "payouts", "repayments", "timed", "other"];
    for topic in topics {
        at_source.create_topic(topic, 1, 1, &[("retention.ms", "-1")])?;
        write_at(&mut at_source, topic, 0, 0..10, START_MS)?;
    }
    let mut config = latest(&pair, "renamed", &["orders.*"]);
    config.topics_extra += "\nexclude = [\"*.internal\"]\nrename = \"dmz.{topic}\"";
    // The time of record 5.
    config.tables = "\n[[topics]]\ninclude = [\"regex:pay(ments|outs)\"]\nrename = { payments = \"money\" }\n\
                     \n[[topics]]\ninclude = [\"timed\", \"never-*\"]\nstart = \"2023-11-14T22:13:25Z\"\n"
        .to_owned();
    config.target.extra = "replication_factor = 2".to_owned();
    let mut bridge = pair.run(&config, "bridge")?;
    until_copied(&pair, &bridge, "payments", "money", 0, 0)?;
    until_copied(&pair, &bridge, "payouts", "payouts", 0, 0)?;
    until_copied(&pair, &bridge, "timed", "timed", 0, 5)?;
    until_recorded(&mut at_target, "renamed", "orders.eu", 1)?;
    write(&mut at_source, "orders.eu", 0, 10, 10)?;
    until_copied(&pair, &bridge, "orders.eu", "dmz.orders.eu", 0, 10)?;
    at_source.create_topic("orders.us", 1, 1, &[])?;
    write(&mut at_source, "orders.us", 0, 0, 10)?;
    until_copied(&pair, &bridge, "orders.us", "dmz.orders.us", 0, 0)?;
    at_source.create_topic("orders.us.internal", 1, 1, &[])?;
    write(&mut at_source, "orders.us.internal", 0, 0, 10)?;
    std::thread::sleep(APPEARS_WITHIN);

    let mut found = at_target.topic_names()?;
    found.sort();
    let expected = ["dmz.orders.eu", "dmz.orders.us", "money", "payouts", "renamed.ledger", "timed"];
    ensure!(found == expected, "at the target there are {found:?}");
    for topic in expected {
        let replicas = at_target.replica_count(topic)?;
        ensure!(replicas == 2, "{topic} has {replicas} replicas");
    }
    ensure!(bridge.log().contains("never-*"), "a pattern without a topic is told");
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());

    // Without a word in the config the target's own default decides.
    let config = pair.config("default-factor", &["other"]);
    let mut bridge = pair.run(&config, "default-factor")?;
    until_copied(&pair, &bridge, "other", "other", 0, 0)?;
    ensure!(at_target.replica_count("other")? == 3, "the target's default is three replicas");
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}
