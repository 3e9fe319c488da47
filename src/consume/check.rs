//! Judges records one after the other: each against its schema, and all of a partition against their numbers.

use super::decode::Wrong;
use super::report::{PartitionReport, Problem, Report, Shown};
use super::sequence::{Gap, Seen, Sequence};
use crate::batch::RecordView;
use crate::produce::{PRODUCER, SEQUENCE};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs of producers in one partition. Beyond it those that wrote longest ago are forgotten, and their next event begins anew.
const PRODUCERS_MAX: usize = 1_000;
const SHOWN_HEADERS_MAX: usize = 50;

pub(super) struct Check {
    report: Report,
    partitions: BTreeMap<i32, Producers>,
}

/// Of one partition.
#[derive(Default)]
struct Producers {
    by_name: BTreeMap<Vec<u8>, Producer>,
    /// It is read from offset 0 on, and nobody was forgotten: each producer's first number is 0. Whoever comes for the first
    /// time may be one that was forgotten, of whom nothing is lost.
    is_whole: bool,
}

struct Producer {
    sequence: Sequence,
    /// The offset of its last event.
    seen_at: i64,
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
        Self { report, partitions: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, partition: i32, from: i64) {
        self.partitions.insert(partition, Producers { is_whole: from == 0, ..Producers::default() });
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
        for (partition, producers) in &self.partitions {
            for (name, producer) in &producers.by_name {
                tell_gaps(&mut self.report, *partition, name, &producer.sequence);
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
        let producers = self.partitions.entry(partition).or_default();
        if !producers.by_name.contains_key(producer) {
            if producers.by_name.len() >= PRODUCERS_MAX
                && let Some((name, forgotten)) = producers.forget()
            {
                tell_gaps(&mut self.report, partition, &name, &forgotten);
            }
            let sequence = Sequence::from(if producers.is_whole { 0 } else { number });
            producers.by_name.insert(producer.to_vec(), Producer { sequence, seen_at: offset });
            self.report.producers += 1;
        }
        let Producer { sequence, seen_at } = producers.by_name.get_mut(producer)?;
        *seen_at = offset;
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

impl Producers {
    /// The one that wrote longest ago.
    fn forget(&mut self) -> Option<(Vec<u8>, Sequence)> {
        self.is_whole = false;
        let oldest = self.by_name.iter().min_by_key(|it| it.1.seen_at)?.0.clone();
        let producer = self.by_name.remove(&oldest)?;
        Some((oldest, producer.sequence))
    }
}

/// What is still missing, and comes no more or would not be known again.
fn tell_gaps(report: &mut Report, partition: i32, producer: &[u8], sequence: &Sequence) {
    let producer = String::from_utf8_lossy(producer);
    for Gap { from, to, offset } in sequence.gaps() {
        let which = match to - from {
            1 => format!("sequence {from}"),
            _ => format!("sequences {from} to {}", to - 1),
        };
        let what = format!("{which} of producer {producer} should stand before this one");
        report.problem(Problem { partition, offset, kind: "lost", what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, UNCOMPRESSED_BYTES_MAX};

    /// Of partition 0, which is read from there; each event is a producer's number and its sequence.
    fn report(from: i64, events: &[(usize, u64)]) -> Report {
        let mut check = Check::new(Report::default());
        check.begin(0, from);
        for (offset, (producer, number)) in (from..).zip(events) {
            let (producer, number) = (format!("{producer:06}"), number.to_string());
            let mut builder = BatchBuilder::new(Compression::None);
            let headers = [(PRODUCER, Some(producer.as_bytes())), (SEQUENCE, Some(number.as_bytes()))];
            builder.push(0, None, Some(b"x"), &headers);
            let batch = builder.build().unwrap();
            let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).unwrap();
            let record = decoded.records().next().unwrap().unwrap();
            check.record(At { partition: 0, offset, timestamp: 0 }, &record, Some(Ok(Value::Null)));
        }
        check.finish()
    }

    fn each(sequence: u64) -> impl Iterator<Item = (usize, u64)> {
        (0..PRODUCERS_MAX).map(move |it| (it, sequence))
    }

    #[test]
    fn nothing_of_a_forgotten_producer_is_lost() {
        // The last one takes the place of the first, and then the first that of the second, and so on.
        let all: Vec<_> = each(0).chain([(PRODUCERS_MAX, 0)]).chain(each(1)).collect();
        let report = report(0, &all);
        assert!(report.is_clean, "{report:?}");
    }

    #[test]
    fn whoever_wrote_lately_is_not_forgotten() {
        let all: Vec<_> = each(0).chain([(0, 1), (PRODUCERS_MAX, 0), (0, 3)]).collect();
        let report = report(0, &all);
        assert_eq!((report.lost, report.problems.len()), (1, 1), "{report:?}");
        assert_eq!(report.problems[0].what, "sequence 2 of producer 000000 should stand before this one");
    }

    #[test]
    fn what_a_producer_has_lost_is_told_when_it_is_forgotten() {
        let all: Vec<_> = [(0, 1)].into_iter().chain(each(0).skip(1)).chain([(PRODUCERS_MAX, 0)]).collect();
        let report = report(0, &all);
        assert_eq!((report.lost, report.problems.len()), (1, 1), "{report:?}");
    }

    #[test]
    fn who_comes_first_in_the_middle_has_lost_nothing() {
        assert_eq!((report(0, &[(7, 5)]).lost, report(9, &[(7, 5)]).lost), (5, 0));
    }
}
