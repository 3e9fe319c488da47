//! Ledgers that do not fit: of other lanes, of another source, cut off from their group's offsets, gone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Config, End};
use protocol_tests::java::Tools;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::ledger::{Entry, Ledger};
use protocol_tests::pair::Pair;
use protocol_tests::raw::RawClient;

use super::{KEPT, LIMIT, ends_well, ends_with, incident, numbers, range, until, write};
use crate::real;

const LINK: &str = "books";
const LEDGER: &str = "books.ledger";
const PARTITIONS: i32 = 4;
const LANES: i32 = 4;
const EX_CONFIG: i32 = 78;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("gaps", "kafka_3_9_2_zookeeper_to_4_4_0_ledgers_that_do_not_fit", &["3.9.2", "4.4.0"], || {
            ledgers(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0"))
        }),
        real("gaps", "kafka_4_4_0_to_3_9_2_zookeeper_ledgers_that_do_not_fit", &["3.9.2", "4.4.0"], || {
            ledgers(Spec::kraft("4.4.0"), Spec::zookeeper("3.9.2"))
        }),
    ]
}

fn ledgers(source: Spec, target: Spec) -> Result<()> {
    let other = KafkaCluster::start(source.clone())?;
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    for client in [&mut at_source, &mut other.client()] {
        client.create_topic("copied", PARTITIONS, 1, &KEPT)?;
        write_all(client, 0..10)?;
    }
    let mut bridge = pair.run(&config(&pair, LANES), "first")?;
    until_all(&mut at_target, &bridge, 0..10)?;
    ends_well(&mut bridge)?;

    let tools = Tools::new("4.3.1")?;
    shows_in_kafkas_tools(&tools, &pair, &mut at_target)?;

    let mut bridge = pair.run(&config(&pair, 2 * LANES), "lanes")?;
    let code = bridge.wait(LIMIT)?;
    ensure!(
        code == EX_CONFIG && bridge.log().contains("set delivery.lanes = 4"),
        "exit code {code}:\n{}",
        bridge.log()
    );

    outruns_the_ledger(&tools, &pair, &mut at_source, &mut at_target)?;
    another_source(&pair, &other, &mut at_target)?;

    at_target.delete_topic(LEDGER)?;
    let mut bridge = pair.run(&config(&pair, LANES), "gone")?;
    let places: Vec<_> = (0..PARTITIONS).map(|partition| format!("copied-{partition}")).collect();
    for place in &places {
        incident(&mut bridge, "no_position", place, "next_offset=-1")?;
    }
    let expected: Vec<_> = places.iter().map(|place| ("no_position", place.as_str())).collect();
    ends_with(&mut bridge, &expected)?;
    until_all(&mut at_target, &bridge, 0..20)
}

fn config(pair: &Pair, lanes: i32) -> Config {
    let mut config = pair.config(LINK, &["copied", "only-there"]);
    config.delivery += &format!("lanes = {lanes}\n");
    config
}

fn write_all(client: &mut RawClient, numbers: std::ops::Range<i64>) -> Result<()> {
    (0..PARTITIONS).try_for_each(|partition| write(client, "copied", partition, numbers.clone()))
}

fn until_all(
    client: &mut RawClient,
    bridge: &protocol_tests::bridge::Bridge,
    numbers: std::ops::Range<i64>,
) -> Result<()> {
    (0..PARTITIONS).try_for_each(|partition| until(client, bridge, "copied", partition, &range(numbers.clone())))
}

/// Every transaction committed the group's offset of its lane.
fn shows_in_kafkas_tools(tools: &Tools, pair: &Pair, at_target: &mut RawClient) -> Result<()> {
    let bootstrap = pair.target.plaintext_bootstrap().join(",");
    let table = tools.consumer_groups(&bootstrap, &["--describe", "--group", LINK])?;
    println!("{table}");
    for lane in 0..LANES {
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.clone().find(|row| row.get(1) == Some(&LEDGER) && row.get(2) == Some(&lane.to_string().as_str()));
        let row = row.with_context(|| format!("no row for lane {lane}:\n{table}"))?;
        let (offset, end): (i64, i64) = (row[3].parse()?, row[4].parse()?);
        let log = at_target.offsets(LEDGER, lane)?;
        ensure!(end == log.high_watermark && (0..end).contains(&offset), "lane {lane}: {offset} of {end}:\n{table}");
    }
    Ok(())
}

/// The group says that the ledger is longer than it is: that lane stops, until the offsets are deleted as it says.
fn outruns_the_ledger(tools: &Tools, pair: &Pair, at_source: &mut RawClient, at_target: &mut RawClient) -> Result<()> {
    let place = ("copied".to_owned(), 0);
    let entries = Ledger::read(at_target, LINK)?.entries;
    let of_place = |entry: &&Entry| entry.changes.iter().any(|change| change.position.place == place);
    let lane = entries.iter().find(of_place).context("copied-0 has no position")?.lane;
    at_target.set_group_offset(LINK, LEDGER, lane, 1_000_000)?;
    write_all(at_source, 10..20)?;
    let mut bridge = pair.run(&config(pair, LANES), "outrun")?;
    bridge.process().wait_for_log("the lane has stopped; the others go on", LIMIT)?;
    for partition in 1..PARTITIONS {
        until(at_target, &bridge, "copied", partition, &range(0..20))?;
    }
    let code = bridge.terminate(LIMIT)?;
    let log = bridge.log();
    ensure!(code == 1 && log.contains(&format!("lane {lane} stopped: {LEDGER}-{lane}")), "exit code {code}:\n{log}");
    ensure!(log.contains("read from offset 1000000") && log.contains("--delete-offsets"), "it says what to do:\n{log}");
    ensure!(numbers(at_target, "copied", 0)? == range(0..10), "the lane went on all the same");

    let bootstrap = pair.target.plaintext_bootstrap().join(",");
    tools.consumer_groups(&bootstrap, &["--delete-offsets", "--group", LINK, "--topic", LEDGER])?;
    for lane in 0..LANES {
        ensure!(at_target.group_offset(LINK, LEDGER, lane)?.is_none(), "the offset of lane {lane} is still there");
    }
    // Without them the whole ledger is read: a position that was missed would be told as an incident.
    let mut bridge = pair.run(&config(pair, LANES), "replayed")?;
    until_all(at_target, &bridge, 0..20)?;
    std::thread::sleep(Duration::from_secs(1));
    until_all(at_target, &bridge, 0..20)?;
    ends_well(&mut bridge)?;
    for lane in 0..LANES {
        let offset = at_target.group_offset(LINK, LEDGER, lane)?;
        ensure!(
            offset.is_some_and(|it| it > 0),
            "lane {lane}: the next snapshot's offset is not committed: {offset:?}"
        );
    }
    Ok(())
}

/// The same names in another cluster are other topics.
fn another_source(pair: &Pair, other: &KafkaCluster, at_target: &mut RawClient) -> Result<()> {
    let mut at_other = other.client();
    write_all(&mut at_other, 10..40)?;
    at_other.create_topic("only-there", 1, 1, &KEPT)?;
    write(&mut at_other, "only-there", 0, 0..5)?;
    let config = Config { source: End::of(other), ..config(pair, LANES) };
    let mut bridge = pair.run(&config, "other-source")?;
    let places: Vec<_> = (0..PARTITIONS).map(|partition| format!("copied-{partition}")).collect();
    for place in &places {
        incident(&mut bridge, "other_source", place, "next_offset=-1")?;
    }
    until(at_target, &bridge, "only-there", 0, &range(0..5))?;
    let expected: Vec<_> = places.iter().map(|place| ("other_source", place.as_str())).collect();
    ends_with(&mut bridge, &expected)?;
    until_all(at_target, &bridge, 0..20)
}
