//! A source cluster, small enough to be believed: the judge of `properties`, and the source of the lane's.

use crate::source::lookup::{EARLIEST, LATEST};
use crate::source::message::{
    AbortedTransaction, Answer, EpochEnd, FetchPartition, FetchRequest, FetchedPartition, Isolation, LeaderView,
    ListOffsetsPartition, ListedOffset, SourceRequest,
};
use crate::source::samples::{Sample, join};
use crate::types::{NodeId, TopicPartition};
use bytes::Bytes;
use std::collections::BTreeMap;
use uuid::Uuid;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
const UNDEFINED: (i32, i64) = (-1, -1);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Compacted,
    Deleted,
    /// By an unclean election, or with its topic.
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) offset: i64,
    pub(crate) topic_id: Uuid,
    /// To a read_committed consumer.
    pub(crate) is_visible: bool,
    pub(crate) was_visible: bool,
    /// An unclean election may take the marker away, and the transaction be committed then.
    pub(crate) was_aborted: bool,
    pub(crate) fate: Fate,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) topic_id: Uuid,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_epoch: i32,
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    batches: Vec<Sample>,
    /// `LeaderEpochFileCache`: epoch and start offset.
    epochs: Vec<(i32, i64)>,
    /// Producer and first offset of transactions without a marker.
    open: BTreeMap<i64, i64>,
    /// Producer, first offset, offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    /// The range of the next fetch is checked against this; what lies before `log_start` is gone when it is read.
    checked_start: Option<i64>,
    /// The offsets that unclean elections cut the log at.
    pub(crate) cuts: Vec<i64>,
    /// Everything ever written, by its value, other incarnations of the topic included.
    pub(crate) written: BTreeMap<u64, Written>,
}

pub(crate) struct Model {
    pub(crate) logs: BTreeMap<TopicPartition, Log>,
    next_value: u64,
    next_topic_id: u128,
    /// Whether a leader compares the epoch of the last fetched record by itself (Fetch v12). Where one does not, only the
    /// machine's own question can find an unclean election.
    pub(crate) compares_epochs: bool,
}

impl Log {
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Below this nobody can know any more: retention has taken the place where an unclean election cut the log, and for an
    /// epoch older than all it knows a leader answers as if that epoch had reached to the log's start.
    pub(crate) fn forgotten_before(&self, cuts_known: usize) -> i64 {
        if self.cuts[cuts_known..].iter().any(|cut| *cut < self.log_start) { self.log_start } else { 0 }
    }

    pub(crate) fn open_producers(&self) -> Vec<i64> {
        self.open.keys().copied().collect()
    }

    pub(crate) fn batch_ends(&self) -> Vec<i64> {
        self.batches.iter().map(Sample::next_offset).collect()
    }

    fn append(&mut self, mut sample: Sample) {
        sample.leader_epoch = self.leader_epoch;
        self.end = sample.next_offset();
        for (offset, value) in sample.records() {
            let written = Written {
                offset,
                topic_id: self.topic_id,
                is_visible: false,
                was_visible: false,
                was_aborted: false,
                fate: Fate::Kept,
            };
            self.written.insert(value, written);
        }
        self.batches.push(sample);
        self.settle();
    }

    /// As `ProducerStateManager` rebuilds it from the log: what is open, aborted, and so visible.
    fn settle(&mut self) {
        self.open.clear();
        self.aborted.clear();
        for batch in self.batches.iter().filter(|it| it.is_transactional()) {
            if !batch.is_control() {
                self.open.entry(batch.producer_id).or_insert(batch.base_offset);
            } else if let Some(first) = self.open.remove(&batch.producer_id)
                && batch.is_abort()
            {
                self.aborted.push((batch.producer_id, first, batch.base_offset));
            }
        }
        let stable = self.last_stable_offset();
        for batch in &self.batches {
            let is_aborted = batch.is_transactional()
                && self.aborted.iter().any(|(producer, first, last)| {
                    *producer == batch.producer_id && (*first..*last).contains(&batch.base_offset)
                });
            for (_, value) in batch.records() {
                if let Some(written) = self.written.get_mut(&value) {
                    written.is_visible = batch.base_offset < stable && !is_aborted;
                    written.was_visible |= written.is_visible;
                    written.was_aborted |= is_aborted;
                }
            }
        }
    }

    fn remove(&mut self, fate: Fate, is_gone: impl Fn(&Sample) -> bool) {
        let (gone, left) = std::mem::take(&mut self.batches).into_iter().partition(is_gone);
        self.batches = left;
        let gone: Vec<Sample> = gone;
        for (_, value) in gone.iter().flat_map(Sample::records) {
            if let Some(written) = self.written.get_mut(&value) {
                written.fate = fate;
            }
        }
        self.settle();
    }

    /// `LeaderEpochFileCache.endOffsetFor`.
    fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let Some((latest, _)) = self.epochs.last() else { return UNDEFINED };
        if *latest == epoch {
            return (epoch, self.end);
        }
        let Some((_, end)) = self.epochs.iter().find(|it| it.0 > epoch) else { return UNDEFINED };
        let floor = self.epochs.iter().rev().find(|it| it.0 <= epoch);
        (floor.map_or(epoch, |it| it.0), *end)
    }

    fn lead(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.leader_epoch += 1;
        self.epochs.retain(|it| it.1 < self.end);
        self.epochs.push((self.leader_epoch, self.end));
    }

    fn refusal(&self, node: NodeId, epoch: i32) -> i16 {
        match self.leader {
            leader if leader != Some(node) => NOT_LEADER_OR_FOLLOWER,
            _ if (0..self.leader_epoch).contains(&epoch) => FENCED_LEADER_EPOCH,
            _ if epoch > self.leader_epoch => UNKNOWN_LEADER_EPOCH,
            _ => 0,
        }
    }

    fn fetch(
        &mut self,
        node: NodeId,
        asked: &FetchPartition,
        room: usize,
        whole: bool,
        compares: bool,
    ) -> FetchedPartition {
        let mut answer = FetchedPartition {
            error_code: self.refusal(node, asked.current_leader_epoch),
            high_watermark: self.end,
            last_stable_offset: self.last_stable_offset(),
            log_start_offset: self.checked_start.take().unwrap_or(self.log_start),
            diverging_epoch: None,
            aborted_transactions: Vec::new(),
            records: Bytes::new(),
        };
        let (from, stable) = (asked.fetch_offset, self.last_stable_offset());
        if !asked.topic_id.is_nil() && asked.topic_id != self.topic_id {
            answer.error_code = UNKNOWN_TOPIC_ID;
        }
        if answer.error_code != 0 {
            return answer;
        }
        if !(answer.log_start_offset..=self.end).contains(&from) {
            answer.error_code = OFFSET_OUT_OF_RANGE;
            return answer;
        }
        if asked.last_fetched_epoch >= 0 && compares {
            let (leader_epoch, end_offset) = self.epoch_end(asked.last_fetched_epoch);
            if (leader_epoch, end_offset) == UNDEFINED {
                answer.error_code = OFFSET_OUT_OF_RANGE;
                return answer;
            }
            if leader_epoch < asked.last_fetched_epoch || end_offset < from {
                answer.diverging_epoch = Some(EpochEnd { error_code: 0, leader_epoch, end_offset });
                return answer;
            }
        }
        let of_range = |it: &&Sample| it.next_offset() > from && it.base_offset < stable;
        let batches: Vec<_> = self.batches.iter().filter(of_range).cloned().collect();
        let Some(first) = batches.first().map(|it| it.bytes().len()) else { return answer };
        let limit = room.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
        let limit = if whole { limit.max(first) } else { limit };
        // From version 3 on an answer never begins with a part of a batch (`ReplicaManager.readFromLog`).
        if limit < first {
            return answer;
        }
        let bytes = join(&batches);
        answer.records = bytes.slice(..limit.min(bytes.len()));
        let overlapping = self.aborted.iter().filter(|it| it.2 >= from && it.1 < stable);
        answer.aborted_transactions =
            overlapping.map(|it| AbortedTransaction { producer_id: it.0, first_offset: it.1 }).collect();
        answer
    }

    fn list(&self, node: NodeId, asked: &ListOffsetsPartition, isolation: Isolation) -> ListedOffset {
        let error_code = self.refusal(node, asked.current_leader_epoch);
        if error_code != 0 {
            return ListedOffset { error_code, offset: -1, leader_epoch: -1 };
        }
        let stable = self.last_stable_offset();
        let offset = match (asked.timestamp, isolation) {
            (EARLIEST, _) => self.log_start,
            (LATEST, Isolation::ReadCommitted) => stable,
            (LATEST, Isolation::ReadUncommitted) => self.end,
            // A record's value stands for its time.
            (time, _) => {
                let mut records = self.batches.iter().flat_map(Sample::records);
                let found = records.find(|(_, value)| *value as i64 >= time).map(|it| it.0.max(self.log_start));
                found.filter(|it| *it < stable).unwrap_or(-1)
            }
        };
        let leader_epoch = self.epochs.iter().rev().find(|it| it.1 <= offset).map_or(-1, |it| it.0);
        ListedOffset { error_code, offset, leader_epoch }
    }
}

impl Model {
    pub(crate) fn new(names: impl IntoIterator<Item = TopicPartition>) -> Self {
        let mut model = Self { logs: BTreeMap::new(), next_value: 1, next_topic_id: 1, compares_epochs: true };
        for name in names {
            model.create(name, 0);
        }
        model
    }

    fn create(&mut self, name: TopicPartition, leader: NodeId) {
        let topic_id = Uuid::from_u128(self.next_topic_id);
        self.next_topic_id += 1;
        let log = self.logs.entry(name).or_default();
        log.remove(Fate::Lost, |_| true);
        let (cuts, written) = (std::mem::take(&mut log.cuts), std::mem::take(&mut log.written));
        *log = Log { topic_id, leader: Some(leader), epochs: vec![(0, 0)], cuts, written, ..Log::default() };
    }

    fn log(&mut self, name: &TopicPartition) -> &mut Log {
        self.logs.get_mut(name).expect("a partition of the model")
    }

    pub(crate) fn produce(&mut self, name: &TopicPartition, count: i32, producer: Option<i64>) {
        let first_value = self.next_value;
        self.next_value += u64::from(count.unsigned_abs());
        let log = self.log(name);
        let mut sample = Sample::data(log.end, count);
        sample.first_value = first_value;
        log.append(if let Some(producer) = producer { sample.of(producer) } else { sample });
    }

    pub(crate) fn end_transaction(&mut self, name: &TopicPartition, producer: i64, commit: bool) {
        let log = self.log(name);
        if log.open.contains_key(&producer) {
            let marker = if commit { Sample::commit } else { Sample::abort };
            log.append(marker(log.end, producer));
        }
    }

    /// Takes one batch that is decided and not the log's last, in whole or in part.
    pub(crate) fn compact(&mut self, name: &TopicPartition, choice: usize) {
        let log = self.log(name);
        let stable = log.last_stable_offset();
        let is_candidate = |it: &Sample| !it.is_control() && it.base_offset < stable && it.next_offset() < log.end;
        let candidates: Vec<_> = log.batches.iter().filter(|it| is_candidate(it)).map(|it| it.base_offset).collect();
        let Some(base) = candidates.get(choice % candidates.len().max(1)).copied() else { return };
        if choice.is_multiple_of(3) {
            return log.remove(Fate::Compacted, |it| it.base_offset == base);
        }
        let Some(batch) = log.batches.iter_mut().find(|it| it.base_offset == base) else { return };
        let taken: Vec<_> = batch.records().enumerate().filter(|(index, _)| choice % 4 == 1 || *index == 0).collect();
        for (_, (offset, value)) in taken {
            *batch = batch.clone().without((offset - base) as i32);
            if let Some(written) = log.written.get_mut(&value) {
                written.fate = Fate::Compacted;
            }
        }
    }

    /// Retention or DeleteRecords: nothing before `offset` can be read any more.
    pub(crate) fn delete_before(&mut self, name: &TopicPartition, offset: i64) {
        let log = self.log(name);
        log.log_start = log.log_start.max(offset.min(log.last_stable_offset()));
        let start = log.log_start;
        log.remove(Fate::Deleted, |it| it.next_offset() <= start);
        for written in log.written.values_mut().filter(|it| it.fate == Fate::Kept && it.offset < start) {
            written.fate = Fate::Deleted;
        }
        // `LeaderEpochFileCache.truncateFromStart` keeps the epoch that the first offset is of.
        let of_start = log.epochs.iter().rposition(|it| it.1 <= start).unwrap_or(0);
        log.epochs.drain(..of_start);
        if let Some(first) = log.epochs.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// The next fetch is found in range, and then reads a log whose first segments are gone.
    pub(crate) fn delete_during_read(&mut self, name: &TopicPartition, offset: i64) {
        let before = self.log(name).log_start;
        self.delete_before(name, offset);
        self.log(name).checked_start = Some(before);
    }

    pub(crate) fn move_leader(&mut self, name: &TopicPartition, leader: Option<NodeId>) {
        self.log(name).lead(leader);
    }

    /// A replica that had less becomes the leader.
    pub(crate) fn elect_uncleanly(&mut self, name: &TopicPartition, leader: NodeId, end: i64) {
        let log = self.log(name);
        // A replica has whole batches, and the log does not end before it begins.
        let is_whole = log.batches.first().is_none_or(|it| it.base_offset >= log.log_start);
        let ends: Vec<_> = is_whole.then_some(log.log_start).into_iter().chain(log.batch_ends()).collect();
        let end = ends.iter().rev().find(|it| **it <= end).or(ends.first()).copied().unwrap_or(log.end);
        if end < log.end {
            log.cuts.push(end);
        }
        log.end = end;
        log.remove(Fate::Lost, |it| it.base_offset >= end);
        log.epochs.retain(|it| it.1 < end);
        log.lead(Some(leader));
    }

    pub(crate) fn recreate(&mut self, name: &TopicPartition) {
        let leader = self.log(name).leader.unwrap_or(0);
        self.create(name.clone(), leader);
    }

    pub(crate) fn view(&self) -> BTreeMap<TopicPartition, LeaderView> {
        let view =
            |log: &Log| LeaderView { leader: log.leader, leader_epoch: log.leader_epoch, topic_id: log.topic_id };
        self.logs.iter().map(|(name, log)| (name.clone(), view(log))).collect()
    }

    pub(crate) fn answer(&mut self, node: NodeId, request: &SourceRequest) -> Answer {
        match request {
            SourceRequest::Fetch(request) => self.fetch(node, request),
            SourceRequest::ListOffsets { isolation, partitions } => {
                let of = |it: &ListOffsetsPartition| {
                    (it.partition.clone(), self.logs[&it.partition].list(node, it, *isolation))
                };
                Answer::ListOffsets { partitions: partitions.iter().map(of).collect() }
            }
            SourceRequest::OffsetForLeaderEpoch { partitions } => {
                let answers = partitions.iter().map(|it| {
                    let log = &self.logs[&it.partition];
                    let error_code = log.refusal(node, it.current_leader_epoch);
                    let (leader_epoch, end_offset) = log.epoch_end(it.leader_epoch);
                    (it.partition.clone(), EpochEnd { error_code, leader_epoch, end_offset })
                });
                Answer::OffsetForLeaderEpoch { partitions: answers.collect() }
            }
        }
    }

    fn fetch(&mut self, node: NodeId, request: &FetchRequest) -> Answer {
        let mut room = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut is_empty = true;
        let compares = self.compares_epochs;
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for asked in &request.partitions {
            let fetched = self.log(&asked.partition).fetch(node, asked, room, is_empty, compares);
            room = room.saturating_sub(fetched.records.len());
            is_empty &= fetched.records.is_empty();
            partitions.push((asked.partition.clone(), fetched));
        }
        Answer::Fetch { partitions }
    }
}
