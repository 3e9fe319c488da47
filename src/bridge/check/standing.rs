//! Which partitions of a link stand still, seen from outside: what a run would stop them for, found in ledger and logs.
//!
//! Nothing is written down when a partition stops, so nothing can be stale, and a bridge need not run to be asked.

use super::positions::{Known, Seen, foreseen};
use crate::batch::{
    LogAppendTimePolicy, MergeLimits, RawBatch, Rules, UNCOMPRESSED_BYTES_MAX, prepare, prepare_screened,
};
use crate::bridge::ends::Ends;
use crate::bridge::incident::{Incident, IncidentKind};
use crate::bridge::lane::DeadLetterBox;
use crate::bridge::screening::{Knowledge, KnownSchemas, Screening, Verdicts};
use crate::bridge::{RunError, topics_of};
use crate::clock;
use crate::cluster::{At, Metadata, Use};
use crate::config::{Config, LogAppendTime, OnRegistryDown, OnUnknownSchema};
use crate::dead_letters;
use crate::ledger::{History, Position, PositionKey};
use crate::reader::{ReadError, read_committed};
use crate::schemas::{SchemaVerdict, TopicCheck};
use crate::source;
use crate::topics::MAX_MESSAGE_BYTES_DEFAULT;
use crate::topics::plan::{Plan, TopicRules, lane};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whoever asks wants to know what stands still, and not to wait for a registry.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(10);

/// One partition that stands still.
#[derive(Clone, Debug)]
pub struct Standing {
    pub lane: u32,
    pub key: PositionKey,
    pub position: Option<Position>,
    pub incident: Incident,
    /// Where it could go on. None: an operator has to say it, or to mend something else.
    pub resume: Option<Resume>,
}

/// The position that leaves behind what the partition stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub next_offset: i64,
    /// The topics' ids as they are now.
    pub topic_id: uuid::Uuid,
    pub target_topic_id: uuid::Uuid,
}

pub async fn standing(
    config: &Config,
    ends: &Ends,
    histories: &BTreeMap<u32, History>,
    source: &Metadata,
    target: &Metadata,
) -> Result<Vec<Standing>, RunError> {
    let plan = Plan::build(&TopicRules::compile(config), &topics_of(source))?;
    let entries: Vec<_> = plan.entries.values().cloned().collect();
    let offsets = Known::ask(ends, &entries, source, target).await;
    let mut found = Vec::new();
    let letters = dead_letters(config, ends, target).await;
    let mut asked = Asked { letters, known: KnownSchemas::default(), is_silent: false };
    for entry in &entries {
        let limit = max_message_bytes(ends, &entry.target).await;
        let check = ends.checks.of(entry.rule, &entry.source);
        for number in 0..entry.partitions {
            let partition = TopicPartition::new(Arc::clone(&entry.source), number);
            let lane = lane(&partition.topic, number, config.delivery.lanes);
            let cluster_id: Arc<str> = source.cluster_id.as_str().into();
            let key = PositionKey { cluster_id, topic: Arc::clone(&partition.topic), partition: number };
            let positions = histories.get(&lane).map(|it| &it.positions);
            let position = positions.and_then(|it| it.get(&key)).cloned();
            let others = positions.into_iter().flat_map(BTreeMap::keys);
            let mut others = others.filter(|it| it.topic_partition() == partition && it.cluster_id != key.cluster_id);
            let other_source = others.next().map(|it| Arc::clone(&it.cluster_id));
            let seen = Seen { source, target, offsets: &offsets, other_source: other_source.as_ref() };
            let incident = match foreseen(&entry.target, &partition, position.as_ref(), &seen) {
                Some(incident) => Some((incident, None)),
                None => match &position {
                    Some(position) => {
                        probe(config, ends, source, &partition, (position, check.as_ref()), limit, &mut asked).await
                    }
                    None => None,
                },
            };
            let Some((incident, behind)) = incident else { continue };
            let id =
                |metadata: &Metadata, topic| metadata.topics.get(topic).map_or(uuid::Uuid::nil(), |it| it.topic_id);
            let (topic_id, target_topic_id) = (id(source, &partition.topic), id(target, &incident.target.topic));
            let next_offset = match behind {
                Some(behind) => Some(behind),
                None => next_offset(ends, source, &incident).await,
            };
            let resume = next_offset.map(|next_offset| Resume { next_offset, topic_id, target_topic_id });
            found.push(Standing { lane, key, position, incident, resume });
        }
    }
    Ok(found)
}

/// Any partition of the topic: all take the same. None: nothing is checked.
async fn dead_letters(config: &Config, ends: &Ends, target: &Metadata) -> Option<DeadLetterBox> {
    if ends.checks.is_empty() {
        return None;
    }
    let partition = TopicPartition::new(config.dead_letter_topic().as_str(), 0);
    let max_message_bytes = match target.topics.contains_key(&partition.topic) {
        true => max_message_bytes(ends, &partition.topic).await,
        // As the next start makes it.
        false => dead_letters::MAX_MESSAGE_BYTES,
    };
    Some(DeadLetterBox { partition, max_message_bytes })
}

async fn max_message_bytes(ends: &Ends, topic: &str) -> usize {
    let told = ends.target.topic_configs(topic).await.ok();
    let told = told.and_then(|it| it.get("max.message.bytes")?.parse().ok());
    told.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT)
}

async fn next_offset(ends: &Ends, source: &Metadata, incident: &Incident) -> Option<i64> {
    match &incident.kind {
        IncidentKind::Source(it) => match it.kind {
            source::IncidentKind::Retention { last_lost, .. } => Some(last_lost + 1),
            source::IncidentKind::Truncation { end_offset, .. } => Some(end_offset),
            source::IncidentKind::Recreated { .. } => {
                let asked = [(incident.partition.clone(), At::Earliest)];
                let found = ends.source.offsets(source, &asked).await.remove(&incident.partition)?;
                found.ok().map(|it| it.offset)
            }
            _ => None,
        },
        IncidentKind::TargetRecreated { .. } | IncidentKind::TargetChanged { .. } => Some(incident.next_offset),
        _ => None,
    }
}

/// What comes next at the source, tried as the bridge would: the incident, and the offset behind what is wrong.
async fn probe(
    config: &Config,
    ends: &Ends,
    source: &Metadata,
    partition: &TopicPartition,
    (position, check): (&Position, Option<&TopicCheck>),
    max_message_bytes: usize,
    asked: &mut Asked,
) -> Option<(Incident, Option<i64>)> {
    let leader = ends.source.dial(source.leader(partition)?, Use::Fetch(0)).await.ok()?;
    let from = source::Position { offset: position.next_offset, leader_epoch: -1 };
    let read = read_committed(&ends.source, &leader, partition, from).await;
    leader.close();
    let time_ms = position.time_ms;
    let target = TopicPartition::new(Arc::clone(&position.target_topic), position.target_partition);
    let incident =
        |kind| Incident { partition: partition.clone(), target, next_offset: position.next_offset, time_ms, kind };
    let batches = match read {
        Ok(read) => read.batches,
        Err(ReadError::Damaged { offset, problem, .. }) => {
            let kind = source::IncidentKind::Corrupt { offset, problem };
            let of_source = source::Incident { partition: partition.clone(), position: from, kind };
            // Where the damage ends, nobody can tell from here.
            return Some((incident(IncidentKind::Source(of_source)), None));
        }
        Err(_) => return None,
    };
    let log_append_time = match config.delivery.log_append_time {
        LogAppendTime::Keep => LogAppendTimePolicy::KeepAppendTime,
        LogAppendTime::CreateTime => LogAppendTimePolicy::KeepCreateTime,
    };
    let rules = Rules {
        position: position.next_offset,
        max_message_bytes,
        batch_bytes_max: max_message_bytes,
        log_append_time,
        merge: Some(MergeLimits::default()),
        uncompressed_bytes_max: UNCOMPRESSED_BYTES_MAX,
    };
    // The first alone: what lies behind it has its turn when it is copied.
    let first: Vec<_> = batches.into_iter().take(1).collect();
    let behind = first.first().map(|it| it.header().next_offset());
    let kind = match check {
        None => prepare(first, &rules).err().map(IncidentKind::Batch),
        Some(check) => asked.judge(ends, check, partition, &first, &rules).await,
    }?;
    // An invalid record is not to be passed over: it would be in neither place.
    let behind = behind.filter(|_| !matches!(kind, IncidentKind::Invalid(_)));
    Some((incident(kind), behind))
}

/// What the registries have said, for all partitions together.
struct Asked {
    letters: Option<DeadLetterBox>,
    known: KnownSchemas,
    /// One has not answered in time: nobody waits for it once more.
    is_silent: bool,
}

impl Asked {
    /// What the partition would stop for. None: nothing, or a registry has not said so.
    async fn judge(
        &mut self,
        ends: &Ends,
        check: &TopicCheck,
        partition: &TopicPartition,
        batches: &[RawBatch],
        rules: &Rules,
    ) -> Option<IncidentKind> {
        let mut told = Verdicts::new();
        loop {
            let knowledge = Knowledge { known: &self.known, told: &told, now: clock::now() };
            let mut screening = Screening::new(check, knowledge, partition, &"".into(), 0);
            let error = prepare_screened(batches.to_vec(), rules, Some(&mut screening)).err();
            let (needs, objection) = (std::mem::take(&mut screening.needs), screening.objection.take());
            if needs.is_empty() {
                let error = error.or_else(|| screening.letters(self.letters.as_ref()).err());
                return objection.map(IncidentKind::Invalid).or(error.map(IncidentKind::Batch));
            }
            for key in needs {
                if self.is_silent {
                    return None;
                }
                let found = ends.schemas.peek(check, key.part, key.id);
                let verdict = match tokio::time::timeout(REGISTRY_PATIENCE, found).await {
                    // The bridge waits for it, and does not stop.
                    Ok(Ok(SchemaVerdict::Unknown(_))) if check.on_unknown_schema == OnUnknownSchema::Wait => {
                        return None;
                    }
                    Ok(Ok(verdict)) => verdict,
                    Ok(Err(_)) if check.on_registry_down == OnRegistryDown::PassUnchecked => SchemaVerdict::Unchecked,
                    Ok(Err(_)) | Err(_) => {
                        self.is_silent = true;
                        return None;
                    }
                };
                self.known.learn(key.clone(), verdict.clone(), clock::now());
                told.insert(key, verdict);
            }
        }
    }
}
