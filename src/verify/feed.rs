//! One end of a comparison: batches come in, records go out in their order, from one offset to another.

use super::entry::{Digest, Entry, Mask, fingerprint};
use super::letters::{Filed, OfPartition};
use super::replays::Replays;
use crate::batch::{BatchError, DecodedBatch, Place, RawBatch, RecordView, UNCOMPRESSED_BYTES_MAX};
use std::collections::VecDeque;

pub(super) struct Feed {
    /// Records before it are not looked at.
    from: i64,
    /// Nor those from here on.
    to: i64,
    /// What the producers wrote, where the broker's own time is not to be compared.
    with_create_time: bool,
    mask: Mask,
    /// Records that went to the dead letters instead, or came from them, by their offsets: they are passed over.
    letters: VecDeque<(i64, Vec<Filed>)>,
    /// Those that were passed over, to be judged.
    pub(super) passed: Vec<Passed>,
    /// The offset behind the last of them.
    passed_to: i64,
    /// Their keys, by offset, until the comparison is there: some were passed over while the feed looked ahead. No more than
    /// there are dead letters.
    passed_keys: VecDeque<(i64, u128)>,
    batches: VecDeque<RawBatch>,
    current: Option<(DecodedBatch, Place)>,
    /// Looked at before it was their turn, to find where the ends agree again.
    pub(super) ahead: VecDeque<Entry>,
    /// Nothing more will come.
    is_ended: bool,
    /// The offset behind everything that was taken.
    pub(super) next: i64,
}

/// Where there are dead letters.
pub(super) struct Passed {
    pub(super) offset: i64,
    /// None: there is no such record.
    pub(super) digest: Option<Digest>,
    /// The same without the ids of mapped schemas.
    pub(super) masked: Option<Digest>,
    pub(super) filed: Vec<Filed>,
}

/// The next record of a feed.
pub(super) struct Head<'a> {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) record: RecordView<'a>,
    pub(super) behind: Place,
}

impl Feed {
    pub(super) fn new(from: i64, to: i64, with_create_time: bool, mask: Mask) -> Self {
        Self {
            from,
            to,
            with_create_time,
            mask,
            letters: VecDeque::new(),
            passed: Vec::new(),
            passed_to: from,
            passed_keys: VecDeque::new(),
            batches: VecDeque::new(),
            current: None,
            ahead: VecDeque::new(),
            is_ended: from >= to,
            next: from,
        }
    }

    pub(super) fn pass_over(&mut self, letters: &OfPartition) {
        if self.from < self.to {
            self.letters = letters.range(self.from..self.to).map(|(offset, filed)| (*offset, filed.clone())).collect();
        }
    }

    /// The same with places at the target.
    pub(super) fn pass_over_replays(&mut self, replays: &Replays) {
        if self.from < self.to {
            self.letters = replays.range(self.from..self.to).map(|(offset, _)| (*offset, Vec::new())).collect();
        }
    }

    fn next_letter(&self) -> i64 {
        self.letters.front().map_or(i64::MAX, |it| it.0)
    }

    /// Behind all that was taken or passed over, where nothing is `ahead`.
    pub(super) fn behind(&self) -> i64 {
        self.next.max(self.passed_to)
    }

    /// Dead letters of records that did not come. What lies behind a record that was not taken was not reached: nobody knows
    /// yet whether it comes.
    pub(super) fn unmet(&mut self) -> Vec<Passed> {
        let is_read = self.is_ended && self.current.is_none() && self.batches.is_empty() && self.ahead.is_empty();
        let unmet = self.letters.drain(..).filter(|_| is_read);
        unmet.map(|(offset, filed)| Passed { offset, digest: None, masked: None, filed }).collect()
    }

    /// Of the records before an offset that were passed over; each comes once.
    pub(super) fn passed_keys(&mut self, before: i64) -> impl Iterator<Item = u128> {
        let count = self.passed_keys.partition_point(|it| it.0 < before);
        self.passed_keys.drain(..count).map(|it| it.1)
    }

    pub(super) fn push(&mut self, batches: Vec<RawBatch>) {
        if !self.is_ended {
            self.batches.extend(batches);
        }
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// There is a record that was not taken yet, beside those `ahead`.
    pub(super) fn ready(&mut self) -> Result<bool, BatchError> {
        loop {
            let Some((batch, place)) = &mut self.current else {
                let Some(batch) = self.batches.pop_front() else { return Ok(false) };
                self.current = Some((batch.decode(UNCOMPRESSED_BYTES_MAX)?, Place::default()));
                continue;
            };
            match batch.record_at(*place).transpose()? {
                None => self.current = None,
                Some((record, behind)) => match batch.offset(&record) {
                    offset if offset < self.from => *place = behind,
                    offset if offset >= self.to => {
                        self.batches.clear();
                        self.current = None;
                        self.is_ended = true;
                    }
                    offset if offset >= self.letters.front().map_or(i64::MAX, |it| it.0) => {
                        if let Some((at, filed)) = self.letters.pop_front() {
                            let timestamp = stamp_of(batch, &record, self.with_create_time);
                            let digest = (at == offset).then(|| Digest::of(timestamp, &record));
                            let masked = digest.map(|it| match self.mask {
                                mask if mask == Mask::default() => it,
                                mask => Digest::masked(timestamp, &record, mask),
                            });
                            self.passed.push(Passed { offset: at, digest, masked, filed });
                            if at == offset {
                                self.passed_to = offset + 1;
                                let key = self.mask.key(&record).map(|it| fingerprint(Some(&it)));
                                self.passed_keys.extend(key.map(|key| (offset, key)));
                                *place = behind;
                            }
                        }
                    }
                    _ => return Ok(true),
                },
            }
        }
    }

    /// The record that `ready` found.
    pub(super) fn head(&self) -> Result<Option<Head<'_>>, BatchError> {
        let Some((batch, place)) = &self.current else { return Ok(None) };
        let Some((record, behind)) = batch.record_at(*place).transpose()? else { return Ok(None) };
        let offset = batch.offset(&record);
        if offset >= self.to.min(self.next_letter()) {
            return Ok(None);
        }
        let timestamp = stamp_of(batch, &record, self.with_create_time);
        Ok(Some(Head { offset, timestamp, record, behind }))
    }

    /// The head was taken.
    pub(super) fn took(&mut self, offset: i64, behind: Place) {
        self.next = offset + 1;
        if let Some((_, place)) = &mut self.current {
            *place = behind;
        }
    }

    /// The next record goes `ahead`; false: there is none yet.
    pub(super) fn look_ahead(&mut self) -> Result<bool, BatchError> {
        if !self.ready()? {
            return Ok(false);
        }
        let Some(head) = self.head()? else { return Ok(false) };
        let (entry, behind) = (Entry::of(head.offset, head.timestamp, &head.record, self.mask), head.behind);
        if let Some((_, place)) = &mut self.current {
            *place = behind;
        }
        self.ahead.push_back(entry);
        Ok(true)
    }

    /// A whole batch that comes next and lies within the bounds.
    pub(super) fn whole(&self) -> Option<&RawBatch> {
        let batch = self.batches.front().filter(|_| self.current.is_none() && self.ahead.is_empty())?;
        let header = batch.header();
        let to = self.to.min(self.next_letter());
        (header.base_offset >= self.from && header.next_offset() <= to).then_some(batch)
    }

    pub(super) fn took_whole(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.next = batch.header().next_offset();
        }
    }

    /// Compares the broker's time with nothing but the broker's time: such a batch is the same only record by record.
    pub(super) fn stamps(&self, batch: &RawBatch) -> bool {
        batch.header().is_log_append_time() && !self.with_create_time
    }
}

/// What is compared of the two times that a batch may have.
fn stamp_of(batch: &DecodedBatch, record: &RecordView<'_>, with_create_time: bool) -> i64 {
    if with_create_time { batch.create_time(record) } else { batch.timestamp(record) }
}
