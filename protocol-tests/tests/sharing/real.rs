//! On real Kafka: a third bridge joins, one is killed, one is frozen and wakes up, and Kafka's own tool reads the group.

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::java::Tools;
use protocol_tests::kafka::Spec;
use protocol_tests::load::{Load, create_topics};
use protocol_tests::pair::Pair;

use super::stage::{FROZEN, LANES, LIMIT, SEED, delivery, gave_way, until_shared};
use crate::real;

const LINK: &str = "shared";
const LEDGER: &str = "shared.ledger";
const RECORDS: usize = 200;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("sharing", "kafka_4_4_0_three_bridges", &["4.4.0"], || three_bridges(Spec::kraft("4.4.0"), "4.4.0")),
        real("sharing", "kafka_3_9_2_three_bridges", &["3.9.2"], || three_bridges(Spec::kraft("3.9.2"), "3.9.2")),
        real("sharing", "kafka_4_4_0_one_instance", &["4.4.0"], || one_instance(Spec::kraft("4.4.0"))),
        real("sharing", "kafka_3_9_2_one_instance", &["3.9.2"], || one_instance(Spec::kraft("3.9.2"))),
    ]
}

fn bridge(pair: &Pair, name: &str) -> Result<Bridge> {
    instance(pair, name, name)
}

/// The log goes by the name: what is looked for in it must not be another process's.
fn instance(pair: &Pair, name: &str, instance_id: &str) -> Result<Bridge> {
    let mut config = pair.config(LINK, &["shared-*"]);
    config.delivery = delivery(LANES, instance_id);
    pair.run(&config, name)
}

fn three_bridges(spec: Spec, version: &str) -> Result<()> {
    let pair = Pair::start(spec.clone(), spec)?;
    let topics = create_topics(&mut pair.source.client(), LINK, pair.source.replication_factor())?;
    let (mut one, mut two) = (bridge(&pair, "one")?, bridge(&pair, "two")?);
    until_shared(&mut [&mut one, &mut two])?;
    let load = Load::start(pair.source.client(), &topics, SEED);
    load.until_more(RECORDS, LIMIT)?;
    let mut three = bridge(&pair, "three")?;
    until_shared(&mut [&mut one, &mut two, &mut three])?;
    load.until_more(RECORDS, LIMIT)?;
    described(&pair, version)?;
    one.kill();
    until_shared(&mut [&mut two, &mut three])?;
    load.until_more(RECORDS, LIMIT)?;
    two.pause()?;
    thread::sleep(FROZEN);
    until_shared(&mut [&mut three])?;
    load.until_more(RECORDS, LIMIT)?;
    two.resume()?;
    two.process().wait_for_log("all lanes are given up", LIMIT)?;
    until_shared(&mut [&mut two, &mut three])?;
    load.until_more(RECORDS, LIMIT)?;
    let loaded = load.stop()?;
    let audited = pair.audit(LINK, &topics, LIMIT).with_context(|| format!("{}\n{}", two.log(), three.log()))?;
    println!("{loaded:?}, {audited:?}");
    pair.until_equal(&topics, LIMIT)?;
    ensure!(two.terminate(LIMIT)? == 0 && three.terminate(LIMIT)? == 0, "{}\n{}", two.log(), three.log());
    Ok(())
}

/// `kafka-consumer-groups` names the members, and beside each lane the one that works it.
fn described(pair: &Pair, version: &str) -> Result<()> {
    let tools = Tools::new(version)?;
    let bootstrap = pair.target.plaintext_bootstrap().join(",");
    let told = tools.consumer_groups(&bootstrap, &["--describe", "--group", LINK])?;
    let (mut lanes, mut members) = (BTreeSet::new(), BTreeSet::new());
    for line in told.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let Some(topic) = words.iter().position(|it| *it == LEDGER) else { continue };
        let Some(lane) = words.get(topic + 1).and_then(|it| it.parse::<u32>().ok()) else { continue };
        // A static member's id begins with its instance id.
        if let Some(member) = ["one", "two", "three"].iter().find(|id| line.contains(&format!(" {id}-"))) {
            lanes.insert(lane);
            members.insert(*member);
        }
    }
    ensure!(lanes.len() == LANES as usize && members.len() == 3, "{lanes:?} of {members:?}:\n{told}");
    Ok(())
}

/// Alone, a bridge that ends and comes back waits for nothing; and one that slept through its session gives way to the newer.
fn one_instance(spec: Spec) -> Result<()> {
    // Kafka's default, which an empty group's first member has to wait.
    let spec = spec.property("group.initial.rebalance.delay.ms", "3000");
    let pair = Pair::start(spec.clone(), spec)?;
    let topics = create_topics(&mut pair.source.client(), LINK, pair.source.replication_factor())?;
    let began = Instant::now();
    let mut first = instance(&pair, "first", "one")?;
    until_shared(&mut [&mut first])?;
    println!("lanes {:?} after the first start", began.elapsed());
    ensure!(first.terminate(LIMIT)? == 0, "{}", first.log());
    let began = Instant::now();
    let mut older = instance(&pair, "older", "one")?;
    until_shared(&mut [&mut older])?;
    println!("lanes again {:?} after a restart", began.elapsed());
    let load = Load::start(pair.source.client(), &topics, SEED);
    load.until_more(RECORDS, LIMIT)?;
    older.pause()?;
    thread::sleep(FROZEN);
    let mut newer = instance(&pair, "newer", "one")?;
    until_shared(&mut [&mut newer])?;
    older.resume()?;
    gave_way(&mut older)?;
    load.until_more(RECORDS, LIMIT)?;
    load.stop()?;
    pair.until_equal(&topics, LIMIT).with_context(|| newer.log())?;
    ensure!(newer.terminate(LIMIT)? == 0, "{}", newer.log());
    Ok(())
}
