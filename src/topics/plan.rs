//! Which topics are copied under which names, and which lane has each of their partitions. Pure: topics in, plan out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use crate::config::{Config, Start, TopicRule, is_internal, topic_name_fault};
use crate::types::TopicName;

/// The config's `[[topics]]`, ready to be asked about a topic.
#[derive(Clone, Debug)]
pub struct TopicRules {
    rules: Vec<TopicRule>,
    /// The target's topics that the link keeps for itself, with what they are.
    own: Vec<(String, &'static str, &'static str)>,
}

/// The rule that decides about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Position of its `[[topics]]` in the config, from 0.
    pub rule: usize,
    /// The entry of `include` that matched.
    pub pattern: String,
    pub target_name: String,
    pub start: Start,
}

impl TopicRules {
    pub fn compile(config: &Config) -> Self {
        let mut own = vec![(
            config.link.ledger_topic(),
            "is the link's own ledger",
            "differs from the link's own ledger only in `.` and `_`, which Kafka refuses",
        )];
        if config.topics.iter().any(|it| it.validation.is_some()) {
            own.push((
                config.dead_letter_topic(),
                "is the link's own topic of dead letters",
                "differs from the link's own topic of dead letters only in `.` and `_`, which Kafka refuses",
            ));
        }
        Self { rules: config.topics.clone(), own }
    }

    /// None: the topic is not copied. The first rule that includes it and does not exclude it decides.
    pub fn matches(&self, topic: &str) -> Option<Match> {
        // Whatever a pattern says: copied, these would be taken for the target's own state.
        if is_internal(topic) || self.own.iter().any(|it| it.0 == topic) {
            return None;
        }
        self.rules.iter().enumerate().find_map(|(rule, entry)| {
            let pattern = entry.include.iter().find(|pattern| pattern.matches(topic))?;
            if entry.exclude.iter().any(|pattern| pattern.matches(topic)) {
                return None;
            }
            let target_name = entry.rename.target_name(topic);
            Some(Match { rule, pattern: pattern.as_str().to_owned(), target_name, start: entry.start })
        })
    }
}

/// One topic that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEntry {
    pub source: TopicName,
    pub target: TopicName,
    pub partitions: i32,
    pub rule: usize,
    pub pattern: String,
    pub start: Start,
}

/// A pattern that no topic of the source matches: a typing mistake, or a topic that is still to come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmatched {
    pub rule: usize,
    pub pattern: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By the source's name.
    pub entries: BTreeMap<TopicName, PlanEntry>,
    pub unmatched: Vec<Unmatched>,
}

/// Why a topic of the source cannot be copied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error(
        "source topics {first} and {second} would both be written to {target}, and topics are not merged: give one of them \
         another name by `rename`, or exclude it ([[topics]] number {} and {})", first_rule + 1, second_rule + 1
    )]
    SameTarget { target: TopicName, first: TopicName, first_rule: usize, second: TopicName, second_rule: usize },
    #[error(
        "source topics {first} and {second} would be written to {first_target} and {second_target}, which Kafka takes for the same \
         name (`.` and `_` are equal in its metrics): change `rename` in [[topics]] number {} or {}", first_rule + 1, second_rule + 1
    )]
    Collision {
        first: TopicName,
        first_target: TopicName,
        first_rule: usize,
        second: TopicName,
        second_target: TopicName,
        second_rule: usize,
    },
    #[error("source topic {topic} cannot be written to {target:?}: the name {fault}; change `rename` in [[topics]] number {}", rule + 1)]
    IllegalName { topic: TopicName, target: String, fault: &'static str, rule: usize },
}

impl PlanError {
    /// The source topic that is left out because of it (of two, the later by name or by time).
    pub fn topic(&self) -> &TopicName {
        match self {
            Self::SameTarget { second, .. } | Self::Collision { second, .. } => second,
            Self::IllegalName { topic, .. } => topic,
        }
    }
}

/// Everything that stands against a plan, told at once.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PlanErrors(pub Vec<PlanError>);

impl Plan {
    /// The plan for `topics` (name and number of partitions at the source); strict, as `run` and `check` begin with it.
    pub fn build(rules: &TopicRules, topics: &BTreeMap<TopicName, i32>) -> Result<Self, PlanErrors> {
        let (plan, refused) = Self::default().follow(rules, topics);
        if refused.is_empty() { Ok(plan) } else { Err(PlanErrors(refused)) }
    }

    /// The plan after the source's topics have changed. What this plan copies already keeps its name; a new topic that stands
    /// against it is refused alone, because a topic that somebody creates must not stop the others. A topic that is gone leaves.
    pub fn follow(&self, rules: &TopicRules, topics: &BTreeMap<TopicName, i32>) -> (Self, Vec<PlanError>) {
        let mut plan = Self::default();
        let mut refused = Vec::new();
        // By the name in Kafka's metrics (`Topic.unifyCollisionChars`): brokers refuse to create the second of such a pair.
        let mut taken: BTreeMap<String, TopicName> = BTreeMap::new();
        let mut matched: BTreeSet<(usize, &str)> = BTreeSet::new();
        let (old, new): (Vec<_>, Vec<_>) = topics.iter().partition(|(topic, _)| self.entries.contains_key(*topic));
        for (topic, partitions) in old.into_iter().chain(new) {
            let Some(found) = rules.matches(topic) else { continue };
            if let Some(pattern) = rules.rules[found.rule].include.iter().find(|p| p.as_str() == found.pattern) {
                matched.insert((found.rule, pattern.as_str()));
            }
            let target: TopicName = Arc::from(found.target_name.as_str());
            let unified = found.target_name.replace('.', "_");
            let other = taken.get(&unified).and_then(|other| plan.entries.get(other));
            match (name_fault(rules, &found.target_name), other) {
                (Some(fault), _) => refused.push(PlanError::IllegalName {
                    topic: topic.clone(),
                    target: found.target_name,
                    fault,
                    rule: found.rule,
                }),
                (None, Some(other)) if other.target == target => refused.push(PlanError::SameTarget {
                    target,
                    first: other.source.clone(),
                    first_rule: other.rule,
                    second: topic.clone(),
                    second_rule: found.rule,
                }),
                (None, Some(other)) => refused.push(PlanError::Collision {
                    first: other.source.clone(),
                    first_target: other.target.clone(),
                    first_rule: other.rule,
                    second: topic.clone(),
                    second_target: target,
                    second_rule: found.rule,
                }),
                (None, None) => {
                    taken.insert(unified, topic.clone());
                    let Match { rule, pattern, start, .. } = found;
                    let partitions = *partitions;
                    let entry = PlanEntry { source: topic.clone(), target, partitions, rule, pattern, start };
                    plan.entries.insert(topic.clone(), entry);
                }
            }
        }
        for (rule, entry) in rules.rules.iter().enumerate() {
            for pattern in entry.include.iter().filter(|pattern| !matched.contains(&(rule, pattern.as_str()))) {
                // Two patterns may match the same topics; the second is then no mistake.
                if !topics.keys().any(|topic| !is_internal(topic) && pattern.matches(topic)) {
                    plan.unmatched.push(Unmatched { rule, pattern: pattern.as_str().to_owned() });
                }
            }
        }
        (plan, refused)
    }
}

fn name_fault(rules: &TopicRules, target: &str) -> Option<&'static str> {
    let unified = target.replace('.', "_");
    let own = rules.own.iter().find(|it| it.0.replace('.', "_") == unified);
    if let Some((name, is, is_nearly)) = own {
        Some(if name == target { is } else { is_nearly })
    } else if is_internal(target) {
        Some("begins with `__`, as Kafka's own topics do")
    } else {
        topic_name_fault(target)
    }
}

/// The lane that copies a partition of a source topic.
///
/// Never to be changed: a partition's positions are in the ledger partition of its lane, and another formula would look for them elsewhere.
pub fn lane(topic: &str, partition: i32, lanes: NonZeroU32) -> u32 {
    // FNV-1a, 64 bits (RFC 9923): `std`'s hasher is seeded per process, and may change with the compiler.
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = topic.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let lane = hash.wrapping_add(u64::from(partition.unsigned_abs())) % u64::from(lanes.get());
    // Smaller than `lanes`, so it fits; the conversion has no lossy path.
    u32::try_from(lane).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rules(topics: &str) -> TopicRules {
        let text = format!(
            "link = \"l\"\n[source]\nbootstrap_servers = [\"s:1\"]\n[target]\nbootstrap_servers = [\"t:1\"]\n{topics}"
        );
        let config = Config::parse(Path::new("bridge.toml"), &text, &|_| None);
        TopicRules::compile(&config.unwrap_or_else(|error| panic!("{error}")))
    }

    fn topics(names: &[&str]) -> BTreeMap<TopicName, i32> {
        names.iter().map(|name| (TopicName::from(*name), 3)).collect()
    }

    fn targets(plan: &Plan) -> Vec<(&str, &str)> {
        plan.entries.values().map(|entry| (&*entry.source, &*entry.target)).collect()
    }

    #[test]
    fn the_first_rule_that_does_not_exclude_decides() {
        let rules = rules(
            "[[topics]]\ninclude = [\"orders.*\", \"payments\"]\nexclude = [\"*.internal\"]\nrename = \"dmz.{topic}\"\n\
             [[topics]]\ninclude = [\"regex:.*internal\"]\nstart = \"latest\"\n",
        );
        let found = rules.matches("orders.eu").expect("included");
        assert_eq!((found.rule, found.pattern.as_str(), found.target_name.as_str()), (0, "orders.*", "dmz.orders.eu"));
        let found = rules.matches("orders.internal").expect("by the second rule");
        assert_eq!((found.rule, found.target_name.as_str(), found.start), (1, "orders.internal", Start::Latest));
        assert_eq!(rules.matches("stock"), None);
    }

    #[test]
    fn kafkas_own_topics_and_the_ledger_are_never_copied() {
        let rules = rules("[[topics]]\ninclude = [\"*\", \"regex:__.*\"]\n");
        let plan = Plan::build(&rules, &topics(&["__consumer_offsets", "a", "l.ledger"])).expect("a plan");
        assert_eq!(targets(&plan), [("a", "a")]);
        assert_eq!(plan.unmatched, [Unmatched { rule: 0, pattern: "regex:__.*".to_owned() }]);
    }

    #[test]
    fn dead_letters_are_the_links_own_where_it_checks() {
        let names = ["a", "l.dead-letters"];
        let unchecked = rules("[[topics]]\ninclude = [\"*\"]\n");
        let plan = Plan::build(&unchecked, &topics(&names)).expect("a plan");
        assert_eq!(targets(&plan), names.map(|it| (it, it)));
        let checked =
            rules("[[topics]]\ninclude = [\"*\"]\nvalue_schema = \"s.avsc\"\nrename = { a = \"l.dead-letters\" }\n");
        let error = Plan::build(&checked, &topics(&names)).expect_err("its own").to_string();
        assert!(error.contains("is the link's own topic of dead letters"), "{error}");
        let plan = Plan::build(&checked, &topics(&["b", "l.dead-letters"])).expect("a plan");
        assert_eq!(targets(&plan), [("b", "b")]);
    }

    #[test]
    fn topics_are_not_merged() {
        let rules = rules("[[topics]]\ninclude = [\"a\"]\nrename = \"b\"\n[[topics]]\ninclude = [\"*\"]\n");
        let error = Plan::build(&rules, &topics(&["a", "b", "c"])).expect_err("two for b").to_string();
        assert!(error.contains("source topics a and b would both be written to b"), "{error}");
        assert!(error.contains("[[topics]] number 1 and 2"), "{error}");
    }

    #[test]
    fn names_that_kafka_or_the_ledger_refuse() {
        let map = rules(
            "[[topics]]\ninclude = [\"*\"]\nrename = { a = \"x.y\", b = \"x_y\", c = \"l.ledger\", d = \"l_ledger\" }\n",
        );
        let errors = Plan::build(&map, &topics(&["a", "b", "c", "d"])).expect_err("refused").0;
        assert!(
            matches!(&errors[0], PlanError::Collision { first, second, .. } if (&**first, &**second) == ("a", "b"))
        );
        assert!(matches!(&errors[1], PlanError::IllegalName { fault: "is the link's own ledger", .. }));
        assert!(errors[2].to_string().contains("only in `.` and `_`"), "{}", errors[2]);
        let long = rules("[[topics]]\ninclude = [\"*\"]\nrename = \"dmz.{topic}\"\n");
        let (fits, too_long) = ("a".repeat(245), "a".repeat(246));
        assert!(Plan::build(&long, &topics(&[&fits])).is_ok());
        assert!(Plan::build(&long, &topics(&[&too_long])).is_err());
    }

    #[test]
    fn a_new_topic_never_takes_the_name_of_one_that_is_being_copied() {
        let rules = rules("[[topics]]\ninclude = [\"*\"]\nrename = { a = \"b\" }\n");
        let plan = Plan::build(&rules, &topics(&["b", "gone"])).expect("a plan");
        let (plan, refused) = plan.follow(&rules, &topics(&["a", "b", "c"]));
        assert_eq!(targets(&plan), [("b", "b"), ("c", "c")]);
        assert_eq!(refused.iter().map(|error| &**error.topic()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn patterns_without_a_topic_are_named() {
        let rules = rules("[[topics]]\ninclude = [\"orders.*\", \"paymets\", \"orders.eu\"]\n");
        let plan = Plan::build(&rules, &topics(&["orders.eu", "payments"])).expect("a plan");
        assert_eq!(plan.unmatched, [Unmatched { rule: 0, pattern: "paymets".to_owned() }]);
    }

    /// A change here orphans the positions of every link there is.
    #[test]
    fn lanes_are_golden() {
        let lanes = NonZeroU32::new(16).expect("16");
        let all: Vec<u32> =
            [("orders", 0), ("orders", 1), ("orders", 15), ("orders", 16), ("", 0), ("payments.eu", 2_147_483_647)]
                .map(|(topic, partition)| lane(topic, partition, lanes))
                .to_vec();
        assert_eq!(all, GOLDEN);
    }

    const GOLDEN: [u32; 6] = [12, 13, 11, 12, 5, 5];

    #[test]
    fn the_hash_is_fnv_1a() {
        // The test vector of the draft: FNV-1a 64 of "foobar" is 0x85944171f73967e8.
        let lanes = NonZeroU32::new(1 << 31).expect("not zero");
        assert_eq!(lane("foobar", 0, lanes), (0x8594_4171_f739_67e8_u64 % (1 << 31)) as u32);
    }

    proptest::proptest! {
        #[test]
        fn neighbours_are_on_neighbouring_lanes(topic in "[a-z._-]{0,20}", partition in 0_i32..i32::MAX - 1, lanes in 1_u32..=1_024) {
            let lanes = NonZeroU32::new(lanes).expect("not zero");
            let here = lane(&topic, partition, lanes);
            proptest::prop_assert!(here < lanes.get());
            let next = lane(&topic, partition + 1, lanes);
            proptest::prop_assert!(next == (here + 1) % lanes.get());
        }

        #[test]
        fn no_topic_is_planned_twice(names in proptest::collection::btree_set("[a-c._]{1,3}", 0..12)) {
            let rules = rules("[[topics]]\ninclude = [\"a*\"]\nrename = \"b{topic}\"\n[[topics]]\ninclude = [\"*\"]\n");
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (plan, _) = Plan::default().follow(&rules, &topics(&names));
            let targets: BTreeSet<String> = plan.entries.values().map(|entry| entry.target.replace('.', "_")).collect();
            proptest::prop_assert_eq!(targets.len(), plan.entries.len());
            let (again, _) = plan.follow(&rules, &topics(&names));
            proptest::prop_assert_eq!(&again.entries, &plan.entries);
        }
    }
}
