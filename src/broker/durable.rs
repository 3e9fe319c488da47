//! What a data folder must hold so that a killed cluster can go on: a list of changes, and the way back from it.
//!
//! One list for the whole cluster, where Kafka has a log per partition and topics of its own for the coordinators: read from
//! its start it gives the state, and a tail that was cut off is the last changes missing, never a contradiction.

use super::cluster::Cluster;
use super::configs::Overrides;
use super::groups::{Committed, Group};
use super::settings::{Millis, Settings};
use super::topics::NewTopic;
use super::transactions::{State, Transaction};
use crate::batch::{RawBatch, split};
use crate::types::{NodeId, ProducerIdentity, TopicPartition};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// A change, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(pub Bytes);

/// The first byte tells records, which are most of it, from everything else.
const BATCH: u8 = 0;
const ENTRY: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Topic {
        name: String,
        id: Uuid,
        replicas: Vec<Vec<NodeId>>,
        overrides: Overrides,
    },
    Growth {
        name: String,
        replicas: Vec<Vec<NodeId>>,
    },
    Configs {
        name: String,
        overrides: Overrides,
    },
    Deletion {
        name: String,
    },
    Leader {
        name: String,
        partition: i32,
        leader_epoch: i32,
    },
    LogStart {
        name: String,
        partition: i32,
        start: i64,
    },
    /// The log is empty and begins there; its batches follow.
    LogBegin {
        name: String,
        partition: i32,
        start: i64,
    },
    /// The log up to `end` stays.
    Truncation {
        name: String,
        partition: i32,
        end: i64,
    },
    ProducerIds {
        next: i64,
    },
    Transaction(StoredTransaction),
    Group {
        id: String,
        committed: Vec<StoredOffset>,
        pending: Vec<(i64, Vec<StoredOffset>)>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredTransaction {
    id: String,
    producer: (i64, i16),
    previous_id: i64,
    next_id: i64,
    last_epoch: i16,
    timeout_ms: i32,
    state: String,
    partitions: Vec<(String, i32)>,
    start_ms: Millis,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredOffset {
    topic: String,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
    commit_ms: Millis,
}

/// A change that does not say what this version understands.
#[derive(Debug, thiserror::Error)]
#[error("change {number} of the data folder cannot be read: {reason}. Delete the folder to begin anew")]
pub struct Damaged {
    pub number: usize,
    pub reason: String,
}

/// Changes that nobody has fetched yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    is_kept: bool,
    changes: VecDeque<Change>,
}

impl Journal {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { is_kept, changes: VecDeque::new() }
    }

    pub(crate) fn pop(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    fn push(&mut self, entry: impl FnOnce() -> Entry) {
        if !self.is_kept {
            return;
        }
        let mut bytes = vec![ENTRY];
        // Plain data: there is nothing in it that JSON could not say.
        if serde_json::to_writer(&mut bytes, &entry()).is_ok() {
            self.changes.push_back(Change(bytes.into()));
        }
    }

    fn push_batch(&mut self, topic: &str, partition: i32, batch: &RawBatch) {
        if !self.is_kept {
            return;
        }
        let mut bytes = BytesMut::with_capacity(16 + topic.len() + batch.bytes().len());
        bytes.put_u8(BATCH);
        bytes.put_u16(u16::try_from(topic.len()).unwrap_or(0));
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(partition);
        bytes.put_slice(batch.bytes());
        self.changes.push_back(Change(bytes.freeze()));
    }
}

fn stored(offsets: &BTreeMap<TopicPartition, Committed>) -> Vec<StoredOffset> {
    let stored = offsets.iter().map(|(place, committed)| StoredOffset {
        topic: place.topic.to_string(),
        partition: place.partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.clone(),
        commit_ms: committed.commit_ms,
    });
    stored.collect()
}

fn restored(offsets: Vec<StoredOffset>) -> BTreeMap<TopicPartition, Committed> {
    let restored = offsets.into_iter().map(|it| {
        let committed = Committed {
            offset: it.offset,
            leader_epoch: it.leader_epoch,
            metadata: it.metadata,
            commit_ms: it.commit_ms,
        };
        (TopicPartition::new(it.topic, it.partition), committed)
    });
    restored.collect()
}

/// One call for each kind of change.
impl Cluster {
    pub(crate) fn record_topic(&mut self, new: &NewTopic) {
        let NewTopic { name, id, replicas, overrides } = new.clone();
        self.journal.push(|| Entry::Topic { name, id, replicas, overrides });
    }

    pub(crate) fn record_growth(&mut self, name: &str, replicas: &[Vec<NodeId>]) {
        self.journal.push(|| Entry::Growth { name: name.to_owned(), replicas: replicas.to_vec() });
    }

    pub(crate) fn record_configs(&mut self, name: &str, overrides: &Overrides) {
        self.journal.push(|| Entry::Configs { name: name.to_owned(), overrides: overrides.clone() });
    }

    pub(crate) fn record_deletion(&mut self, name: &str) {
        self.journal.push(|| Entry::Deletion { name: name.to_owned() });
    }

    pub(crate) fn record_batch(&mut self, topic: &str, partition: i32, batch: &RawBatch) {
        self.journal.push_batch(topic, partition, batch);
    }

    pub(crate) fn record_log_start(&mut self, topic: &str, partition: i32, start: i64) {
        self.journal.push(|| Entry::LogStart { name: topic.to_owned(), partition, start });
    }

    pub(crate) fn record_truncation(&mut self, topic: &str, partition: i32, end: i64) {
        self.journal.push(|| Entry::Truncation { name: topic.to_owned(), partition, end });
        self.record_leaders();
    }

    /// Compaction has changed batches in place: the whole partition again.
    pub(crate) fn record_rewritten(&mut self, topic: &str, partition: i32) {
        if !self.journal.is_kept {
            return;
        }
        let Ok(found) = self.topics.partition(topic, partition) else { return };
        let log = &found.log;
        let begin = log.batches().next().map_or(log.end(), |it| it.header().base_offset);
        self.journal.push(|| Entry::LogBegin { name: topic.to_owned(), partition, start: begin });
        for batch in log.batches() {
            self.journal.push_batch(topic, partition, batch);
        }
        let start = log.start();
        self.journal.push(|| Entry::LogStart { name: topic.to_owned(), partition, start });
    }

    /// Leaders have moved; the epochs must never go back.
    pub(crate) fn record_leaders(&mut self) {
        if !self.journal.is_kept {
            return;
        }
        for (name, topic) in self.topics.iter() {
            for (partition, found) in (0..).zip(&topic.partitions) {
                let leader_epoch = found.leader_epoch;
                self.journal.push(|| Entry::Leader { name: name.to_owned(), partition, leader_epoch });
            }
        }
    }

    pub(crate) fn record_producer_ids(&mut self) {
        let next = self.transactions.next_producer_id;
        self.journal.push(|| Entry::ProducerIds { next });
    }

    pub(crate) fn record_transaction(&mut self, id: &str) {
        self.record_producer_ids();
        let Some(transaction) = self.transactions.by_id.get(id) else { return };
        self.journal.push(|| {
            Entry::Transaction(StoredTransaction {
                id: id.to_owned(),
                producer: (transaction.identity.producer_id, transaction.identity.producer_epoch),
                previous_id: transaction.previous_id,
                next_id: transaction.next_id,
                last_epoch: transaction.last_epoch,
                timeout_ms: transaction.timeout_ms,
                state: transaction.state.name().to_owned(),
                partitions: transaction.partitions.iter().map(|it| (it.topic.to_string(), it.partition)).collect(),
                start_ms: transaction.start_ms,
            })
        });
    }

    pub(crate) fn record_offsets(&mut self, group: &str) {
        let found = self.groups.get(group);
        self.journal.push(|| Entry::Group {
            id: group.to_owned(),
            committed: found.map(|it| stored(&it.offsets.committed)).unwrap_or_default(),
            pending: found
                .map(|it| it.offsets.pending.iter().map(|(id, offsets)| (*id, stored(offsets))).collect())
                .unwrap_or_default(),
        });
    }

    /// The changes that lead from nothing to what is now: shorter than how it came about.
    pub fn snapshot(&mut self) -> Vec<Change> {
        let journal = std::mem::replace(&mut self.journal, Journal::new(true));
        let topics: Vec<NewTopic> = self
            .topics
            .iter()
            .map(|(name, topic)| NewTopic {
                name: name.to_owned(),
                id: topic.id,
                replicas: topic.partitions.iter().map(|it| it.replicas.clone()).collect(),
                overrides: topic.overrides.clone(),
            })
            .collect();
        for new in &topics {
            self.record_topic(new);
        }
        self.record_leaders();
        for new in topics {
            for partition in 0..i32::try_from(new.replicas.len()).unwrap_or(0) {
                self.record_rewritten(&new.name, partition);
            }
        }
        self.record_producer_ids();
        for id in self.transactions.by_id.keys().cloned().collect::<Vec<_>>() {
            self.record_transaction(&id);
        }
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.record_offsets(&id);
        }
        std::mem::replace(&mut self.journal, journal).changes.into()
    }

    /// The cluster that these changes lead to. Every partition has a new leader epoch: whoever led it is dead.
    pub fn restore(
        settings: Settings,
        now_ms: Millis,
        changes: impl IntoIterator<Item = Bytes>,
    ) -> Result<Self, Damaged> {
        let durable = settings.durable;
        let mut cluster = Self::new(Settings { durable: false, ..settings }, now_ms);
        for (number, change) in changes.into_iter().enumerate() {
            cluster.apply(&change).map_err(|reason| Damaged { number, reason })?;
        }
        for (_, topic) in cluster.topics.iter_mut() {
            for partition in &mut topic.partitions {
                partition.log.replicate();
                let leader = partition.leader;
                partition.lead(leader);
            }
        }
        for transaction in cluster.transactions.by_id.values_mut().filter(|it| it.is_pending()) {
            transaction.markers_due_ms = Some(now_ms);
        }
        cluster.settings.durable = durable;
        cluster.journal = Journal::new(durable);
        cluster.record_leaders();
        Ok(cluster)
    }

    fn apply(&mut self, change: &Bytes) -> Result<(), String> {
        match change.split_first() {
            Some((&BATCH, _)) => self.apply_batch(&change.slice(1..)),
            Some((&ENTRY, entry)) => {
                let entry = serde_json::from_slice(entry).map_err(|error| error.to_string())?;
                self.apply_entry(entry)
            }
            _ => Err("it is of an unknown kind".to_owned()),
        }
    }

    fn apply_batch(&mut self, change: &Bytes) -> Result<(), String> {
        let short = || "a batch is cut short".to_owned();
        let length = change.first_chunk().map(|it| usize::from(u16::from_be_bytes(*it))).ok_or_else(short)?;
        let name = change.get(2..2 + length).ok_or_else(short)?;
        let name = std::str::from_utf8(name).map_err(|error| error.to_string())?.to_owned();
        let partition = change.get(2 + length..6 + length).and_then(|it| it.try_into().ok()).ok_or_else(short)?;
        let batch = split(change.slice(6 + length..)).next().ok_or_else(short)?.map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        let found = self.topics.partition_mut(&name, i32::from_be_bytes(partition));
        let (partition, config) = found.map_err(|error| format!("{name}: {error}"))?;
        // The copy frees the file's buffer.
        let batch = split(Bytes::copy_from_slice(batch.bytes())).next().ok_or_else(short)?;
        partition.log.store(batch.map_err(|error| error.to_string())?, config);
        partition.log.replicate();
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<(), String> {
        let alive: BTreeSet<NodeId> = self.alive();
        match entry {
            Entry::Topic { name, id, replicas, overrides } => {
                let new = NewTopic { name, id, replicas, overrides };
                self.topics.create(new, &self.settings.topic_defaults, &alive).map_err(|it| it.0)
            }
            Entry::Growth { name, replicas } => {
                self.topics.grow(&name, replicas, &alive);
                Ok(())
            }
            Entry::Configs { name, overrides } => {
                self.topics.configure(&name, overrides, &self.settings.topic_defaults).map_err(|it| it.0)
            }
            Entry::Deletion { name } => {
                self.remove_topic(&name);
                Ok(())
            }
            Entry::Leader { name, partition, leader_epoch } => {
                if let Ok((found, _)) = self.topics.partition_mut(&name, partition) {
                    found.leader_epoch = leader_epoch;
                    found.log.begin_epoch(leader_epoch);
                }
                Ok(())
            }
            Entry::LogStart { name, partition, start } => {
                let (found, _) = self.topics.partition_mut(&name, partition).map_err(|it| it.to_string())?;
                found.log.move_start(start).map_err(|it| it.to_string())
            }
            Entry::LogBegin { name, partition, start } => {
                let (found, _) = self.topics.partition_mut(&name, partition).map_err(|it| it.to_string())?;
                found.log.begin_at(start);
                Ok(())
            }
            Entry::Truncation { name, partition, end } => {
                let (found, config) = self.topics.partition_mut(&name, partition).map_err(|it| it.to_string())?;
                found.log.truncate(end, config);
                Ok(())
            }
            Entry::ProducerIds { next } => {
                self.transactions.next_producer_id = next;
                Ok(())
            }
            Entry::Transaction(stored) => self.apply_transaction(stored),
            Entry::Group { id, committed, pending } => {
                let now_ms = self.now_ms;
                let group = self.groups.entry(id).or_insert_with(|| Group::new(now_ms));
                group.offsets.committed = restored(committed);
                group.offsets.pending = pending.into_iter().map(|(id, offsets)| (id, restored(offsets))).collect();
                Ok(())
            }
        }
    }

    fn apply_transaction(&mut self, stored: StoredTransaction) -> Result<(), String> {
        let state = State::ALL.into_iter().find(|it| it.name() == stored.state);
        let mut transaction = Transaction::new(stored.producer.0, stored.timeout_ms);
        transaction.identity = ProducerIdentity { producer_id: stored.producer.0, producer_epoch: stored.producer.1 };
        transaction.previous_id = stored.previous_id;
        transaction.next_id = stored.next_id;
        transaction.last_epoch = stored.last_epoch;
        transaction.state = state.ok_or_else(|| format!("unknown transaction state {}", stored.state))?;
        transaction.partitions =
            stored.partitions.into_iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect();
        transaction.start_ms = stored.start_ms;
        self.transactions.by_id.insert(stored.id, transaction);
        Ok(())
    }
}
