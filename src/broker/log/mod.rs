//! A partition's log in memory: batches re-based by offset, as a Kafka broker would have them on disk (UnifiedLog).

mod clean;
mod epochs;
mod producers;
mod read;
mod stored;
mod validate;

#[cfg(test)]
mod tests;

pub(crate) use epochs::{EpochEnd, UNDEFINED};
pub(crate) use producers::Producers;
pub(crate) use read::Found;
pub(crate) use stored::Marker;
pub(crate) use validate::{Rejection, single_batch};

use crate::batch::RawBatch;
use crate::broker::configs::TopicConfig;
use bytes::Bytes;
use epochs::Epochs;
use kafka_protocol::ResponseError;
use producers::{Appended, Verdict};
use std::collections::VecDeque;
use stored::Place;

/// A batch's bytes under another header.
#[cfg(test)]
pub(crate) fn encode_for_tests(header: &crate::batch::Header, body: &[u8]) -> Bytes {
    stored::encode(header, body).unwrap().bytes().clone()
}

/// What retention, compaction and rolling work on.
#[derive(Clone, Copy, Debug)]
struct Segment {
    base_offset: i64,
    bytes: usize,
    /// The largest timestamp of its first batch, from which `segment.ms` counts.
    first_timestamp: i64,
    max_timestamp: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    batches: VecDeque<RawBatch>,
    segments: VecDeque<Segment>,
    start: i64,
    end: i64,
    high_watermark: i64,
    epochs: Epochs,
    pub(crate) producers: Producers,
    bytes: usize,
    /// Everything before it is clean.
    cleaned_to: i64,
}

/// A client's batch, and under which conditions it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append<'a> {
    pub(crate) version: i16,
    pub(crate) records: &'a Bytes,
    pub(crate) leader_epoch: i32,
    /// The transaction's coordinator knows this partition.
    pub(crate) verified: bool,
    pub(crate) now_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct AppendInfo {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    /// −1 where the producer's time counts.
    pub(crate) log_append_time_ms: i64,
    /// None: a duplicate, which is not appended again.
    pub(crate) appended: Option<RawBatch>,
}

impl Log {
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// Kafka's log end offset: the next batch's.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &RawBatch> {
        self.batches.iter()
    }

    pub(crate) fn last_stable_offset(&self) -> i64 {
        let unstable = self.producers.first_unstable().map(|it| it.max(self.start));
        unstable.map_or(self.high_watermark, |it| it.min(self.high_watermark))
    }

    pub(crate) fn append(&mut self, append: Append<'_>, config: &TopicConfig) -> Result<AppendInfo, Rejection> {
        let Append { version, records, leader_epoch, verified, now_ms } = append;
        let single = validate::single_batch(version, records)?;
        let batch = validate::validate(&single, config, now_ms, self.end, leader_epoch)?;
        if batch.header().producer_id >= 0 {
            match self.producers.check(&batch.header(), verified)? {
                Verdict::Append => {}
                Verdict::Duplicate(Appended { first_offset: base_offset, last_offset, timestamp, .. }) => {
                    return Ok(AppendInfo { base_offset, last_offset, log_append_time_ms: timestamp, appended: None });
                }
            }
        }
        self.store(batch.clone(), config);
        let header = batch.header();
        let log_append_time_ms = if config.log_append_time { now_ms } else { -1 };
        Ok(AppendInfo {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms,
            appended: Some(batch),
        })
    }

    /// A marker of the transaction coordinator.
    pub(crate) fn append_marker(
        &mut self,
        marker: Marker,
        leader_epoch: i32,
        now_ms: i64,
        config: &TopicConfig,
    ) -> Result<RawBatch, ResponseError> {
        let Marker { producer_id, producer_epoch, coordinator_epoch, .. } = marker;
        self.producers.check_marker(producer_id, producer_epoch, coordinator_epoch)?;
        let place = Place { base_offset: self.end, leader_epoch, now_ms };
        let batch = stored::marker(place, marker).map_err(|_| ResponseError::UnknownServerError)?;
        self.store(batch.clone(), config);
        Ok(batch)
    }

    /// The group coordinator's own record of offsets that belong to a transaction.
    pub(crate) fn append_coordinator_record(
        &mut self,
        (producer_id, producer_epoch): (i64, i16),
        verified: bool,
        leader_epoch: i32,
        now_ms: i64,
        config: &TopicConfig,
    ) -> Result<RawBatch, ResponseError> {
        let place = Place { base_offset: self.end, leader_epoch, now_ms };
        let record = stored::coordinator_record(place, producer_id, producer_epoch, b"offsets");
        let batch = record.map_err(|_| ResponseError::UnknownServerError)?;
        let open = self.producers.has_open_transaction(producer_id, producer_epoch);
        if self.producers.get(producer_id).is_some_and(|it| producer_epoch < it.epoch) {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if !open && !verified {
            return Err(ResponseError::InvalidTxnState);
        }
        self.store(batch.clone(), config);
        Ok(batch)
    }

    /// Takes a batch that is right for this place: it was checked, or it comes back from the data folder.
    pub(crate) fn store(&mut self, batch: RawBatch, config: &TopicConfig) {
        let header = batch.header();
        self.epochs.assign(header.partition_leader_epoch, header.base_offset);
        self.roll(&batch, config);
        if header.is_control() {
            if let Some((commit, coordinator_epoch)) = stored::read_marker(&batch) {
                self.producers.ended(&header, coordinator_epoch, commit);
            }
        } else {
            self.producers.appended(&header);
        }
        self.bytes += batch.bytes().len();
        self.end = header.next_offset();
        self.batches.push_back(batch);
    }

    fn roll(&mut self, batch: &RawBatch, config: &TopicConfig) {
        let (header, bytes) = (batch.header(), batch.bytes().len());
        match self.segments.back_mut() {
            Some(segment)
                if segment.bytes + bytes <= config.segment_bytes
                    && header.max_timestamp.saturating_sub(segment.first_timestamp) <= config.segment_ms =>
            {
                segment.bytes += bytes;
                segment.max_timestamp = segment.max_timestamp.max(header.max_timestamp);
            }
            _ => self.segments.push_back(Segment {
                base_offset: header.base_offset,
                bytes,
                first_timestamp: header.max_timestamp,
                max_timestamp: header.max_timestamp,
            }),
        }
    }

    /// An empty log that begins at `start`: what a data folder has of it follows.
    pub(crate) fn begin_at(&mut self, start: i64) {
        *self = Self { start, end: start, high_watermark: start, cleaned_to: start, ..Self::default() };
    }

    /// Every replica has everything.
    pub(crate) fn replicate(&mut self) {
        self.high_watermark = self.end;
        self.producers.replicated(self.high_watermark);
    }

    /// A new leader begins its epoch at the end of the log.
    pub(crate) fn begin_epoch(&mut self, epoch: i32) {
        self.epochs.assign(epoch, self.end);
    }

    pub(crate) fn end_offset_for_epoch(&self, epoch: i32) -> EpochEnd {
        self.epochs.end_offset_for(epoch, self.end)
    }

    pub(crate) fn earliest_epoch(&self) -> Option<(i32, i64)> {
        self.epochs.earliest()
    }

    /// DeleteRecords, and the end of retention's work. Batches that hold the new start stay whole.
    pub(crate) fn move_start(&mut self, start: i64) -> Result<(), ResponseError> {
        if start > self.high_watermark {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if start <= self.start {
            return Ok(());
        }
        self.start = start;
        while self.batches.front().is_some_and(|it| it.header().last_offset() < start) {
            self.bytes -= self.batches.pop_front().map_or(0, |it| it.bytes().len());
        }
        self.epochs.truncate_from_start(start);
        self.producers.log_start_moved(start);
        self.recount_segments();
        Ok(())
    }

    /// An unclean election: what the new leader never had is gone.
    pub(crate) fn truncate(&mut self, end: i64, config: &TopicConfig) {
        let kept: Vec<RawBatch> = self.batches.iter().filter(|it| it.header().last_offset() < end).cloned().collect();
        let mut epochs = std::mem::take(&mut self.epochs);
        epochs.truncate_from_end(end);
        let (start, high_watermark) = (self.start, self.high_watermark);
        *self = Self { start, end: start, ..Self::default() };
        for batch in kept {
            self.store(batch, config);
        }
        self.epochs = epochs;
        self.high_watermark = high_watermark.min(self.end);
        self.producers.replicated(self.high_watermark);
    }

    /// Segments keep their boundaries; their sizes follow the batches that are left.
    fn recount_segments(&mut self) {
        while self.segments.get(1).is_some_and(|next| next.base_offset <= self.start) {
            self.segments.pop_front();
        }
        for index in 0..self.segments.len() {
            let from = self.segments[index].base_offset;
            let to = self.segments.get(index + 1).map_or(i64::MAX, |it| it.base_offset);
            let of = self.batches.iter().filter(|it| (from..to).contains(&it.header().base_offset));
            self.segments[index].bytes = of.map(|it| it.bytes().len()).sum();
        }
        if self.batches.is_empty() {
            self.segments.clear();
        }
    }
}
