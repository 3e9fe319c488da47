//! What a log held, batch by batch, as its transactions are decided: read from the log itself, by the tests' own decoder.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{Context, Result};
use kafka_bridge::broker::LogView;

use crate::raw::records::{ReadRecord, decode};
use crate::raw::{ReadBatch, outcomes};

/// A data batch whose outcome is known; None: it was in no transaction.
pub(super) struct Decided {
    pub(super) batch: ReadBatch,
    pub(super) committed: bool,
}

/// Follows one log.
#[derive(Default)]
pub(super) struct LogReader {
    /// The next offset to read.
    next: i64,
    undecided: VecDeque<ReadBatch>,
}

impl LogReader {
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// No transaction is open.
    fn is_settled(&self) -> bool {
        self.undecided.is_empty()
    }

    /// Takes what is new, and gives what is decided by it, in the order of the log.
    pub(super) fn read(&mut self, view: &LogView) -> Result<Vec<Decided>> {
        for batch in decode(&view.batches).context("a log that cannot be read")? {
            if batch.last_offset >= self.next {
                self.next = batch.last_offset + 1;
                self.undecided.push_back(batch);
            }
        }
        self.next = self.next.max(view.start);
        let count = self.undecided.iter().take_while(|it| it.last_offset < view.last_stable_offset).count();
        if count == 0 {
            return Ok(Vec::new());
        }
        let outcomes = outcomes(self.undecided.make_contiguous());
        let decided = self.undecided.drain(..count).zip(outcomes).filter(|(batch, _)| !batch.control);
        Ok(decided.map(|(batch, outcome)| Decided { committed: outcome != Some(false), batch }).collect())
    }
}

/// What two records must have in common to be the same.
pub(super) fn same(left: &ReadRecord, right: &ReadRecord) -> bool {
    left.timestamp == right.timestamp
        && left.key == right.key
        && left.value == right.value
        && left.headers == right.headers
}

/// One life of a partition: until its topic is made anew, or a leader takes over that never had its last records.
#[derive(Default)]
pub(super) struct Timeline {
    /// Committed, in order.
    pub(super) records: Vec<ReadRecord>,
    pub(super) aborted: Vec<ReadRecord>,
    /// Offsets that compaction has taken: a copy may have been made before or after.
    pub(super) compacted: BTreeSet<i64>,
    /// Where the log began over time: whoever came later never saw what lay before.
    pub(super) starts: BTreeSet<i64>,
}

/// All that a source partition ever was.
pub(super) struct History {
    pub(super) timelines: Vec<Timeline>,
    reader: LogReader,
}

impl Default for History {
    fn default() -> Self {
        Self { timelines: vec![Timeline::default()], reader: LogReader::default() }
    }
}

impl History {
    pub(super) fn next(&self) -> i64 {
        self.reader.next()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.reader.is_settled()
    }

    pub(super) fn now(&self) -> &Timeline {
        self.timelines.last().unwrap_or_else(|| unreachable!("there is always one"))
    }

    pub(super) fn observe(&mut self, view: &LogView) -> Result<()> {
        let decided = self.reader.read(view)?;
        let Some(timeline) = self.timelines.last_mut() else { return Ok(()) };
        timeline.starts.insert(view.start);
        for Decided { batch, committed } in decided {
            let of = if committed { &mut timeline.records } else { &mut timeline.aborted };
            of.extend(batch.records);
        }
        Ok(())
    }

    /// The topic was made anew.
    pub(super) fn recreated(&mut self) {
        self.timelines.push(Timeline::default());
        self.reader = LogReader::default();
    }

    /// The log ends before what was read of it; `view` is all of it.
    pub(super) fn truncated(&mut self, view: &LogView) -> Result<()> {
        let old = self.now();
        // What compaction has taken of the common beginning is not there to be read again, and may have been copied before.
        let is_common =
            |it: &&ReadRecord| it.offset < view.start || it.offset < view.end && old.compacted.contains(&it.offset);
        let timeline = Timeline {
            records: old.records.iter().filter(is_common).cloned().collect(),
            aborted: Vec::new(),
            compacted: old.compacted.clone(),
            starts: old.starts.clone(),
        };
        self.timelines.push(timeline);
        self.reader = LogReader::default();
        self.observe(view)?;
        if let Some(timeline) = self.timelines.last_mut() {
            timeline.records.sort_by_key(|it| it.offset);
        }
        Ok(())
    }

    /// After a compaction; `view` is all of the log.
    pub(super) fn compacted(&mut self, view: &LogView) -> Result<()> {
        let left: BTreeSet<_> = decode(&view.batches)?.iter().flat_map(|it| &it.records).map(|it| it.offset).collect();
        let Some(timeline) = self.timelines.last_mut() else { return Ok(()) };
        let gone = timeline.records.iter().map(|it| it.offset).filter(|it| *it >= view.start && !left.contains(it));
        timeline.compacted.extend(gone);
        Ok(())
    }
}
