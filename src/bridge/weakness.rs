//! Settings of the target under which acknowledged data can be lost.

use crate::cluster::TopicConfigs;
use crate::config::Weakness;
use crate::types::TopicName;
use std::fmt;

/// One weakness of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weakness: Weakness,
    /// At the target.
    pub topic: TopicName,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.topic, self.weakness.meaning(), self.weakness.name())
    }
}

/// A setting that the broker does not tell counts as no weakness: it cannot be known.
pub fn findings(topic: &TopicName, target: &TopicConfigs, source: Option<&TopicConfigs>) -> Vec<Finding> {
    let number = |configs: &TopicConfigs, name: &str| configs.get(name).and_then(|it| it.parse::<i64>().ok());
    let mut weaknesses = Vec::new();
    if number(target, "min.insync.replicas").is_some_and(|it| it < 2) {
        weaknesses.push(Weakness::TargetMinInsyncReplicas);
    }
    if target.get("unclean.leader.election.enable").is_some_and(|it| it == "true") {
        weaknesses.push(Weakness::TargetUncleanLeaderElection);
    }
    if let Some(source) = source {
        let deletes = target.get("cleanup.policy").is_some_and(|it| it.contains("delete"));
        // −1 is for ever.
        let age = |configs: &TopicConfigs| number(configs, "retention.ms").map(|it| if it < 0 { i64::MAX } else { it });
        if deletes && age(target).zip(age(source)).is_some_and(|(target, source)| target < source) {
            weaknesses.push(Weakness::TargetRetention);
        }
        let largest = |configs: &TopicConfigs| number(configs, "max.message.bytes");
        if largest(target).zip(largest(source)).is_some_and(|(target, source)| target < source) {
            weaknesses.push(Weakness::TargetMaxMessageBytes);
        }
    }
    weaknesses.into_iter().map(|weakness| Finding { weakness, topic: topic.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> TopicConfigs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(target: &[(&str, &str)], source: &[(&str, &str)]) -> Vec<Weakness> {
        findings(&"t".into(), &configs(target), Some(&configs(source))).iter().map(|it| it.weakness).collect()
    }

    #[test]
    fn each_weakness_is_found_and_nothing_else() {
        assert_eq!(found(&[("min.insync.replicas", "1")], &[]), [Weakness::TargetMinInsyncReplicas]);
        assert_eq!(found(&[("min.insync.replicas", "2")], &[]), []);
        let unclean = [("unclean.leader.election.enable", "true")];
        assert_eq!(found(&unclean, &[]), [Weakness::TargetUncleanLeaderElection]);
        let day = [("cleanup.policy", "delete"), ("retention.ms", "86400000")];
        assert_eq!(found(&day, &[("retention.ms", "-1")]), [Weakness::TargetRetention]);
        assert_eq!(found(&day, &[("retention.ms", "86400000")]), []);
        assert_eq!(found(&[("cleanup.policy", "compact"), ("retention.ms", "1")], &[("retention.ms", "2")]), []);
        let small = [("max.message.bytes", "1000")];
        assert_eq!(found(&small, &[("max.message.bytes", "1001")]), [Weakness::TargetMaxMessageBytes]);
        assert_eq!(found(&small, &[]), []);
    }
}
