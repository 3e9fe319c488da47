//! Judges records one after the other: each against its schema, and all of a partition against their numbers.

use super::decode::Wrong;
use super::report::{PartitionReport, Problem, Report, Shown};
use super::sequence::{Gap, Seen, Sequence};
use crate::batch::RecordView;
use crate::produce::{PRODUCER, SEQUENCE};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs of producers in one partition. Beyond it the oldest are forgotten, and their next event begins anew.
const PRODUCERS_MAX: usize = 1_000;
const SHOWN_HEADERS_MAX: usize = 50;

pub(super) struct Check {
    report: Report,
    sequences: BTreeMap<i32, BTreeMap<Vec<u8>, Sequence>>,
    /// Partitions that are read from offset 0 on: each producer's first number is 0 there.
    whole: BTreeMap<i32, bool>,
}

/// Where a record stands.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
}

impl Check {
    pub(super) fn new(report: Report) -> Self {
        Self { report, sequences: BTreeMap::new(), whole: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, partition: i32, from: i64) {
        self.whole.insert(partition, from == 0);
        self.report.partitions.insert(partition, PartitionReport { from, to: from, events: 0 });
    }

    /// `decoded`: None for a tombstone.
    pub(super) fn record(&mut self, at: At, record: &RecordView<'_>, decoded: Option<Result<Value, Wrong>>) -> Shown {
        self.report.events += 1;
        let partition = self.report.partitions.entry(at.partition).or_default();
        partition.events += 1;
        partition.to = at.offset + 1;
        let mut found = Vec::new();
        let value = match decoded {
            None => {
                self.report.tombstones += 1;
                None
            }
            Some(Ok(value)) => Some(value),
            Some(Err(Wrong { kind, what })) => {
                *self.report.invalid.entry(kind).or_default() += 1;
                found.push((kind, what));
                None
            }
        };
        found.extend(self.number(at.partition, at.offset, record));
        let problems = found.iter().map(|(kind, what)| format!("{kind}: {what}")).collect();
        for (kind, what) in found {
            self.report.problem(Problem { partition: at.partition, offset: at.offset, kind, what });
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = record.headers().take(SHOWN_HEADERS_MAX);
        Shown {
            partition: at.partition,
            offset: at.offset,
            timestamp: at.timestamp,
            key: record.key.map(text),
            headers: headers.map(|(name, value)| (text(name), value.map(text))).collect(),
            value,
            problems,
        }
    }

    /// Nothing comes any more: what is still missing is lost.
    pub(super) fn finish(mut self) -> Report {
        for (partition, producers) in &self.sequences {
            for (producer, sequence) in producers {
                let producer = String::from_utf8_lossy(producer);
                for Gap { from, to, offset } in sequence.gaps() {
                    let which = match to - from {
                        1 => format!("sequence {from}"),
                        _ => format!("sequences {from} to {}", to - 1),
                    };
                    let what = format!("{which} of producer {producer} should stand before this one");
                    self.report.problem(Problem { partition: *partition, offset, kind: "lost", what });
                }
            }
        }
        self.report.finish();
        self.report
    }

    fn number(&mut self, partition: i32, offset: i64, record: &RecordView<'_>) -> Option<(&'static str, String)> {
        let header = |wanted: &[u8]| record.headers().find(|it| it.0 == wanted).and_then(|it| it.1);
        let number = header(SEQUENCE).and_then(|it| std::str::from_utf8(it).ok()?.parse::<u64>().ok());
        let number = number.filter(|it| *it < u64::MAX);
        let Some(number) = number else {
            self.report.unnumbered += 1;
            return None;
        };
        let producer = header(PRODUCER).unwrap_or_default();
        let producers = self.sequences.entry(partition).or_default();
        if !producers.contains_key(producer) {
            let first = if self.whole.get(&partition) == Some(&true) { 0 } else { number };
            if producers.len() >= PRODUCERS_MAX {
                producers.pop_first();
            }
            producers.insert(producer.to_vec(), Sequence::from(first));
            self.report.producers += 1;
        }
        let sequence = producers.get_mut(producer)?;
        let before = sequence.missing();
        let seen = sequence.see(number, offset);
        // A hostile header can name any number.
        self.report.lost = self.report.lost.saturating_sub(before).saturating_add(sequence.missing());
        let of = || format!("sequence {number} of producer {}", String::from_utf8_lossy(producer));
        match seen {
            // What was passed over is lost, or late: the end says which.
            Seen::InOrder | Seen::Gap { .. } => None,
            Seen::Doubled => {
                self.report.doubled += 1;
                Some(("doubled", format!("{} came before", of())))
            }
            Seen::Reordered => {
                self.report.reordered += 1;
                Some(("reordered", format!("{} comes behind a later one", of())))
            }
        }
    }
}
