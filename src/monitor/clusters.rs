//! Both clusters as they are now: brokers, topics and where their settings differ, who reads them, and the bridges of the link.
//! Asked for when somebody looks, and kept for a moment.

use super::readers::{self, Readers, Wanted};
use super::state::now_ms;
use crate::bridge::Ends;
use crate::cluster::{Cluster, ClusterError, Metadata, TopicConfigs, TopicMetadata, Use};
use crate::config::{Config, Sharing};
use crate::group::protocol::assigned_lanes;
use crate::topics::plan::TopicRules;
use crate::types::TopicName;
use crate::wire::{Connection, release};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// However many look.
const KEPT: Duration = Duration::from_secs(5);
/// For everything together: whoever looks would rather know that something does not answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// A page shows no more, and each costs both clusters an answer.
const TOPICS_MAX: usize = 1_000;
/// Each is dialled.
const BROKERS_MAX: usize = 200;

#[derive(Serialize)]
struct Report {
    computed_ms: u64,
    source: End,
    target: End,
    /// By the source's name; behind them what the link keeps at the target for itself.
    topics: Vec<Topic>,
    topics_left_out: usize,
    group: Group,
}

#[derive(Default, Serialize)]
struct End {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: Vec<Broker>,
    /// Consumer groups that have committed offsets of the link's topics, besides the link's own.
    groups: Readers,
    /// Why nothing is known of it.
    error: Option<String>,
}

#[derive(Serialize)]
struct Broker {
    node: i32,
    address: String,
    /// A guess, by the versions of its APIs.
    kafka: Option<&'static str>,
    /// Partitions of the link's topics.
    leads: usize,
    error: Option<String>,
}

#[derive(Serialize)]
struct Topic {
    /// `copied`, `ledger`, `dead_letters`.
    kind: &'static str,
    source_topic: Option<String>,
    target_topic: String,
    source: Vec<Partition>,
    target: Vec<Partition>,
    /// Settings that both have, with other values.
    differences: Vec<Difference>,
    /// Why they are not known.
    note: Option<String>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: usize,
    in_sync: usize,
}

#[derive(Serialize)]
struct Difference {
    name: String,
    source: String,
    target: String,
}

#[derive(Serialize)]
struct Group {
    name: String,
    is_shared: bool,
    members: Vec<Member>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Member {
    instance_id: Option<String>,
    member_id: String,
    client_id: String,
    host: String,
    lanes: Vec<u32>,
}

pub(super) struct Clusters {
    config: Arc<Config>,
    ends: Ends,
    kept: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Clusters {
    pub(super) fn new(config: Arc<Config>, ends: Ends) -> Self {
        Self { config, ends, kept: Mutex::default() }
    }

    /// As JSON. Whoever comes while it is made waits for the same one.
    pub(super) async fn report(&self) -> Arc<str> {
        let mut kept = self.kept.lock().await;
        if let Some((_, report)) = kept.as_ref().filter(|it| it.0.elapsed() < KEPT) {
            return Arc::clone(report);
        }
        let report = match tokio::time::timeout(DEADLINE, self.look()).await {
            Ok(report) => serde_json::to_string(&report).unwrap_or_default(),
            Err(_) => {
                let what = format!("the clusters did not answer within {} s", DEADLINE.as_secs());
                serde_json::json!({ "error": what }).to_string()
            }
        };
        let report: Arc<str> = report.into();
        *kept = Some((Instant::now(), Arc::clone(&report)));
        report
    }

    async fn look(&self) -> Report {
        let Ends { source, target, .. } = &self.ends;
        let (at_source, at_target) = tokio::join!(source.metadata(None), target.metadata(None));
        let names = names(&self.config, &at_source);
        let left_out = names.len().saturating_sub(TOPICS_MAX);
        let names: Vec<_> = names.into_iter().take(TOPICS_MAX).collect();
        let of_source: Vec<TopicName> = names.iter().map(|it| it.0.clone()).collect();
        let of_target: Vec<TopicName> = names.iter().map(|it| it.1.clone()).collect();
        let letters = TopicName::from(self.config.dead_letter_topic().as_str());
        // Without the source's answer nobody knows which topics are the link's: of no group it can be said that it reads none.
        let wanted = |topics: &[TopicName], more: Option<TopicName>, except: &str| {
            at_source.is_ok().then(|| Wanted {
                topics: Arc::new(topics.iter().cloned().chain(more).collect()),
                except: except.to_owned(),
            })
        };
        let own_group = self.config.link.group_id();
        let (source_end, target_end, source_configs, target_configs, group) = tokio::join!(
            end(source, &at_source, &of_source, wanted(&of_source, None, "")),
            end(target, &at_target, &of_target, wanted(&of_target, Some(letters), own_group)),
            source.topics_configs(&of_source),
            target.topics_configs(&of_target),
            self.group(),
        );
        let partitions = |metadata: &Result<Metadata, ClusterError>, topic: &str| {
            metadata.as_ref().ok().and_then(|it| it.topics.get(topic)).map(partitions).unwrap_or_default()
        };
        let copied = names.iter().map(|(from, to)| {
            let (differences, note) = differences(of(&source_configs, from), of(&target_configs, to));
            Topic {
                kind: "copied",
                source_topic: Some(from.to_string()),
                target_topic: to.to_string(),
                source: partitions(&at_source, from),
                target: partitions(&at_target, to),
                differences,
                note,
            }
        });
        let own = [("ledger", self.config.link.ledger_topic()), ("dead_letters", self.config.dead_letter_topic())];
        let own = own.into_iter().map(|(kind, name)| Topic {
            kind,
            source_topic: None,
            source: Vec::new(),
            target: partitions(&at_target, &name),
            target_topic: name,
            differences: Vec::new(),
            note: None,
        });
        Report {
            computed_ms: now_ms(),
            source: source_end,
            target: target_end,
            // A link that checks nothing has no topic of dead letters.
            topics: copied.chain(own.filter(|it| !it.target.is_empty())).collect(),
            topics_left_out: left_out,
            group,
        }
    }

    async fn group(&self) -> Group {
        let (name, ledger) = (self.config.link.as_str(), self.config.link.ledger_topic());
        let found = self.ends.target.group_members(name).await;
        let error = found.as_ref().err().map(ToString::to_string);
        let members = found.unwrap_or_default().into_iter().map(|it| Member {
            lanes: assigned_lanes(&ledger, &it.assignment).into_iter().collect(),
            instance_id: it.instance_id,
            member_id: it.member_id,
            client_id: it.client_id,
            host: it.host,
        });
        let is_shared = self.config.delivery.sharing == Sharing::Group;
        Group { name: name.to_owned(), is_shared, members: members.collect(), error }
    }
}

/// The topics that are copied, with their names at the target.
pub(super) fn copied(config: &Config, source: &Metadata) -> BTreeMap<TopicName, TopicName> {
    let rules = TopicRules::compile(config);
    let topics = source.topics.keys();
    topics.filter_map(|it| Some((it.clone(), TopicName::from(rules.matches(it)?.target_name.as_str())))).collect()
}

fn names(config: &Config, source: &Result<Metadata, ClusterError>) -> BTreeMap<TopicName, TopicName> {
    source.as_ref().map(|it| copied(config, it)).unwrap_or_default()
}

async fn end(
    cluster: &Cluster,
    metadata: &Result<Metadata, ClusterError>,
    topics: &[TopicName],
    wanted: Option<Wanted>,
) -> End {
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => return End { error: Some(error.to_string()), ..End::default() },
    };
    let mut leads: BTreeMap<i32, usize> = BTreeMap::new();
    let of_topics = topics.iter().filter_map(|it| metadata.topics.get(it)).flat_map(|it| it.partitions.values());
    of_topics.filter_map(|it| it.leader).for_each(|it| *leads.entry(it).or_default() += 1);
    let dialled = dialled(cluster, metadata).await;
    let reached: Vec<_> = dialled.values().filter_map(|it| it.as_ref().ok().cloned()).collect();
    let groups = match wanted {
        Some(wanted) => readers::look(cluster, metadata, &reached, wanted).await,
        None => Readers::unknown("the link's topics are not known: the source does not answer".to_owned()),
    };
    reached.iter().for_each(Connection::close);
    let row = |(node, reached): (i32, Result<Connection, ClusterError>)| Broker {
        node,
        address: metadata.brokers.get(&node).map(|(host, port)| format!("{host}:{port}")).unwrap_or_default(),
        kafka: reached.as_ref().ok().map(|it| release(it.versions()).unwrap_or("before 2.4")),
        leads: leads.get(&node).copied().unwrap_or_default(),
        error: reached.err().map(|it| it.to_string()),
    };
    let brokers = dialled.into_iter().map(row).collect();
    let cluster_id = Some(metadata.cluster_id.clone());
    End { cluster_id, controller: metadata.controller, brokers, groups, error: None }
}

async fn dialled(cluster: &Cluster, metadata: &Metadata) -> BTreeMap<i32, Result<Connection, ClusterError>> {
    let mut dials = JoinSet::new();
    for node in metadata.brokers.keys().take(BROKERS_MAX) {
        let (cluster, node) = (cluster.clone(), *node);
        dials.spawn(async move { (node, cluster.dial(node, Use::Control).await) });
    }
    dials.join_all().await.into_iter().collect()
}

fn partitions(topic: &TopicMetadata) -> Vec<Partition> {
    let row = |(number, it): (&i32, &crate::cluster::PartitionMetadata)| Partition {
        partition: *number,
        leader: it.leader,
        leader_epoch: it.leader_epoch,
        replicas: it.replicas,
        in_sync: it.in_sync,
    };
    topic.partitions.iter().map(row).collect()
}

type Configs = Result<BTreeMap<TopicName, Result<TopicConfigs, ClusterError>>, ClusterError>;

fn of<'a>(all: &'a Configs, topic: &TopicName) -> Result<&'a TopicConfigs, String> {
    match all.as_ref().map(|it| it.get(topic)) {
        Ok(Some(Ok(configs))) => Ok(configs),
        Ok(Some(Err(error))) | Err(error) => Err(error.to_string()),
        Ok(None) => Err("the broker says nothing of it".to_owned()),
    }
}

/// A setting that one release alone knows differs in nothing that anybody could change.
fn differences(
    source: Result<&TopicConfigs, String>,
    target: Result<&TopicConfigs, String>,
) -> (Vec<Difference>, Option<String>) {
    let (source, target) = match (source, target) {
        (Ok(source), Ok(target)) => (source, target),
        (Err(error), _) => return (Vec::new(), Some(format!("the source's settings are not known: {error}"))),
        (_, Err(error)) => return (Vec::new(), Some(format!("the target's settings are not known: {error}"))),
    };
    let both = source.iter().filter_map(|(name, value)| Some((name, value, target.get(name)?)));
    let differ = both.filter(|(_, source, target)| source != target).map(|(name, source, target)| Difference {
        name: name.clone(),
        source: source.clone(),
        target: target.clone(),
    });
    (differ.collect(), None)
}
