//! Faults while no bridge runs.

use std::time::Instant;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;

use super::{HOUR_MS, KEPT, LIMIT, POLL, ends_well, ends_with, incident, range, until, write, write_aged};
use crate::real;

const TOPICS: [&str; 6] = ["copy-deleted", "copy-recreated", "deleted", "expired", "recreated", "whole"];

pub(super) fn trials() -> Vec<Trial> {
    vec![real("gaps", "kafka_3_9_2_zookeeper_to_4_4_0_while_stopped", &["3.9.2", "4.4.0"], || {
        gaps(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())
    })]
}

fn gaps(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    for topic in TOPICS {
        at_source.create_topic(topic, 2, 1, &[&KEPT[..], &[("segment.ms", "600000")]].concat())?;
        (0..2).try_for_each(|partition| write(&mut at_source, topic, partition, 0..30))?;
    }
    let mut bridge = pair.run(&pair.config("gaps", &TOPICS), "before")?;
    for topic in TOPICS {
        (0..2).try_for_each(|partition| until(&mut at_target, &bridge, topic, partition, &range(0..30)))?;
    }
    ends_well(&mut bridge)?;

    for topic in ["deleted", "whole"] {
        (0..2).try_for_each(|partition| write(&mut at_source, topic, partition, 30..60))?;
    }
    ensure!(at_source.delete_records("deleted", 0, 45)? == 45, "the log start moves");
    // An hour later a new segment begins, and the old one is too old to stay.
    write(&mut at_source, "expired", 0, 30..60)?;
    write_aged(&mut at_source, "expired", 0, 60..65, 0)?;
    at_source.alter_topic("expired", &[("retention.ms", &(HOUR_MS / 2).to_string())])?;
    let start = Instant::now();
    let expired = loop {
        let log_start = at_source.offsets("expired", 0)?.log_start;
        if log_start > 30 {
            break log_start;
        }
        ensure!(start.elapsed() < LIMIT, "retention never took anything");
        std::thread::sleep(POLL);
    };
    at_source.delete_topic("recreated")?;
    at_source.create_topic("recreated", 2, 1, &KEPT)?;
    (0..2).try_for_each(|partition| write(&mut at_source, "recreated", partition, 0..5))?;
    at_target.delete_topic("copy-deleted")?;
    at_target.delete_topic("copy-recreated")?;
    at_target.create_topic("copy-recreated", 2, 1, &KEPT)?;
    at_source.create_topic("foreign", 1, 1, &KEPT)?;
    write(&mut at_source, "foreign", 0, 0..5)?;
    at_target.create_topic("foreign", 1, 1, &KEPT)?;
    write(&mut at_target, "foreign", 0, 100..103)?;

    let mut bridge = pair.run(&pair.config("gaps", &[&TOPICS[..], &["foreign"]].concat()), "after")?;
    incident(&mut bridge, "retention", "deleted-0", "next_offset=30 first_lost=30 last_lost=44")?;
    let lost = format!("next_offset=30 first_lost=30 last_lost={}", expired - 1);
    incident(&mut bridge, "retention", "expired-0", &lost)?;
    for partition in ["recreated-0", "recreated-1"] {
        incident(&mut bridge, "recreated", partition, "next_offset=30 first_lost=30")?;
    }
    for partition in ["copy-deleted-0", "copy-deleted-1", "copy-recreated-0", "copy-recreated-1"] {
        incident(&mut bridge, "target_recreated", partition, "next_offset=30 last_lost=29")?;
    }
    incident(&mut bridge, "no_position", "foreign-0", "next_offset=-1")?;
    ensure!(bridge.log().contains("Delete the target topic, rename it, or restore the ledger"), "it says what to do");

    // The others go on, of the same topic too.
    for (topic, partition) in [("deleted", 1), ("whole", 0), ("whole", 1)] {
        until(&mut at_target, &bridge, topic, partition, &range(0..60))?;
    }
    write(&mut at_source, "whole", 0, 60..70)?;
    until(&mut at_target, &bridge, "whole", 0, &range(0..70))?;
    ends_with(
        &mut bridge,
        &[
            ("retention", "deleted-0"),
            ("retention", "expired-0"),
            ("recreated", "recreated-0"),
            ("recreated", "recreated-1"),
            ("target_recreated", "copy-deleted-0"),
            ("target_recreated", "copy-deleted-1"),
            ("target_recreated", "copy-recreated-0"),
            ("target_recreated", "copy-recreated-1"),
            ("no_position", "foreign-0"),
        ],
    )?;
    for (topic, expected) in [
        ("deleted", range(0..30)),
        ("expired", range(0..30)),
        ("recreated", range(0..30)),
        ("copy-deleted", vec![]),
        ("copy-recreated", vec![]),
        ("foreign", range(100..103)),
    ] {
        until(&mut at_target, &bridge, topic, 0, &expected)?;
    }
    Ok(())
}
