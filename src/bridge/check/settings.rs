//! Settings of the target that lose nothing, and yet weaken what is promised or stop a partition.

use super::report::{Level, Note};
use crate::bridge::age::{Oldest, lasts};
use crate::bridge::ends::Ends;
use crate::bridge::survey::{Prospect, Survey};
use crate::bridge::weakness::{number, retention};
use crate::cluster::{At, Metadata, TopicConfigs};
use crate::config::Weakness;
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What can lose data: refused, or accepted by name.
pub(super) fn weaknesses(survey: &Survey, accepted: &BTreeSet<Weakness>) -> Vec<Note> {
    let note = |finding: &crate::bridge::Finding| {
        let is_accepted = accepted.contains(&finding.weakness);
        let level = if is_accepted { Level::Accepted } else { Level::Refused };
        let text = format!("{} ({})", finding.weakness.meaning(), finding.detail);
        Note::new(level, finding.weakness.name(), Some(&finding.topic), text)
    };
    survey.findings.iter().map(note).collect()
}

pub(super) fn of_topic(prospect: &Prospect, latest: Option<i64>, expires: bool) -> Vec<Note> {
    let (topic, configs) = (&*prospect.entry.target, &prospect.configs);
    let mut notes = Vec::new();
    let mut add = |level, name, text: String| notes.push(Note::new(level, name, Some(topic), text));
    if configs.get("message.timestamp.type").is_some_and(|it| it == "LogAppendTime") {
        let text = "message.timestamp.type=LogAppendTime: the copies get the target's time, not the source's";
        add(Level::Warning, "target_log_append_time", text.to_owned());
    } else {
        if let Some(text) = too_old(configs, &prospect.oldest) {
            add(Level::Stopped, "target_timestamp_before_max", text);
        }
        if let Some(text) = too_new(configs, latest) {
            add(Level::Stopped, "target_timestamp_after_max", text);
        }
    }
    if let Some((least, replicas)) = number(configs, "min.insync.replicas").zip(prospect.replication_factor)
        && least > i64::from(replicas)
    {
        let text = format!("min.insync.replicas={least} with {replicas} replicas: nothing can be written to it");
        add(Level::Stopped, "target_too_few_replicas", text);
    }
    let retentions =
        retention(configs, "retention.ms").zip(prospect.source.as_ref().and_then(|it| retention(it, "retention.ms")));
    if let Some((here, _)) = retentions.filter(|(here, there)| here < there && !expires) {
        let kept = lasts(Duration::from_millis(here.unsigned_abs()));
        let text = format!(
            "it keeps records for {kept}, less than the source: after a stop of that length records can be lost"
        );
        add(Level::Info, "target_retention_shorter", text);
    }
    if let Some(codec) = configs.get("compression.type").filter(|it| *it != "producer") {
        let text =
            format!("compression.type={codec}: the target's brokers unpack and recompress what is in another codec");
        add(Level::Info, "target_recompresses", text);
    }
    if configs.is_empty() && prospect.refused.is_none() {
        let text = "its settings cannot be read: whether they are weak is not known".to_owned();
        add(Level::Warning, "target_settings_unknown", text);
    }
    notes
}

/// Brokers before 3.6 have the one limit for both directions, under its old name.
fn limit(configs: &TopicConfigs, name: &str) -> Option<Duration> {
    let ms = number(configs, name).or_else(|| number(configs, "message.timestamp.difference.max.ms"))?;
    Some(Duration::from_millis(ms.max(0).unsigned_abs()))
}

fn too_old(configs: &TopicConfigs, oldest: &Oldest) -> Option<String> {
    const NAME: &str = "message.timestamp.before.max.ms";
    let Oldest::Record { partition, age } = oldest else { return None };
    let limit = limit(configs, NAME).filter(|limit| age > limit)?;
    let (age, limit) = (lasts(*age), lasts(limit));
    Some(format!("a record of {partition} is {age} old, and records older than {limit} are refused: raise {NAME}"))
}

fn too_new(configs: &TopicConfigs, latest: Option<i64>) -> Option<String> {
    const NAME: &str = "message.timestamp.after.max.ms";
    let latest = Duration::from_millis(u64::try_from(latest?).ok()?);
    let ahead = latest.checked_sub(SystemTime::now().duration_since(UNIX_EPOCH).ok()?)?;
    let limit = limit(configs, NAME).filter(|limit| ahead > *limit)?;
    let (ahead, limit) = (lasts(ahead), lasts(limit));
    Some(format!("a record of the source is {ahead} in the future, and more than {limit} is refused: raise {NAME}"))
}

/// The largest timestamp of each source topic, where a limit makes it matter and the source tells it.
pub(super) async fn latest_timestamps(
    ends: &Ends,
    source: &Metadata,
    prospects: &[Prospect],
) -> BTreeMap<TopicName, i64> {
    let is_limited =
        |it: &&Prospect| limit(&it.configs, "message.timestamp.after.max.ms").is_some_and(|it| it < FAR_FUTURE);
    let asked = prospects.iter().filter(is_limited).flat_map(|it| {
        let topic = Arc::clone(&it.entry.source);
        (0..it.entry.partitions).map(move |number| (TopicPartition::new(Arc::clone(&topic), number), At::MaxTimestamp))
    });
    let mut latest: BTreeMap<TopicName, i64> = BTreeMap::new();
    for (partition, listed) in ends.source.offsets(source, &asked.collect::<Vec<_>>()).await {
        if let Ok(listed) = listed {
            let known = latest.entry(partition.topic).or_insert(-1);
            *known = (*known).max(listed.timestamp);
        }
    }
    latest
}

/// Beyond it nobody's clock is wrong.
const FAR_FUTURE: Duration = Duration::from_secs(100 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Start;
    use crate::topics::plan::PlanEntry;

    fn configs(pairs: &[(&str, &str)]) -> TopicConfigs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn notes(
        target: &[(&str, &str)],
        source: &[(&str, &str)],
        oldest: Oldest,
        latest: Option<i64>,
    ) -> Vec<&'static str> {
        let entry = PlanEntry {
            source: "a".into(),
            target: "b".into(),
            partitions: 1,
            rule: 0,
            pattern: "a".to_owned(),
            start: Start::Earliest,
        };
        let prospect = Prospect {
            entry,
            source: Some(configs(source)),
            step: None,
            configs: configs(target),
            replication_factor: Some(1),
            oldest,
            refused: None,
        };
        of_topic(&prospect, latest, false).iter().map(|it| it.name).collect()
    }

    #[test]
    fn each_setting_has_its_note() {
        let old = |hours: u64| Oldest::Record {
            partition: TopicPartition::new("a", 0),
            age: Duration::from_secs(3_600 * hours),
        };
        assert_eq!(notes(&[("compression.type", "zstd")], &[], Oldest::Nothing, None), ["target_recompresses"]);
        assert_eq!(notes(&[("compression.type", "producer")], &[], Oldest::Nothing, None), [""; 0]);
        assert_eq!(
            notes(&[("message.timestamp.type", "LogAppendTime")], &[], Oldest::Nothing, None),
            ["target_log_append_time"]
        );
        assert_eq!(notes(&[("min.insync.replicas", "2")], &[], Oldest::Nothing, None), ["target_too_few_replicas"]);
        let hour = [("message.timestamp.before.max.ms", "3600000")];
        assert_eq!(notes(&hour, &[], old(2), None), ["target_timestamp_before_max"]);
        assert_eq!(notes(&hour, &[], old(1), None), [""; 0]);
        assert_eq!(
            notes(&[("message.timestamp.difference.max.ms", "3600000")], &[], old(2), None),
            ["target_timestamp_before_max"]
        );
        let after = [("message.timestamp.after.max.ms", "3600000")];
        assert_eq!(notes(&after, &[], Oldest::Nothing, Some(i64::MAX)), ["target_timestamp_after_max"]);
        assert_eq!(notes(&after, &[], Oldest::Nothing, Some(0)), [""; 0]);
        let kept = |ms| [("cleanup.policy", "delete"), ("retention.ms", ms)];
        assert_eq!(notes(&kept("1000"), &kept("2000"), Oldest::Nothing, None), ["target_retention_shorter"]);
        assert_eq!(notes(&[], &[], Oldest::Nothing, None), ["target_settings_unknown"]);
    }
}
