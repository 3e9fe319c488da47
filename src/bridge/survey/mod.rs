//! What a run will find, and what stands against it. `run` begins with it, before it changes anything; `check` shows it.

mod prospect;
mod rights;

pub use prospect::Prospect;
pub(super) use rights::principal;
pub use rights::{MissingRights, ResourceKind, Right};

use super::ends::Ends;
use super::error::RunError;
use super::planner::topics_of;
use super::weakness::{Finding, findings};
use crate::cluster::{ClusterError, Metadata, NewTopic, TopicConfigs};
use crate::config::{Config, Pattern, Sharing, Weakness};
use crate::dead_letters;
use crate::ledger;
use crate::topics::TopicSync;
use crate::topics::plan::{Plan, TopicRules};
use crate::types::TopicName;
use std::collections::BTreeSet;

pub struct Survey {
    pub plan: Plan,
    pub prospects: Vec<Prospect>,
    pub ledger: OwnTopic,
    /// None: no topic is checked.
    pub dead_letters: Option<OwnTopic>,
    /// Why this bridge cannot work all lanes by itself.
    pub shared: Option<RunError>,
    pub missing: Vec<Right>,
    /// Each grants the right of the same place.
    pub commands: Vec<String>,
    /// Those that are accepted too.
    pub findings: Vec<Finding>,
}

/// A topic that the bridge makes for itself.
pub struct OwnTopic {
    pub name: TopicName,
    /// None: it exists.
    pub create: Option<NewTopic>,
    pub configs: TopicConfigs,
    pub replication_factor: Option<i16>,
    /// Why it cannot be used, or not be created.
    pub fault: Option<RunError>,
}

impl Survey {
    pub async fn take(
        config: &Config,
        ends: &Ends,
        sync: &TopicSync,
        source: &Metadata,
        target: &Metadata,
    ) -> Result<Self, RunError> {
        let plan = Plan::build(&TopicRules::compile(config), &topics_of(source))?;
        if source.cluster_id == target.cluster_id && plan.entries.values().any(|it| it.source == it.target) {
            return Err(RunError::SameCluster(source.cluster_id.clone()));
        }
        let prospects = prospect::foresee(ends, sync, &plan, source, target).await?;
        let (lanes, factor) = (config.delivery.lanes, config.target.replication_factor);
        let topic = ledger::new_topic(&config.link.ledger_topic(), lanes, factor);
        let name = topic.name.clone();
        let fault = |found, configs: &TopicConfigs| ledger::fault(&name, lanes, found, configs).map(RunError::Ledger);
        let ledger = OwnTopic::foresee(ends, target, topic, fault).await?;
        let mut dead_letters = None;
        if !ends.checks.is_empty() {
            let topic = dead_letters::new_topic(&config.dead_letter_topic(), lanes, factor);
            let topic_name = topic.name.clone();
            let fault = |_, configs: &TopicConfigs| {
                let fault = dead_letters::fault(configs)?;
                Some(RunError::DeadLetterTopic { topic: topic_name, fault })
            };
            dead_letters = Some(OwnTopic::foresee(ends, target, topic, fault).await?);
        }
        let hidden = hidden(config, source);
        let missing = rights::missing(config, ends, &prospects, &hidden, [Some(&ledger), dead_letters.as_ref()]);
        let (missing, shared) = tokio::join!(missing, shared(config, ends, &ledger));
        let missing = missing?;
        let commands = rights::commands(config, ends, &missing);
        let mut weak: Vec<_> = prospects
            .iter()
            .flat_map(|it| findings(&it.entry.target, &it.configs, it.source.as_ref(), &it.oldest))
            .collect();
        for own in [Some(&ledger), dead_letters.as_ref()].into_iter().flatten() {
            weak.extend(findings(&own.name, &own.configs, None, &super::age::Oldest::Nothing));
        }
        Ok(Self { plan, prospects, ledger, dead_letters, shared, missing, commands, findings: weak })
    }

    /// Why `run` refuses to begin, the first reason first.
    pub fn refusal(&self, accepted: &BTreeSet<Weakness>) -> Option<RunError> {
        let lacking = self.missing.iter().zip(&self.commands).filter(|(right, _)| right.is_required);
        let (rights, commands): (Vec<_>, Vec<_>) = lacking.map(|(right, it)| (right.clone(), it.clone())).unzip();
        if !rights.is_empty() {
            return Some(RunError::Rights(MissingRights { rights, commands }));
        }
        let own = [Some(&self.ledger), self.dead_letters.as_ref()].into_iter().flatten();
        if let Some(fault) = own.filter_map(|it| it.fault.as_ref()).next() {
            return Some(fault.clone());
        }
        if let Some(shared) = &self.shared {
            return Some(shared.clone());
        }
        if let Some(error) = self.prospects.iter().find_map(|it| it.refused.clone()) {
            return Some(error.into());
        }
        let weak: Vec<_> = self.findings.iter().filter(|it| !accepted.contains(&it.weakness)).cloned().collect();
        (!weak.is_empty()).then_some(RunError::Weak(weak))
    }
}

/// One bridge that works all lanes and a group that shares them would fence each other in every lane.
async fn shared(config: &Config, ends: &Ends, ledger: &OwnTopic) -> Option<RunError> {
    // Whoever joins the group has made the ledger before. Where there is none, to look for the group's coordinator would
    // make a fresh target create `__consumer_offsets`.
    if config.delivery.sharing != Sharing::Off || ledger.create.is_some() {
        return None;
    }
    let asked = ends.target.group_members(config.link.group_id()).await;
    let members = asked.inspect_err(|error| tracing::debug!(%error, "whether a group shares the link is not known"));
    let members = members.ok().filter(|it| !it.is_empty())?;
    Some(RunError::Shared { link: config.link.as_str().to_owned(), members })
}

fn is_authorization(error: &RunError) -> bool {
    matches!(error, RunError::Cluster(error) if error.is_authorization())
}

/// Names that the config spells out and the source does not show: they do not exist, or DESCRIBE is missing.
fn hidden(config: &Config, source: &Metadata) -> Vec<TopicName> {
    let patterns = config.topics.iter().flat_map(|it| &it.include).filter(|it| it.is_literal());
    let names: BTreeSet<TopicName> = patterns.map(Pattern::as_str).map(TopicName::from).collect();
    names.into_iter().filter(|name| !source.topics.contains_key(name)).collect()
}

impl OwnTopic {
    async fn foresee(
        ends: &Ends,
        target: &Metadata,
        topic: NewTopic,
        fault: impl FnOnce(usize, &TopicConfigs) -> Option<RunError>,
    ) -> Result<Self, ClusterError> {
        let name = topic.name.clone();
        let of_topic = target.topics.get(&name).map(|it| &it.partitions).filter(|it| !it.is_empty());
        if let Some(partitions) = of_topic {
            let replicas = partitions.values().next().and_then(|it| i16::try_from(it.replicas).ok());
            let (configs, unread) = match ends.target.topic_configs(&name).await {
                Ok(configs) => (configs, None),
                Err(error) => (TopicConfigs::new(), Some(RunError::Cluster(error))),
            };
            let fault = fault(partitions.len(), &configs);
            return Ok(Self { name, create: None, configs, replication_factor: replicas, fault: unread.or(fault) });
        }
        let created = ends.target.create_topics(std::slice::from_ref(&topic), true).await?;
        Ok(match created.into_values().next() {
            Some(Err(error)) => Self {
                name,
                create: Some(topic),
                configs: TopicConfigs::new(),
                replication_factor: None,
                fault: Some(error.into()),
            },
            would_be => {
                let would_be = would_be.and_then(Result::ok).unwrap_or_default();
                let configs = would_be.configs.unwrap_or_default();
                let replication_factor = would_be.replication_factor.or(topic.replication_factor);
                Self { name, create: Some(topic), configs, replication_factor, fault: None }
            }
        })
    }

    /// Whether everything but a right to create it is there.
    fn lacks_create(&self) -> bool {
        self.create.is_some() && self.fault.as_ref().is_some_and(is_authorization)
    }
}
