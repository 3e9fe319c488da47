//! Where the link stands: what the ledger says, read as an onlooker, beside what the source holds. No lane is taken.

use super::report::{Level, Note, OwnerReport, PartitionReport, PositionsReport};
use crate::bridge::age::since_1970;
use crate::bridge::ends::Ends;
use crate::bridge::incident::{Incident, IncidentKind};
use crate::bridge::survey::Survey;
use crate::cluster::{At, Metadata};
use crate::config::Config;
use crate::ledger::{LaneLedger, LedgerError, LedgerReader, Owner, Position, PositionKey, Until};
use crate::source;
use crate::topics::plan::{PlanEntry, lane};
use crate::types::{TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Lanes that are read at the same time: each has connections of its own.
const READERS_MAX: usize = 8;

type Offsets = BTreeMap<TopicPartition, i64>;

pub(super) async fn look(
    config: &Config,
    ends: &Ends,
    survey: &Survey,
    source: &Metadata,
    target: &Metadata,
) -> (PositionsReport, Vec<Note>) {
    let mut notes = Vec::new();
    let (mut positions, mut owner) = (BTreeMap::new(), None);
    for ledger in ledgers(config, ends, survey, target).await {
        match ledger {
            Ok(ledger) => {
                positions.extend(ledger.positions().clone());
                owner = newer(owner, ledger.owner());
            }
            Err(error) => {
                let text = format!("a lane's positions cannot be read: {error}");
                notes.push(Note::new(Level::Warning, "ledger_unreadable", Some(&survey.ledger.name), text));
            }
        }
    }
    let foreign = |key: &&PositionKey| *key.cluster_id != *source.cluster_id;
    let foreign: BTreeMap<_, _> =
        positions.keys().filter(foreign).map(|it| (it.topic_partition(), Arc::clone(&it.cluster_id))).collect();
    let entries: Vec<_> = survey.prospects.iter().map(|it| it.entry.clone()).collect();
    let offsets = Known::ask(ends, &entries, source, target).await;
    let mut report = PositionsReport { owner: owner.map(|it| signed(&it)), ..PositionsReport::default() };
    for prospect in &survey.prospects {
        for number in 0..prospect.entry.partitions {
            let partition = TopicPartition::new(Arc::clone(&prospect.entry.source), number);
            let key = PositionKey {
                cluster_id: source.cluster_id.as_str().into(),
                topic: Arc::clone(&partition.topic),
                partition: number,
            };
            let position = positions.get(&key);
            let (log_start, end) =
                (offsets.earliest.get(&partition).copied(), offsets.last_stable.get(&partition).copied());
            let next = position.map(|it| it.next_offset);
            let lag = end.zip(next.or(log_start)).map(|(end, from)| (end - from).max(0));
            let seen = Seen { source, target, offsets: &offsets, other_source: foreign.get(&partition) };
            if let Some(incident) = foreseen(&prospect.entry.target, &partition, position, &seen) {
                let name = incident.kind.name();
                notes.push(Note::new(Level::Stopped, name, Some(&partition.to_string()), incident.to_string()));
            }
            report.known += usize::from(position.is_some());
            report.lag += lag.unwrap_or(0);
            report.partitions.push(PartitionReport {
                topic: partition.topic.to_string(),
                partition: number,
                lane: lane(&partition.topic, number, config.delivery.lanes),
                next_offset: next,
                log_start_offset: log_start,
                end_offset: end,
                lag,
            });
        }
    }
    (report, notes)
}

/// Only lanes that hold something: for the others no coordinator has to be found, which would create Kafka's own topics.
async fn ledgers(
    config: &Config,
    ends: &Ends,
    survey: &Survey,
    target: &Metadata,
) -> Vec<Result<LaneLedger, LedgerError>> {
    let topic = &survey.ledger.name;
    let numbers = target.topics.get(topic).into_iter().flat_map(|it| it.partitions.keys().copied());
    let asked: Vec<_> = numbers.map(|it| (TopicPartition::new(Arc::clone(topic), it), At::LastStable)).collect();
    let limit = Arc::new(Semaphore::new(READERS_MAX));
    let mut readers = JoinSet::new();
    for (partition, listed) in ends.target.offsets(target, &asked).await {
        if listed.as_ref().is_ok_and(|it| it.offset == 0) {
            continue;
        }
        let group_id = config.link.group_id().to_owned();
        let reader = LedgerReader { cluster: ends.target.clone(), partition, group_id };
        let (limit, timeout) = (Arc::clone(&limit), ends.target.request_timeout());
        readers.spawn(async move {
            let _permit = limit.acquire().await;
            listed?;
            let unanswered = || LedgerError::Topic {
                topic: reader.partition.to_string(),
                problem: "it was not read in time".to_owned(),
                remedy: "A transaction may be open for long there: try again".to_owned(),
            };
            tokio::time::timeout(timeout, reader.read(Until::Stable)).await.unwrap_or_else(|_| Err(unanswered()))
        });
    }
    readers.join_all().await
}

fn newer(known: Option<Owner>, other: Option<&Owner>) -> Option<Owner> {
    [known, other.cloned()].into_iter().flatten().max_by_key(|it| it.started_ms)
}

fn signed(owner: &Owner) -> OwnerReport {
    let started = UNIX_EPOCH + Duration::from_millis(owner.started_ms.min(YEAR_9999_MS));
    OwnerReport {
        host: owner.host.clone(),
        pid: owner.pid,
        version: owner.version.clone(),
        started: humantime::format_rfc3339_seconds(started).to_string(),
    }
}

/// The last year that the form has room for; a ledger says what somebody wrote into it.
const YEAR_9999_MS: u64 = 253_402_300_799_000;

pub(super) struct Known {
    earliest: Offsets,
    last_stable: Offsets,
    /// Of the copies, by their partition at the target.
    copies: Offsets,
}

impl Known {
    pub(super) async fn ask(ends: &Ends, entries: &[PlanEntry], source: &Metadata, target: &Metadata) -> Self {
        let all = |at: At, of: fn(&PlanEntry) -> &Arc<str>| {
            let each = entries.iter().flat_map(move |it| {
                let topic = Arc::clone(of(it));
                (0..it.partitions).map(move |number| (TopicPartition::new(Arc::clone(&topic), number), at))
            });
            each.collect::<Vec<_>>()
        };
        let earliest = ends.source.offsets(source, &all(At::Earliest, |it| &it.source)).await;
        let last_stable = ends.source.offsets(source, &all(At::LastStable, |it| &it.source)).await;
        let copies = ends.target.offsets(target, &all(At::Latest, |it| &it.target)).await;
        let told = |found: BTreeMap<_, Result<crate::cluster::Listed, _>>| {
            found.into_iter().filter_map(|(partition, it)| Some((partition, it.ok()?.offset))).collect()
        };
        Self { earliest: told(earliest), last_stable: told(last_stable), copies: told(copies) }
    }
}

/// What a partition's position is compared with.
pub(super) struct Seen<'a> {
    pub(super) source: &'a Metadata,
    pub(super) target: &'a Metadata,
    pub(super) offsets: &'a Known,
    /// The cluster of which the ledger knows a partition of this name.
    pub(super) other_source: Option<&'a Arc<str>>,
}

/// What a run would stop this partition for at once.
pub(super) fn foreseen(
    target: &TopicName,
    partition: &TopicPartition,
    position: Option<&Position>,
    seen: &Seen<'_>,
) -> Option<Incident> {
    let offsets = seen.offsets;
    let target = TopicPartition::new(Arc::clone(target), partition.partition);
    let time_ms = since_1970(SystemTime::now()).unsigned_abs();
    let incident = |next_offset, kind| {
        let (partition, target) = (partition.clone(), target.clone());
        Incident { partition, target, next_offset, time_ms, kind }
    };
    let Some(position) = position else {
        if let Some(cluster_id) = seen.other_source.cloned() {
            return Some(incident(-1, IncidentKind::OtherSource { cluster_id }));
        }
        let end_offset = offsets.copies.get(&target).copied().filter(|it| *it > 0)?;
        return Some(incident(-1, IncidentKind::NoPosition { end_offset }));
    };
    let next_offset = position.next_offset;
    let was = TopicPartition::new(Arc::clone(&position.target_topic), position.target_partition);
    if was != target {
        return Some(incident(next_offset, IncidentKind::TargetChanged { was }));
    }
    let id = |metadata: &Metadata, topic: &TopicName| metadata.topics.get(topic).map(|it| it.topic_id);
    let differs = |old: Uuid, new: Option<Uuid>| new.filter(|new| !new.is_nil() && !old.is_nil() && *new != old);
    if let Some(new) = differs(position.target_topic_id, id(seen.target, &target.topic)) {
        let old = position.target_topic_id;
        return Some(incident(next_offset, IncidentKind::TargetRecreated { old, new }));
    }
    let at_source = |kind| {
        let leader_epoch = position.leader_epoch;
        let stopped = source::Position { offset: next_offset, leader_epoch };
        let of_source = source::Incident { partition: partition.clone(), position: stopped, kind };
        incident(next_offset, IncidentKind::Source(of_source))
    };
    if let Some(new) = differs(position.topic_id, id(seen.source, &partition.topic)) {
        let old = position.topic_id;
        return Some(at_source(source::IncidentKind::Recreated { old, new, end_offset: -1 }));
    }
    let log_start = offsets.earliest.get(partition).copied()?;
    if next_offset < log_start {
        let kind = source::IncidentKind::Retention { first_lost: next_offset, last_lost: log_start - 1 };
        return Some(at_source(kind));
    }
    let end_offset = offsets.last_stable.get(partition).copied()?;
    // Beyond the last stable offset nothing was ever read.
    (next_offset > end_offset).then(|| at_source(source::IncidentKind::Truncation { end_offset, leader_epoch: -1 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::TopicMetadata;

    /// Next offset, target, and the ids of the topics at source and target that the position was made of.
    type Stands = (i64, &'static str, u128, u128);
    const HERE: Stands = (5, "b", 7, 8);

    fn topic(name: &str, id: u128) -> Metadata {
        let mut metadata = Metadata::default();
        let topic_id = Uuid::from_u128(id);
        metadata.topics.insert(name.into(), TopicMetadata { topic_id, ..TopicMetadata::default() });
        metadata
    }

    fn kind(stands: Option<Stands>, range: (i64, i64), copy_end: i64, other: Option<&str>) -> Option<&'static str> {
        let (partition, copy) = (TopicPartition::new("a", 0), TopicPartition::new("b", 0));
        let offsets = Known {
            earliest: Offsets::from([(partition.clone(), range.0)]),
            last_stable: Offsets::from([(partition.clone(), range.1)]),
            copies: Offsets::from([(copy, copy_end)]),
        };
        let position = stands.map(|(next_offset, target, topic_id, target_topic_id)| Position {
            next_offset,
            leader_epoch: 0,
            topic_id: Uuid::from_u128(topic_id),
            from: 0,
            records: 0,
            target_topic: target.into(),
            target_partition: 0,
            target_topic_id: Uuid::from_u128(target_topic_id),
            target_offset: None,
            transaction: 1,
            time_ms: 0,
            dead_letters: None,
            decision: None,
            anchor: None,
        });
        let other: Option<Arc<str>> = other.map(Arc::from);
        let (source, target) = (topic("a", 7), topic("b", 8));
        let seen = Seen { source: &source, target: &target, offsets: &offsets, other_source: other.as_ref() };
        foreseen(&"b".into(), &partition, position.as_ref(), &seen).map(|it| it.kind.name())
    }

    #[test]
    fn what_would_stop_a_partition_is_foreseen() {
        let of = |stands| kind(Some(stands), (0, 10), 5, None);
        assert_eq!(of(HERE), None);
        assert_eq!(of((5, "b", 0, 0)), None, "what the position does not know cannot differ");
        assert_eq!(of((5, "c", 7, 8)), Some("target_changed"));
        assert_eq!(of((5, "b", 9, 8)), Some("recreated"));
        assert_eq!(of((5, "b", 7, 9)), Some("target_recreated"));
        assert_eq!(kind(Some(HERE), (5, 5), 5, None), None);
        assert_eq!(kind(Some(HERE), (6, 10), 5, None), Some("retention"));
        assert_eq!(kind(Some(HERE), (0, 4), 5, None), Some("truncation"));
        assert_eq!(kind(None, (0, 10), 0, None), None);
        assert_eq!(kind(None, (0, 10), 1, None), Some("no_position"));
        assert_eq!(kind(None, (0, 10), 0, Some("another")), Some("other_source"));
    }
}
