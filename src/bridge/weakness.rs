//! Settings of the target under which acknowledged data can be lost.

use super::age::{Oldest, lasts};
use crate::cluster::TopicConfigs;
use crate::config::Weakness;
use crate::types::TopicName;
use std::fmt;
use std::time::Duration;

/// One weakness of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weakness: Weakness,
    /// At the target.
    pub topic: TopicName,
    /// The settings that make it one.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}; {})", self.topic, self.weakness.meaning(), self.weakness.name(), self.detail)
    }
}

const FOREVER: i64 = i64::MAX;

pub(super) fn number(configs: &TopicConfigs, name: &str) -> Option<i64> {
    configs.get(name)?.parse().ok()
}

/// Of `retention.ms` or `retention.bytes`. Without the policy `delete` nothing goes by age or size.
pub(super) fn retention(configs: &TopicConfigs, name: &str) -> Option<i64> {
    match configs.get("cleanup.policy")?.contains("delete") {
        true => number(configs, name).map(|it| if it < 0 { FOREVER } else { it }),
        false => Some(FOREVER),
    }
}

pub(super) fn compacts(configs: &TopicConfigs) -> Option<bool> {
    Some(configs.get("cleanup.policy")?.contains("compact"))
}

/// A setting that the broker does not tell counts as no weakness: it cannot be known.
pub fn findings(
    topic: &TopicName,
    target: &TopicConfigs,
    source: Option<&TopicConfigs>,
    oldest: &Oldest,
) -> Vec<Finding> {
    let min_insync_replicas = number(target, "min.insync.replicas").filter(|it| *it < 2);
    let is_unclean = target.get("unclean.leader.election.enable").is_some_and(|it| it == "true");
    let largest = |configs: &TopicConfigs| number(configs, "max.message.bytes");
    let larger = largest(target).zip(source.and_then(largest)).filter(|(target, source)| target < source);
    let compacted = source.filter(|source| compacts(target) == Some(true) && compacts(source) == Some(false));
    let details = [
        (Weakness::TargetMinInsyncReplicas, min_insync_replicas.map(|it| format!("min.insync.replicas={it}"))),
        (Weakness::TargetUncleanLeaderElection, is_unclean.then(|| "unclean.leader.election.enable=true".to_owned())),
        (Weakness::TargetRetention, expires(target, source, oldest)),
        (
            Weakness::TargetMaxMessageBytes,
            larger.map(|(target, source)| format!("max.message.bytes={target}, at the source {source}")),
        ),
        (Weakness::TargetCleanupPolicy, compacted.map(|_| "cleanup.policy=compact".to_owned())),
    ];
    let found = details.into_iter().filter_map(|(weakness, detail)| Some((weakness, detail?)));
    found.map(|(weakness, detail)| Finding { weakness, topic: topic.clone(), detail }).collect()
}

/// Data that its own source is about to delete is no loss: the age counts up to the source's retention.
fn expires(target: &TopicConfigs, source: Option<&TopicConfigs>, oldest: &Oldest) -> Option<String> {
    let kept = retention(target, "retention.ms")?;
    let at_source = source.and_then(|it| retention(it, "retention.ms"));
    let told = |ms: i64| lasts(Duration::from_millis(ms.unsigned_abs()));
    match oldest {
        Oldest::Nothing => return None,
        Oldest::Record { partition, age } => {
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(FOREVER);
            if kept < age_ms.min(at_source.unwrap_or(FOREVER)) {
                let (kept, age) = (told(kept), lasts(*age));
                return Some(format!("retention.ms={kept}, a record of {partition} is {age} old"));
            }
        }
        Oldest::Unknown => {
            if let Some(at_source) = at_source.filter(|it| kept < *it) {
                let at_source = if at_source == FOREVER { "for ever".to_owned() } else { told(at_source) };
                return Some(format!("retention.ms={}, at the source {at_source}", told(kept)));
            }
        }
    }
    let (kept, at_source) =
        (retention(target, "retention.bytes")?, source.and_then(|it| retention(it, "retention.bytes"))?);
    (kept < at_source).then(|| format!("retention.bytes={kept} is less than the source's"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicPartition;

    const DAY: Duration = Duration::from_secs(86_400);
    const ONE_DAY: [(&str, &str); 2] = [("cleanup.policy", "delete"), ("retention.ms", "86400000")];

    fn configs(pairs: &[(&str, &str)]) -> TopicConfigs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(target: &[(&str, &str)], source: &[(&str, &str)], oldest: &Oldest) -> Vec<Weakness> {
        let source = Some(configs(source)).filter(|it| !it.is_empty());
        let found = findings(&"t".into(), &configs(target), source.as_ref(), oldest);
        found.iter().map(|it| it.weakness).collect()
    }

    fn old(days: u32) -> Oldest {
        Oldest::Record { partition: TopicPartition::new("t", 0), age: DAY * days }
    }

    #[test]
    fn each_weakness_is_found_and_nothing_else() {
        let nothing = &Oldest::Nothing;
        assert_eq!(found(&[("min.insync.replicas", "1")], &[], nothing), [Weakness::TargetMinInsyncReplicas]);
        assert_eq!(found(&[("min.insync.replicas", "2")], &[], nothing), []);
        let unclean = [("unclean.leader.election.enable", "true")];
        assert_eq!(found(&unclean, &[], nothing), [Weakness::TargetUncleanLeaderElection]);
        let small = [("max.message.bytes", "1000")];
        assert_eq!(found(&small, &[("max.message.bytes", "1001")], nothing), [Weakness::TargetMaxMessageBytes]);
        assert_eq!(found(&small, &[], nothing), []);
        let (compact, delete) = ([("cleanup.policy", "compact,delete")], [("cleanup.policy", "delete")]);
        assert_eq!(found(&compact, &delete, nothing), [Weakness::TargetCleanupPolicy]);
        assert_eq!(found(&compact, &compact, nothing), []);
        assert_eq!(found(&delete, &compact, nothing), []);
    }

    #[test]
    fn retention_is_weak_by_the_age_of_what_is_to_be_copied() {
        let weak = [Weakness::TargetRetention];
        let for_ever = [("cleanup.policy", "delete"), ("retention.ms", "-1")];
        assert_eq!(found(&ONE_DAY, &for_ever, &old(2)), weak);
        assert_eq!(found(&ONE_DAY, &[], &old(2)), weak);
        assert_eq!(found(&ONE_DAY, &for_ever, &old(1)), []);
        assert_eq!(found(&ONE_DAY, &for_ever, &Oldest::Nothing), []);
        // What the source is about to delete itself.
        assert_eq!(found(&ONE_DAY, &ONE_DAY, &old(2)), []);
        // A compacted topic keeps its records whatever its retention says.
        let compacted = [("cleanup.policy", "compact"), ("retention.ms", "1")];
        assert_eq!(found(&ONE_DAY, &compacted, &old(2)), weak);
        assert_eq!(found(&compacted, &compacted, &old(2)), []);
    }

    #[test]
    fn retention_is_weak_by_the_settings_where_no_age_is_known() {
        let for_ever = [("cleanup.policy", "delete"), ("retention.ms", "-1")];
        assert_eq!(found(&ONE_DAY, &for_ever, &Oldest::Unknown), [Weakness::TargetRetention]);
        assert_eq!(found(&ONE_DAY, &ONE_DAY, &Oldest::Unknown), []);
        assert_eq!(found(&ONE_DAY, &[], &Oldest::Unknown), []);
    }

    #[test]
    fn retention_by_size_is_weak_while_there_is_something_to_copy() {
        let limited = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "1000")];
        let unlimited = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        assert_eq!(found(&limited, &unlimited, &old(0)), [Weakness::TargetRetention]);
        assert_eq!(found(&limited, &limited, &old(0)), []);
        assert_eq!(found(&limited, &unlimited, &Oldest::Nothing), []);
    }
}
