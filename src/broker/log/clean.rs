//! Retention and compaction, by whole segments and never in the active one (Kafka's LogManager and Cleaner).

use super::Log;
use super::stored::{DELETE_HORIZON, encode};
use crate::batch::{Compression, Header, RawBatch, RecordView, UNCOMPRESSED_BYTES_MAX, compress};
use crate::broker::configs::TopicConfig;
use std::collections::BTreeMap;

/// What becomes of a batch.
enum Cleaned {
    Kept,
    Rewritten(RawBatch),
    Gone,
}

impl Log {
    /// Deletes what is too old or too much. Returns whether the log's start moved.
    pub(crate) fn retain(&mut self, now_ms: i64, config: &TopicConfig) -> bool {
        let before = self.start;
        if config.delete && config.retention_ms >= 0 {
            while let Some(segment) = self.segments.front().copied()
                && now_ms.saturating_sub(segment.max_timestamp) > config.retention_ms
                && self.drop_first_segment()
            {}
        }
        if config.delete
            && let Ok(limit) = usize::try_from(config.retention_bytes)
        {
            while self.segments.front().is_some_and(|it| self.bytes.saturating_sub(it.bytes) >= limit)
                && self.segments.len() > 1
                && self.drop_first_segment()
            {}
        }
        self.start > before
    }

    /// False: it is not replicated yet.
    fn drop_first_segment(&mut self) -> bool {
        let next = self.segments.get(1).map_or(self.end, |it| it.base_offset);
        next > self.start && self.move_start(next).is_ok()
    }

    /// Keeps of each key the last record, and leaves holes. Returns the number of records that went.
    pub(crate) fn compact(&mut self, now_ms: i64, config: &TopicConfig) -> usize {
        let limit = self.cleanable_to(now_ms, config);
        if !config.compact || limit <= self.cleaned_to.max(self.start) {
            return 0;
        }
        let latest = self.latest_offsets(limit);
        let mut gone = 0;
        let mut batches = std::mem::take(&mut self.batches);
        batches.retain_mut(|batch| {
            if batch.header().base_offset >= limit || batch.header().is_control() {
                return true;
            }
            let before = batch.header().record_count;
            match self.clean_batch(batch, &latest, now_ms, config) {
                Cleaned::Kept => true,
                Cleaned::Rewritten(rewritten) => {
                    gone += before.abs_diff(rewritten.header().record_count) as usize;
                    *batch = rewritten;
                    true
                }
                Cleaned::Gone => {
                    gone += before.unsigned_abs() as usize;
                    false
                }
            }
        });
        self.batches = batches;
        self.bytes = self.batches.iter().map(|it| it.bytes().len()).sum();
        self.cleaned_to = limit;
        self.recount_segments();
        gone
    }

    /// Internal logs are read by nobody: only what open transactions need is kept.
    pub(crate) fn trim(&mut self, batches_max: usize) {
        if let Some(cut) = self.batches.len().checked_sub(batches_max).filter(|it| *it > batches_max) {
            let start = self.batches[cut].header().base_offset.min(self.last_stable_offset());
            // Below the high watermark by construction.
            let _ = self.move_start(start);
        }
    }

    /// The active segment, open transactions and young records are left alone.
    fn cleanable_to(&self, now_ms: i64, config: &TopicConfig) -> i64 {
        let Some(active) = self.segments.back() else { return self.start };
        let young = self
            .segments
            .iter()
            .find(|it| config.min_compaction_lag_ms > 0 && it.max_timestamp > now_ms - config.min_compaction_lag_ms);
        let limit = young.map_or(active.base_offset, |it| it.base_offset.min(active.base_offset));
        limit.min(self.last_stable_offset())
    }

    fn latest_offsets(&self, limit: i64) -> BTreeMap<Vec<u8>, i64> {
        let mut latest = BTreeMap::new();
        for batch in self.batches.iter().filter(|it| !it.header().is_control()) {
            let header = batch.header();
            if header.base_offset >= limit {
                break;
            }
            if header.is_transactional() && self.producers.is_aborted(header.producer_id, header.base_offset) {
                continue;
            }
            let Ok(decoded) = batch.decode(UNCOMPRESSED_BYTES_MAX) else { continue };
            for record in decoded.records().map_while(Result::ok) {
                if let Some(key) = record.key {
                    latest.insert(key.to_vec(), decoded.offset(&record));
                }
            }
        }
        latest
    }

    fn clean_batch(
        &self,
        batch: &RawBatch,
        latest: &BTreeMap<Vec<u8>, i64>,
        now_ms: i64,
        config: &TopicConfig,
    ) -> Cleaned {
        let header = batch.header();
        let Ok(decoded) = batch.decode(UNCOMPRESSED_BYTES_MAX) else { return Cleaned::Kept };
        let aborted = header.is_transactional() && self.producers.is_aborted(header.producer_id, header.base_offset);
        let horizon_passed = header.has_delete_horizon() && header.base_timestamp <= now_ms;
        let keeps = |record: &RecordView<'_>| {
            let is_latest = record.key.and_then(|key| latest.get(key)).is_some_and(|it| *it == decoded.offset(record));
            !aborted && is_latest && (record.value.is_some() || !horizon_passed)
        };
        let Ok(records) = decoded.records().collect::<Result<Vec<_>, _>>() else { return Cleaned::Kept };
        let kept: Vec<_> = records.iter().filter(|it| keeps(it)).collect();
        // KIP-534: tombstones live for a time that begins at their first cleaning, and the batch remembers its end.
        let has_tombstone = kept.iter().any(|it| it.value.is_none());
        let new_horizon = has_tombstone && !header.has_delete_horizon();
        if kept.len() == records.len() && !new_horizon {
            return Cleaned::Kept;
        }
        if kept.is_empty() {
            // The producer's last sequence must outlive its records.
            let last = self.producers.get(header.producer_id).and_then(super::producers::Producer::last_data_offset);
            if last != Some(header.last_offset()) {
                return Cleaned::Gone;
            }
        }
        let base_timestamp = if new_horizon { now_ms + config.delete_retention_ms } else { header.base_timestamp };
        let mut body = Vec::new();
        for record in &kept {
            write_record(&mut body, record, decoded.create_time(record).wrapping_sub(base_timestamp));
        }
        let compressed = match header.compression() {
            Compression::None => Ok(body),
            compression => compress(compression, &body),
        };
        let max_timestamp = kept.iter().map(|it| decoded.timestamp(it)).max().unwrap_or(header.max_timestamp);
        let rewritten = Header {
            record_count: i32::try_from(kept.len()).unwrap_or(0),
            base_timestamp,
            max_timestamp,
            attributes: header.attributes | if new_horizon { DELETE_HORIZON } else { 0 },
            ..header
        };
        match compressed.map(|body| encode(&rewritten, &body)) {
            Ok(Ok(batch)) => Cleaned::Rewritten(batch),
            _ => Cleaned::Kept,
        }
    }
}

/// A record at its old offset in its batch.
fn write_record(output: &mut Vec<u8>, record: &RecordView<'_>, timestamp_delta: i64) {
    let mut bytes = vec![record.attributes];
    write_varint(&mut bytes, timestamp_delta);
    write_varint(&mut bytes, i64::from(record.offset_delta));
    for field in [record.key, record.value] {
        match field {
            Some(field) => {
                write_varint(&mut bytes, field.len() as i64);
                bytes.extend_from_slice(field);
            }
            None => write_varint(&mut bytes, -1),
        }
    }
    write_varint(&mut bytes, record.header_count as i64);
    bytes.extend_from_slice(record.raw_headers);
    write_varint(output, bytes.len() as i64);
    output.extend_from_slice(&bytes);
}

fn write_varint(output: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        output.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}
