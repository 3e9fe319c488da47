//! The lane's transactions: when one begins, what goes into it, and what its verdict means.

use super::gather::{Stream, StreamState};
use super::incident::IncidentKind;
use super::lane::{Event, Lane, Mutant, OFFSET_INTERVAL, Output, PASSED_INTERVAL, Phase};
use super::screening::{Knowledge, Screening};
use crate::batch::{
    MergeLimits, PrepareError, Prepared, PreparedBatches, Rules, Screen, UNCOMPRESSED_BYTES_MAX, prepare_screened,
};
use crate::ledger::{Change, Pending, Position};
use crate::planted::{Bug, planted};
use crate::source::Delivery;
use crate::target::{self, CommitOffset, OffsetCommit};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Half of what the transaction machine takes: one that is too large for the target becomes several.
const BATCHES_MAX: usize = 5_000;

/// What one transaction copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    /// As they went to the target, compressed.
    pub bytes: u64,
    pub batches: u64,
    /// By the reason's name.
    pub reencoded: BTreeMap<&'static str, u64>,
    /// Records that went to the dead letters instead, by reason.
    pub dead_lettered: BTreeMap<String, u64>,
    /// From the first record's arrival to the commit.
    pub latency: Duration,
    pub parts: Vec<PartCounts>,
}

/// What it did to one source partition. `read` is counted before the records are looked at, the others behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartCounts {
    pub partition: TopicPartition,
    pub target: TopicPartition,
    pub next_offset: i64,
    pub read: u64,
    pub written: u64,
    pub dead_lettered: u64,
    /// As they came from the source, compressed, and as they went to the target.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// The latest one of the records, in ms since 1970; None: there were none.
    pub timestamp_ms: Option<i64>,
}

impl Counts {
    fn count(&mut self, batches: &[Prepared]) {
        for it in batches {
            self.batches += 1;
            self.records += u64::from(it.record_count);
            self.bytes += it.batch.bytes().len() as u64;
            for reason in &it.reencoded {
                *self.reencoded.entry(reason.name()).or_default() += 1;
            }
        }
    }
}

/// What one partition brings to a transaction.
struct Gathered {
    part: Part,
    change: Change,
    target: TopicPartition,
    batches: Vec<Prepared>,
    letters: Vec<Prepared>,
    reasons: BTreeMap<String, u64>,
    read: Read,
}

/// Of one partition.
#[derive(Clone, Copy, Default)]
struct Read {
    records: u64,
    bytes: u64,
    timestamp_ms: Option<i64>,
}

impl Gathered {
    fn counted(&self) -> PartCounts {
        let records = |of: &[Prepared]| of.iter().map(|it| u64::from(it.record_count)).sum();
        PartCounts {
            partition: self.part.partition.clone(),
            target: self.target.clone(),
            next_offset: self.change.position.next_offset,
            read: self.read.records,
            written: records(&self.batches),
            dead_lettered: records(&self.letters),
            bytes_read: self.read.bytes,
            bytes_written: self.batches.iter().map(|it| it.batch.bytes().len() as u64).sum(),
            timestamp_ms: self.read.timestamp_ms,
        }
    }
}

/// A part of the open transaction that has to be copied again if it is aborted.
struct Part {
    partition: TopicPartition,
    deliveries: Vec<Delivery>,
    sent: i64,
    leader_epoch: i32,
    is_unrecorded: bool,
}

pub(super) struct InFlight {
    pending: Pending,
    /// Its position waits until it is known where the records have landed.
    unplaced: Option<Vec<Change>>,
    parts: Vec<Part>,
    counts: Counts,
    since: Instant,
    began: Instant,
}

impl InFlight {
    pub(super) fn holds(&self, partition: &TopicPartition) -> bool {
        self.parts.iter().any(|part| part.partition == *partition)
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    fn charged_bytes(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.deliveries).map(|it| it.charged_bytes).sum()
    }
}

/// Those in front of the one that cannot be copied: what is whole does not wait for an operator.
fn batches_before(deliveries: &[Delivery], error: &PrepareError) -> usize {
    let Some(offset) = error.offset() else { return 0 };
    let batches = deliveries.iter().flat_map(|it| &it.batches);
    batches.take_while(|it| it.header().next_offset() <= offset).count()
}

impl Lane {
    /// When the next transaction begins, as far as is known now.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.phase != Phase::Copying || self.in_flight.is_some() || !self.transactor.is_idle() {
            return None;
        }
        let ready = || self.streams.values().filter(|it| it.awaits.is_empty());
        let data_since = ready().filter_map(|it| it.data_since).min();
        let passed_since = ready().filter_map(|it| it.passed_since).min();
        let is_full = || {
            let bytes: usize = self.streams.values().map(Stream::data_bytes).sum();
            bytes >= self.size.bytes()
        };
        let wanted = if self.is_draining {
            data_since.or(passed_since)
        } else if self.is_unsigned {
            Some(self.now)
        } else {
            let data = data_since.map(|since| if is_full() { since } else { since + self.settings.commit_interval });
            data.into_iter().chain(passed_since.map(|since| since + PASSED_INTERVAL)).min()
        };
        wanted.map(|wanted| wanted.max(self.not_before))
    }

    /// Everything that waits, up to the limits, in one transaction.
    pub(super) fn begin(&mut self) {
        let since = self.streams.values().filter_map(|it| it.data_since).min().unwrap_or(self.now);
        let (mut parts, mut changes, mut appends, mut counts) = (Vec::new(), Vec::new(), Vec::new(), Counts::default());
        let partitions = self.in_turn();
        let waiting = partitions.iter().filter_map(|it| self.streams.get(it)).map(Stream::data_bytes);
        let share = self.size.share(waiting);
        for partition in partitions {
            let bytes = usize::try_from(counts.bytes).unwrap_or(usize::MAX);
            if bytes >= self.size.bytes() || appends.len() >= BATCHES_MAX {
                self.cursor = Some(partition);
                break;
            }
            let room = self.size.bytes() - bytes;
            let Some(gathered) = self.gather(&partition, room.min(share), BATCHES_MAX - appends.len()) else {
                continue;
            };
            counts.count(&gathered.batches);
            counts.parts.push(gathered.counted());
            let target = gathered.target;
            for (reason, count) in gathered.reasons {
                *counts.dead_lettered.entry(reason).or_default() += count;
            }
            appends.extend(gathered.batches.into_iter().map(|batch| (target.clone(), batch)));
            if let Some(into) = &self.settings.dead_letters {
                appends.extend(gathered.letters.into_iter().map(|batch| (into.partition.clone(), batch)));
            }
            parts.push(gathered.part);
            changes.push(gathered.change);
        }
        if self.is_mutant(Mutant::PositionOutsideTransaction) {
            changes.clear();
        }
        let Some(ledger) = &self.ledger else { return };
        // An incident took the only work away.
        if parts.is_empty() && !self.is_unsigned {
            return;
        }
        let promise = |it: &Change| {
            let target = TopicPartition::new(Arc::clone(&it.position.target_topic), it.position.target_partition);
            Some((target, it.position.target_offset?))
        };
        let promised = changes.iter().filter_map(promise).collect();
        let unplaced = (self.is_displaced && !appends.is_empty()).then(|| changes.clone());
        let pending = match ledger.begin(self.settings.lane, changes, self.time_ms()) {
            Ok(pending) => pending,
            Err(error) => {
                self.put_back(parts);
                return self.end(Event::Failed(error.to_string()));
            }
        };
        let is_placed = unplaced.is_none();
        self.in_flight = Some(InFlight { pending, unplaced, parts, counts, since, began: self.now });
        // Only now: a lane that ends before its first Produce leaves no transaction open.
        for (partition, it) in appends {
            self.transact(target::Input::Append { partition, batch: it.batch, records: it.record_count });
        }
        if is_placed {
            self.commit(promised);
        }
    }

    fn commit(&mut self, promised: Vec<(TopicPartition, i64)>) {
        let Some(InFlight { pending, .. }) = &self.in_flight else { return };
        let is_old = self.offset_at.is_none_or(|at| at + OFFSET_INTERVAL <= self.now);
        let names_group = self.membership.is_some() || is_old || pending.offset == CommitOffset::LedgerBase;
        // The group's fence (KIP-447). Without a group the producer's epoch is the one there is.
        let (generation_id, member_id, group_instance_id) = match &self.membership {
            Some(it) => (it.generation_id, Arc::clone(&it.member_id), it.instance_id.clone()),
            None => (-1, "".into(), None),
        };
        let commit = target::Input::Commit {
            ledger_partition: self.settings.ledger_partition.clone(),
            ledger_batch: pending.batch.clone(),
            offsets: names_group.then_some(OffsetCommit {
                offset: pending.offset,
                generation_id,
                member_id,
                group_instance_id,
            }),
            promised,
        };
        if names_group {
            self.offset_at = Some(self.now);
        }
        self.transact(commit);
    }

    /// Where somebody else writes to the same partitions, no place can be promised: the records go first, and the position says
    /// where they are. That costs a round trip, so it lasts only until nobody comes between any more.
    /// True where it was waited for.
    pub(super) fn place(&mut self) -> bool {
        let is_waiting = self.in_flight.as_ref().is_some_and(|it| it.unplaced.is_some());
        let Some(landed) = self.transactor.landed().filter(|_| is_waiting) else { return false };
        let first = |partition: &TopicPartition| {
            landed.iter().find(|(it, offset)| it == partition && *offset >= 0).map(|(_, offset)| *offset)
        };
        let mut changes = self.in_flight.as_mut().and_then(|it| it.unplaced.take()).unwrap_or_default();
        self.is_displaced = false;
        for Change { position, .. } in &mut changes {
            let target = TopicPartition::new(Arc::clone(&position.target_topic), position.target_partition);
            let found = first(&target).or(position.target_offset);
            self.is_displaced |= position.target_offset.is_some_and(|it| Some(it) != found);
            position.target_offset = found;
            if let (Some(letters), Some(into)) = (&mut position.dead_letters, &self.settings.dead_letters) {
                letters.target_offset = first(&into.partition).or(letters.target_offset);
            }
        }
        let time_ms = self.time_ms();
        if let (Some(ledger), Some(in_flight)) = (&self.ledger, &mut self.in_flight) {
            // It was small enough with other offsets; if it is not now, the records are still where it counts them.
            if let Ok(pending) = ledger.begin(self.settings.lane, changes, time_ms) {
                in_flight.pending = pending;
            }
        }
        self.commit(Vec::new());
        true
    }

    /// The streams that have work, beginning with the one that was left out last.
    fn in_turn(&mut self) -> Vec<TopicPartition> {
        let mut names: Vec<_> = self.streams.iter().filter(|(_, it)| it.is_ready()).map(|it| it.0.clone()).collect();
        if let Some(cursor) = self.cursor.take() {
            let at = names.partition_point(|name| *name < cursor);
            names.rotate_left(at);
        }
        names
    }

    fn gather(&mut self, partition: &TopicPartition, bytes_max: usize, batches_max: usize) -> Option<Gathered> {
        let (key, time_ms, now) = (self.key(partition), self.time_ms(), self.now);
        let log_append_time = self.settings.log_append_time;
        let skipped = i64::from(self.is_mutant(Mutant::PositionOffByOne) || planted(Bug::PositionOffByOne));
        let stream = self.streams.get_mut(partition)?;
        let (mut deliveries, mut batches, mut bytes) = (Vec::new(), Vec::new(), 0);
        let is_unrecorded = std::mem::take(&mut stream.is_unrecorded);
        // A first position goes alone. With its first records in one transaction, a crash would leave aborted records at the
        // target and no position, and the next start had to take the partition for somebody else's.
        while !is_unrecorded && (batches.is_empty() || (bytes < bytes_max && batches.len() < batches_max)) {
            let Some(delivery) = stream.take(batches_max - batches.len(), bytes_max.saturating_sub(bytes)) else {
                break;
            };
            bytes += delivery.batches.iter().map(|it| it.bytes().len()).sum::<usize>();
            batches.extend(delivery.batches.iter().cloned());
            deliveries.push(delivery);
        }
        let rules = Rules {
            position: stream.sent,
            max_message_bytes: stream.route.max_message_bytes,
            batch_bytes_max: stream.batch_bytes_max,
            log_append_time,
            merge: Some(MergeLimits::default()),
            uncompressed_bytes_max: UNCOMPRESSED_BYTES_MAX,
        };
        let check = stream.route.check.clone();
        let cluster_id = &self.settings.source_cluster_id;
        let knowledge = Knowledge { known: &self.schemas, told: &stream.told, now };
        let mut screening = check.as_deref().map(|it| Screening::new(it, knowledge, partition, cluster_id, time_ms));
        let screen = screening.as_mut().map(|it| it as &mut dyn Screen);
        let screened = prepare_screened(batches, &rules, screen).and_then(|prepared| {
            let reasons = screening.as_mut().map(|it| std::mem::take(&mut it.reasons)).unwrap_or_default();
            let letters = screening.take().map(|it| it.letters(self.settings.dead_letters.as_ref())).transpose()?;
            let letters = letters.filter(|_| !planted(Bug::LetterDropped));
            Ok((prepared, letters.unwrap_or_default(), reasons))
        });
        let (PreparedBatches { batches, read: records, .. }, letters, reasons) = match screened {
            Ok(screened) => screened,
            Err(error) => {
                let whole = batches_before(&deliveries, &error);
                if whole > 0 {
                    // They go first, alone; the next transaction begins with the one that is wrong.
                    stream.put_back(deliveries, rules.position, stream.leader_epoch, is_unrecorded, now);
                    return self.gather(partition, bytes_max, whole);
                }
                let needs = screening.as_mut().map(|it| std::mem::take(&mut it.needs)).unwrap_or_default();
                let objection = screening.and_then(|it| it.objection);
                if !needs.is_empty() {
                    stream.put_back(deliveries, rules.position, stream.leader_epoch, is_unrecorded, now);
                    self.hold(partition, needs);
                    return None;
                }
                let charged = deliveries.iter().map(|it| it.charged_bytes).sum();
                self.give_back(charged);
                self.incident(partition, objection.map_or(IncidentKind::Batch(error), IncidentKind::Invalid));
                return None;
            }
        };
        stream.told.clear();
        let (before, epoch_before) = (stream.sent, stream.leader_epoch);
        if let Some(last) = deliveries.last() {
            stream.sent = last.next_position.offset;
            stream.leader_epoch = last.next_position.leader_epoch;
        }
        let left = stream.has_queued();
        stream.data_since = stream.data_since.filter(|_| left);
        stream.passed_since = None;
        let target = stream.route.target.clone();
        let position = Position {
            next_offset: stream.sent + skipped,
            leader_epoch: stream.leader_epoch,
            topic_id: stream.route.topic_id,
            from: before,
            records: batches.iter().map(|it| u64::from(it.record_count)).sum(),
            target_topic: target.topic.clone(),
            target_partition: target.partition,
            target_topic_id: stream.route.target_topic_id,
            target_offset: self.transactor.stable_offset(&target).filter(|_| !batches.is_empty()),
            transaction: 0,
            time_ms: 0,
            dead_letters: self.dead_letters(&letters),
            decision: None,
            anchor: None,
        };
        let part =
            Part { partition: partition.clone(), deliveries, sent: before, leader_epoch: epoch_before, is_unrecorded };
        let headers = || part.deliveries.iter().flat_map(|it| &it.batches).map(|it| (it.header(), it.bytes().len()));
        let timestamp_ms = headers().filter(|it| it.0.record_count > 0).map(|it| it.0.max_timestamp).max();
        let read = Read { records, bytes: headers().map(|it| it.1 as u64).sum(), timestamp_ms };
        Some(Gathered { part, change: Change { key, position }, target, batches, letters, reasons, read })
    }

    pub(super) fn committed(&mut self, landed: &[(TopicPartition, i64)]) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.is_unsigned = false;
        self.size.committed();
        self.signed();
        self.give_back(in_flight.charged_bytes());
        if let Some(ledger) = &mut self.ledger {
            ledger.committed(in_flight.pending, landed);
        }
        for part in &in_flight.parts {
            let Some(stream) = self.streams.get_mut(&part.partition) else { continue };
            stream.accepted();
            match stream.state {
                StreamState::Emptying if !stream.has_queued() => stream.state = StreamState::Stopped,
                StreamState::Leaving if !stream.has_work() => self.left(&part.partition),
                _ => {}
            }
        }
        let latency = self.now.saturating_duration_since(in_flight.since);
        self.output(Output::Event(Event::Committed(Counts { latency, ..in_flight.counts })));
    }

    /// The open transaction's records wait again, in front of what came after them.
    pub(super) fn rewind(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.size.aborted();
            self.put_back(in_flight.parts);
        }
    }

    fn put_back(&mut self, parts: Vec<Part>) {
        for mut part in parts {
            if self.is_mutant(Mutant::ForgetOnRewind) && !part.deliveries.is_empty() {
                let forgotten = part.deliveries.remove(0);
                self.give_back(forgotten.charged_bytes);
            }
            if self.is_mutant(Mutant::ReversePutBack) {
                part.deliveries.reverse();
            }
            let charged: usize = part.deliveries.iter().map(|it| it.charged_bytes).sum();
            match self.streams.get_mut(&part.partition) {
                Some(stream) if stream.state != StreamState::Stopped => {
                    stream.put_back(part.deliveries, part.sent, part.leader_epoch, part.is_unrecorded, self.now);
                }
                _ => self.give_back(charged),
            }
        }
    }
}
