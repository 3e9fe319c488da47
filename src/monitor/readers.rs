//! Consumer groups that read the link's topics at one end, and how far each is behind.
//!
//! No coordinator is looked up: each broker lists the groups that it coordinates, and is asked for these.

use crate::cluster::{At, Cluster, ClusterError, ListedGroup, Metadata, Operation};
use crate::types::{TopicName, TopicPartition};
use crate::wire::Connection;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Each costs its coordinator two answers.
const GROUPS_MAX: usize = 200;
/// Of one group, the farthest behind.
const PARTITIONS_MAX: usize = 100;
/// A page that is full of the same trouble says no more.
const NOTES_MAX: usize = 8;
const NAMES_MAX: usize = 8;
/// The clusters' own part of the report waits no longer for it.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Serialize)]
pub(super) struct Readers {
    /// By name.
    shown: Vec<Reader>,
    /// Listed, and not asked for their offsets.
    left_out: usize,
    /// False: without DESCRIBE on the cluster those are hidden on which DESCRIBE was not granted. None: it does not tell.
    sees_all: Option<bool>,
    /// What is not known, and why.
    notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reader {
    name: String,
    /// As Kafka spells it; None: the broker does not tell.
    state: Option<String>,
    members: Option<usize>,
    /// Of all topics below.
    lag: i64,
    topics: Vec<Topic>,
    /// They count in the sums.
    partitions_left_out: usize,
    /// Why the members are not known.
    note: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Topic {
    topic: String,
    lag: i64,
    partitions: Vec<Partition>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Partition {
    partition: i32,
    committed: i64,
    /// The last stable offset: where a `read_committed` reader stands that has everything. None: it is not known.
    end: Option<i64>,
    lag: Option<i64>,
}

/// A group that has committed offsets of these topics.
struct Found {
    group: ListedGroup,
    committed: BTreeMap<TopicPartition, i64>,
    members: Result<usize, ClusterError>,
}

/// Which topics, and the group that does not count: the link's own.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) topics: Arc<BTreeSet<TopicName>>,
    pub(super) except: String,
}

/// `brokers`: connections to those that can be reached.
pub(super) async fn look(cluster: &Cluster, metadata: &Metadata, brokers: &[Connection], wanted: Wanted) -> Readers {
    let looked = tokio::time::timeout(DEADLINE, looked(cluster, metadata, brokers, wanted)).await;
    looked.unwrap_or_else(|_| Readers::unknown(format!("the groups were not told within {} s", DEADLINE.as_secs())))
}

impl Readers {
    pub(super) fn unknown(why: String) -> Self {
        Self { notes: vec![why], ..Self::default() }
    }
}

async fn looked(cluster: &Cluster, metadata: &Metadata, brokers: &[Connection], wanted: Wanted) -> Readers {
    let operations = cluster.cluster_operations().await.ok().flatten();
    let sees_all = operations.map(|it| it.has(Operation::Describe));
    let mut troubles = Vec::new();
    let mut listing = JoinSet::new();
    for broker in brokers {
        let (cluster, broker) = (cluster.clone(), broker.clone());
        listing.spawn(async move { (cluster.list_groups(&broker).await, broker) });
    }
    let mut listed: BTreeMap<String, (ListedGroup, Connection)> = BTreeMap::new();
    for (groups, broker) in listing.join_all().await {
        match groups {
            Ok(groups) => listed.extend(groups.into_iter().map(|it| (it.name.clone(), (it, broker.clone())))),
            Err(error) => troubles.push((None, error)),
        }
    }
    listed.remove(&wanted.except);
    let left_out = listed.len().saturating_sub(GROUPS_MAX);
    let mut asking = JoinSet::new();
    for (group, coordinator) in listed.into_values().take(GROUPS_MAX) {
        let (cluster, topics) = (cluster.clone(), Arc::clone(&wanted.topics));
        asking.spawn(async move { (group.name.clone(), ask(&cluster, &coordinator, group, &topics).await) });
    }
    let mut found = Vec::new();
    for (name, answer) in asking.join_all().await {
        match answer {
            Ok(answer) => found.extend(answer),
            Err(error) => troubles.push((Some(name), error)),
        }
    }
    found.sort_by(|one, other| one.group.name.cmp(&other.group.name));
    let ends = ends(cluster, metadata, &found).await;
    let shown = found.into_iter().map(|it| reader(it, &ends)).collect();
    Readers { shown, left_out, sees_all, notes: notes(troubles) }
}

/// None: it has committed nothing of these topics.
async fn ask(
    cluster: &Cluster,
    coordinator: &Connection,
    group: ListedGroup,
    topics: &BTreeSet<TopicName>,
) -> Result<Option<Found>, ClusterError> {
    let mut committed = cluster.offsets_of_group(coordinator, &group.name).await?;
    committed.retain(|partition, _| topics.contains(&partition.topic));
    if committed.is_empty() {
        return Ok(None);
    }
    let members = cluster.count_members(coordinator, &group).await;
    Ok(Some(Found { group, committed, members }))
}

async fn ends(cluster: &Cluster, metadata: &Metadata, found: &[Found]) -> BTreeMap<TopicPartition, i64> {
    let partitions: BTreeSet<_> = found.iter().flat_map(|it| it.committed.keys()).cloned().collect();
    let asked: Vec<_> = partitions.into_iter().map(|it| (it, At::LastStable)).collect();
    let listed = cluster.offsets(metadata, &asked).await.into_iter();
    listed.filter_map(|(partition, it)| Some((partition, it.ok()?.offset))).collect()
}

fn reader(found: Found, ends: &BTreeMap<TopicPartition, i64>) -> Reader {
    let Found { group, committed, members } = found;
    // One that reads uncommitted records may be beyond the end that counts here.
    let lag = |partition: &TopicPartition, committed: i64| ends.get(partition).map(|end| (end - committed).max(0));
    let mut sums: BTreeMap<TopicName, i64> = BTreeMap::new();
    let mut rows: Vec<_> = committed.into_iter().map(|(it, committed)| (lag(&it, committed), it, committed)).collect();
    for (lag, partition, _) in &rows {
        *sums.entry(partition.topic.clone()).or_default() += lag.unwrap_or_default();
    }
    // One whose end nobody knows comes last.
    rows.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let partitions_left_out = rows.len().saturating_sub(PARTITIONS_MAX);
    rows.truncate(PARTITIONS_MAX);
    rows.sort_by(|one, other| one.1.cmp(&other.1));
    let topics = sums.into_iter().map(|(topic, lag)| {
        let partitions = rows.iter().filter(|it| it.1.topic == topic).map(|(lag, it, committed)| Partition {
            partition: it.partition,
            committed: *committed,
            end: ends.get(it).copied(),
            lag: *lag,
        });
        Topic { topic: topic.to_string(), lag, partitions: partitions.collect() }
    });
    let topics: Vec<_> = topics.collect();
    let note = members.as_ref().err().map(|error| format!("its members are not known: {error}"));
    Reader {
        name: group.name,
        state: group.state,
        members: members.ok(),
        lag: topics.iter().map(|it| it.lag).sum(),
        topics,
        partitions_left_out,
        note,
    }
}

/// Each with the group that it is about; None: a broker did not tell which it has.
fn notes(troubles: Vec<(Option<String>, ClusterError)>) -> Vec<String> {
    let (hidden, others): (Vec<_>, Vec<_>) =
        troubles.into_iter().partition(|(group, error)| group.is_some() && error.is_authorization());
    let mut notes: Vec<String> = others.iter().map(|(_, error)| error.to_string()).collect();
    let more = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    if more > 0 {
        notes.push(format!("and {more} more answers like these"));
    }
    if !hidden.is_empty() {
        let names: Vec<_> = hidden.iter().filter_map(|it| it.0.as_deref()).take(NAMES_MAX).collect();
        let more = hidden.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("DESCRIBE is missing on the group {}{more}: grant it to see them here", names.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_AUTHORIZATION_FAILED: i16 = 30;

    fn listed(name: &str) -> ListedGroup {
        ListedGroup { name: name.to_owned(), state: Some("Stable".to_owned()), is_consumer_type: false }
    }

    fn refused(code: i16) -> ClusterError {
        ClusterError::Answered { end: "source", api: "OffsetFetch", code }
    }

    #[test]
    fn lag_is_what_a_reader_of_committed_records_has_before_it() {
        let place = |topic: &str, number| TopicPartition::new(topic, number);
        let committed = [(place("b", 0), 40), (place("a", 1), 90), (place("a", 0), 7), (place("a", 2), 5)];
        // One stands beyond the last stable offset, and one is of a partition that nobody leads.
        let ends = BTreeMap::from([(place("a", 0), 10), (place("a", 1), 80), (place("b", 0), 41)]);
        let found = Found { group: listed("g"), committed: committed.into(), members: Err(refused(29)) };
        let Reader { lag, topics, members, note, partitions_left_out, .. } = reader(found, &ends);
        assert_eq!((lag, members, partitions_left_out), (4, None, 0));
        let sums: Vec<_> = topics.iter().map(|it| (it.topic.as_str(), it.lag, it.partitions.len())).collect();
        assert_eq!(sums, [("a", 3, 3), ("b", 1, 1)]);
        let row = |number: usize| (topics[0].partitions[number].end, topics[0].partitions[number].lag);
        assert_eq!([row(0), row(1), row(2)], [(Some(10), Some(3)), (Some(80), Some(0)), (None, None)]);
        assert!(note.is_some_and(|it| it.contains("TopicAuthorizationFailed")));
    }

    #[test]
    fn of_many_partitions_the_farthest_behind_are_shown_and_all_are_counted() {
        let count = 3 * PARTITIONS_MAX as i32;
        let committed = (0..count).map(|it| (TopicPartition::new("a", it), 0)).collect();
        let ends = (0..count).map(|it| (TopicPartition::new("a", it), i64::from(it))).collect();
        let found = Found { group: listed("g"), committed, members: Ok(2) };
        let Reader { lag, topics, partitions_left_out, .. } = reader(found, &ends);
        let all = i64::from(count);
        assert_eq!((lag, partitions_left_out), (all * (all - 1) / 2, 2 * PARTITIONS_MAX));
        let shown: Vec<_> = topics[0].partitions.iter().map(|it| it.partition).collect();
        assert_eq!(shown, (count - PARTITIONS_MAX as i32..count).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_cluster_refuses_is_told_once_with_the_right() {
        let hidden = (0..20).map(|it| (Some(format!("g{it}")), refused(GROUP_AUTHORIZATION_FAILED)));
        let told = notes(hidden.chain((0..20).map(|_| (None, refused(15)))).collect());
        assert_eq!(told.len(), NOTES_MAX + 2, "{told:#?}");
        assert!(told[0].contains("CoordinatorNotAvailable") && told[NOTES_MAX].contains("12 more"), "{told:#?}");
        let last = &told[NOTES_MAX + 1];
        assert!(last.starts_with("DESCRIBE is missing on the group g0, g1") && last.contains("12 more"), "{last}");
    }
}
