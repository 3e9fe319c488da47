//! Settings of the target that weaken what is promised: `check` names each, and `run` refuses those that can lose data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewRecord, RawClient};

use super::{LIMIT, has_note, notes, until};
use crate::real;

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: &str = "86400000";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("check", "kafka_3_9_2_to_4_4_0_names_weak_settings", &["3.9.2", "4.4.0"], || {
            names_weak_settings(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0"))
        }),
        real("check", "kafka_4_4_0_refuses_a_topic_that_cannot_be_created", &["4.4.0"], refuses_a_topic),
    ]
}

/// Topic, settings at the source, settings at the target, age of its record in days, and the note that is due.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    u32,
    Option<(&'static str, &'static str)>,
);

const CASES: [Case; 11] = [
    ("plain", &[], &[], 0, None),
    ("retention", &[("retention.ms", "-1")], &[("retention.ms", DAY_MS)], 9, Some(("refused", "target_retention"))),
    ("young", &[("retention.ms", "-1")], &[("retention.ms", DAY_MS)], 0, Some(("info", "target_retention_shorter"))),
    (
        "unclean",
        &[],
        &[("unclean.leader.election.enable", "true")],
        0,
        Some(("refused", "target_unclean_leader_election")),
    ),
    ("small", &[], &[("max.message.bytes", "1000")], 0, Some(("refused", "target_max_message_bytes"))),
    ("compacts", &[], &[("cleanup.policy", "compact")], 0, Some(("refused", "target_cleanup_policy"))),
    (
        "before",
        &[("retention.ms", "-1")],
        &[("retention.ms", "-1"), ("message.timestamp.before.max.ms", DAY_MS)],
        9,
        Some(("stopped", "target_timestamp_before_max")),
    ),
    ("stamps", &[], &[("message.timestamp.type", "LogAppendTime")], 0, Some(("warning", "target_log_append_time"))),
    ("recompresses", &[], &[("compression.type", "zstd")], 0, Some(("info", "target_recompresses"))),
    ("replicas", &[], &[("min.insync.replicas", "2")], 0, Some(("stopped", "target_too_few_replicas"))),
    // Created by the bridge as it is at the source: nothing is weaker.
    ("fresh", &[("retention.ms", "-1")], &[], 9, None),
];

fn names_weak_settings(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    for (topic, there, here, age_days, _) in CASES {
        at_source.create_topic(topic, 1, 1, there)?;
        if topic != "fresh" {
            at_target.create_topic(topic, 1, 1, here)?;
        }
        write(&mut at_source, topic, DAY * age_days)?;
    }
    let topics: Vec<_> = CASES.iter().map(|it| it.0).collect();
    let config = pair.config("weak", &topics);
    let file = config.write(pair.folder(), "weak")?;
    let report =
        until(&file, |code, report| code == 78 && has_note(report, "refused", "target_retention", "retention"))?;
    for (topic, _, _, _, due) in CASES {
        let found: Vec<_> =
            notes(&report).into_iter().filter(|it| it.2 == topic && it.1 != "target_min_insync_replicas").collect();
        let found: Vec<_> = found.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
        // The one of too few replicas has no weak min.insync.replicas, and every other topic has.
        ensure!(found == Vec::from_iter(due), "{topic}: {found:?}, not {due:?}");
    }
    let verdict = report["verdict"]["text"].as_str().context("a verdict")?;
    ensure!(verdict == "run would not begin: 4 weaknesses of the target not accepted", "{verdict}");

    // A run refuses the same, before it creates anything.
    let mut run = Bridge::run(&config.write(pair.folder(), "refused")?)?;
    ensure!(run.wait(LIMIT)? == 78, "a weak target is refused:\n{}", run.log());
    for name in
        ["target_retention", "target_unclean_leader_election", "target_max_message_bytes", "target_cleanup_policy"]
    {
        ensure!(run.log().contains(name), "{name} is missing in:\n{}", run.log());
    }
    ensure!(run.log().contains("retention: retention is shorter") && run.log().contains("9 days"), "{}", run.log());
    ensure!(run.log().contains("delivery.accept_weak = ["), "no remedy:\n{}", run.log());
    let names = at_target.topic_names()?;
    ensure!(!names.iter().any(|it| it.ends_with(".ledger") || it == "fresh"), "the refused run created {names:?}");

    // With all accepted by name it begins; one name left out, and it does not.
    let mut accepted = config.clone();
    let four = "\"target_min_insync_replicas\", \"target_retention\", \"target_unclean_leader_election\", \"target_max_message_bytes\"";
    accepted.delivery = format!("accept_weak = [{four}]\n");
    let (code, report) = Finished::check(&accepted.write(pair.folder(), "three")?, LIMIT)?;
    ensure!(code == 78 && has_note(&report, "accepted", "target_retention", "retention"), "{report:#}");
    accepted.delivery = format!("accept_weak = [{four}, \"target_cleanup_policy\"]\n");
    let file = accepted.write(pair.folder(), "accepted")?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(code == 1, "two topics would stand still: {report:#}");
    let mut bridge = Bridge::run(&accepted.write(pair.folder(), "running")?)?;
    let copied: Vec<String> = ["plain", "young", "fresh", "recompresses"].map(str::to_owned).to_vec();
    pair.until_equal(&copied, LIMIT).with_context(|| bridge.log())?;
    // What check said would stop, does.
    bridge.process().wait_for_log("before-0 stopped at offset 0: the target refused it", LIMIT)?;
    Ok(())
}

fn write(client: &mut RawClient, topic: &str, age: Duration) -> Result<()> {
    let time = SystemTime::now().checked_sub(age).context("a time before now")?.duration_since(UNIX_EPOCH)?;
    let record = NewRecord {
        timestamp: i64::try_from(time.as_millis())?,
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        ..NewRecord::default()
    };
    client.write(topic, 0, Codec::None, vec![record])?;
    Ok(())
}

/// More replicas than the target has brokers.
fn refuses_a_topic() -> Result<()> {
    let pair = Pair::start(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
    pair.source.client().create_topic("orders", 1, 1, &[])?;
    let mut config = pair.config("impossible", &["orders"]);
    config.target.extra = "replication_factor = 3\n".to_owned();
    let (code, report) = Finished::check(&config.write(pair.folder(), "impossible")?, LIMIT)?;
    ensure!(has_note(&report, "refused", "target_refuses_topic", "orders"), "{report:#}");
    ensure!(has_note(&report, "refused", "ledger", "impossible.ledger"), "{report:#}");
    let mut run = Bridge::run(&config.write(pair.folder(), "running")?)?;
    let ended = run.wait(LIMIT)?;
    ensure!(ended == code && code != 0, "check says {code}, run ends with {ended}:\n{}", run.log());
    ensure!(run.log().to_lowercase().contains("replication factor"), "{}", run.log());
    Ok(())
}
