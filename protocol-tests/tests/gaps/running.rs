//! Faults under a running bridge.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;

use super::{KEPT, LIMIT, ends_with, incident, numbers, range, until, write};
use crate::real;

/// As long as a broker holds a Fetch of the bridge at most.
const FETCH_WAIT: Duration = Duration::from_millis(500);
const TOPICS: [&str; 6] = ["copy-deleted", "copy-recreated", "deleted", "recreated", "recreated-later", "whole"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("gaps", "kafka_4_4_0_to_4_4_0_while_running", &["4.4.0"], || {
            gaps(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))
        }),
        real("gaps", "kafka_3_9_2_zookeeper_to_3_9_2_zookeeper_while_running", &["3.9.2"], || {
            gaps(Spec::zookeeper("3.9.2"), Spec::zookeeper("3.9.2"))
        }),
    ]
}

fn gaps(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    for topic in TOPICS {
        at_source.create_topic(topic, 1, 1, &KEPT)?;
        write(&mut at_source, topic, 0, 0..30)?;
    }
    let mut bridge = pair.run(&pair.config("gaps", &TOPICS), "bridge")?;
    for topic in TOPICS {
        until(&mut at_target, &bridge, topic, 0, &range(0..30))?;
    }
    ensure!(!bridge.log().contains("incident: "), "an incident without a fault:\n{}", bridge.log());

    // The bridge must be behind for a gap to come; SIGSTOP makes it so. The Fetch that waits at the broker may still bring it
    // the first of these batches, not the second.
    bridge.pause()?;
    ["deleted", "recreated"].iter().try_for_each(|topic| write(&mut at_source, topic, 0, 30..60))?;
    std::thread::sleep(2 * FETCH_WAIT);
    ["deleted", "recreated"].iter().try_for_each(|topic| write(&mut at_source, topic, 0, 60..90))?;
    ensure!(at_source.delete_records("deleted", 0, 80)? == 80, "the log start moves");
    at_source.delete_topic("recreated")?;
    at_source.create_topic("recreated", 1, 1, &KEPT)?;
    write(&mut at_source, "recreated", 0, 0..40)?;
    bridge.resume()?;
    let deleted = incident(&mut bridge, "retention", "deleted-0", "")?;
    let recreated = incident(&mut bridge, "recreated", "recreated-0", "")?;
    let first_lost = |line: &str| match line {
        line if line.contains("next_offset=30 first_lost=30") => Ok(30),
        line if line.contains("next_offset=60 first_lost=60") => Ok(60),
        line => bail!("not what was lost: {line}"),
    };
    let (deleted_at, recreated_at) = (first_lost(&deleted)?, first_lost(&recreated)?);
    ensure!(deleted.contains("last_lost=79"), "not all that was lost: {deleted}");

    at_source.delete_topic("recreated-later")?;
    bridge.process().wait_for_log("the source's topic is gone", LIMIT)?;
    at_source.create_topic("recreated-later", 1, 1, &KEPT)?;
    write(&mut at_source, "recreated-later", 0, 0..40)?;
    incident(&mut bridge, "recreated", "recreated-later-0", "next_offset=30 first_lost=30")?;

    // Nothing is under way: only its id tells the new topic from the old.
    at_target.delete_topic("copy-recreated")?;
    at_target.create_topic("copy-recreated", 1, 1, &KEPT)?;
    incident(&mut bridge, "target_recreated", "copy-recreated-0", "next_offset=30 last_lost=29")?;
    at_target.delete_topic("copy-deleted")?;
    write(&mut at_source, "copy-deleted", 0, 30..60)?;
    incident(&mut bridge, "target_refused", "copy-deleted-0", "next_offset=30")?;
    ensure!(at_target.topic_id("copy-deleted")?.is_none(), "made anew it would begin in the middle");

    write(&mut at_source, "whole", 0, 30..60)?;
    until(&mut at_target, &bridge, "whole", 0, &range(0..60))?;
    ends_with(
        &mut bridge,
        &[
            ("retention", "deleted-0"),
            ("recreated", "recreated-0"),
            ("recreated", "recreated-later-0"),
            ("target_recreated", "copy-recreated-0"),
            ("target_refused", "copy-deleted-0"),
        ],
    )?;
    for (topic, end) in [("deleted", deleted_at), ("recreated", recreated_at), ("recreated-later", 30)] {
        let found = numbers(&mut at_target, topic, 0)?;
        ensure!(found == range(0..end), "{topic} did not stop at {end}: {found:?}");
    }
    Ok(())
}
