//! What a topic is at the source, it is at the target.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;

use super::write;
use crate::real;

const LIMIT: Duration = Duration::from_secs(120);
/// The target's own default of `retention.ms`.
const TARGET_RETENTION_MS: &str = "86400000";
const SETTINGS: [(&str, &str); 8] = [
    ("cleanup.policy", "compact,delete"),
    ("retention.ms", "777000000"),
    ("retention.bytes", "123456789"),
    ("max.message.bytes", "2000000"),
    ("segment.bytes", "2097152"),
    ("segment.ms", "3600000"),
    ("segment.index.bytes", "1048576"),
    ("min.compaction.lag.ms", "60000"),
];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("topics", "kafka_3_9_2_zookeeper_to_4_4_0_makes_them_as_they_are", &["3.9.2", "4.4.0"], || {
            makes_topics(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0"))
        }),
        real("topics", "kafka_4_4_0_to_3_9_2_zookeeper_makes_them_as_they_are", &["3.9.2", "4.4.0"], || {
            makes_topics(Spec::kraft("4.4.0"), Spec::zookeeper("3.9.2"))
        }),
    ]
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn makes_topics(source: Spec, target: Spec) -> Result<()> {
    // A 4.x broker refuses segments this small; older ones take them.
    let is_small_taken = target.version.starts_with("3.");
    let is_small_possible = source.version.starts_with("3.");
    let pair = Pair::start(source, target.property("log.retention.ms", TARGET_RETENTION_MS))?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    let mut topics = vec!["settings", "defaults", "as-the-target", "stamped", "foreign"];
    at_source.create_topic("settings", 3, 1, &SETTINGS)?;
    at_source.create_topic("defaults", 1, 1, &[])?;
    at_source.create_topic("as-the-target", 2, 1, &[("retention.ms", TARGET_RETENTION_MS)])?;
    at_source.create_topic("stamped", 1, 1, &[("message.timestamp.type", "LogAppendTime")])?;
    at_source.create_topic("foreign", 1, 1, &SETTINGS)?;
    if is_small_possible {
        topics.push("small");
        at_source.create_topic("small", 1, 1, &[("segment.bytes", "16384"), ("segment.ms", "5000")])?;
    }
    for topic in &topics {
        write(&mut at_source, topic, 0, 0, 10)?;
    }
    // What is there already is left as it is.
    at_target.create_topic("foreign", 2, 1, &[("retention.ms", "-1"), ("max.message.bytes", "2000000")])?;

    let mut bridge = pair.run(&pair.config("made", &["*"]), "bridge")?;
    let names: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
    if let Err(error) = pair.until_equal(&names, LIMIT) {
        return Err(error.context(bridge.log()));
    }
    for (topic, partitions) in [("settings", 3), ("defaults", 1), ("as-the-target", 2), ("stamped", 1), ("foreign", 2)]
    {
        let found = at_target.partition_count(topic)?;
        ensure!(found == partitions, "{topic} has {found} partitions at the target");
    }
    let mut overrides = |topic| at_target.topic_overrides(topic);
    ensure!(overrides("settings")? == map(&SETTINGS), "settings is not as at the source: {:?}", overrides("settings")?);
    // The source's default differs from the target's: without being set the copy would live shorter.
    let week = map(&[("retention.ms", "604800000")]);
    ensure!(overrides("defaults")? == week, "defaults: {:?}", overrides("defaults")?);
    let none = BTreeMap::new();
    ensure!(overrides("as-the-target")? == none, "as-the-target: {:?}", overrides("as-the-target")?);
    ensure!(
        overrides("stamped")? == week,
        "its append times are kept by a CreateTime topic: {:?}",
        overrides("stamped")?
    );
    let foreign = map(&[("retention.ms", "-1"), ("max.message.bytes", "2000000")]);
    ensure!(overrides("foreign")? == foreign, "foreign was changed: {:?}", overrides("foreign")?);
    if is_small_possible {
        let found = overrides("small")?;
        let is_told = bridge.log().contains("segment.bytes");
        ensure!(found.get("segment.ms").is_some_and(|it| it == "5000"), "only what is refused is left out: {found:?}");
        ensure!(found.contains_key("segment.bytes") == is_small_taken, "small: {found:?}");
        ensure!(is_small_taken || is_told, "that segment.bytes was left out is not told:\n{}", bridge.log());
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}
