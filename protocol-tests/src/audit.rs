//! What must hold at the target after any fault, whatever the bridge went through.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::compare::torn;
use crate::ledger::{Ledger, Place, topic};
use crate::pair::{Pair, differences, shown};
use crate::raw::{ReadBatch, outcomes};

const POLL: Duration = Duration::from_millis(250);

/// What an audit has seen, so that a trial can show that it saw anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub records: usize,
    pub transactions: usize,
    /// At the target: transactions of the link that were aborted, with the records in them.
    pub aborted_transactions: usize,
    pub aborted_records: usize,
}

impl Pair {
    /// After the source has come to rest: waits until the ledger's positions are at its end, then holds the whole copy
    /// against the source and the ledger.
    pub fn audit(&self, link: &str, topics: &[String], limit: Duration) -> Result<Audited> {
        let (mut source, mut target) = (self.source.client(), self.target.client());
        let ends = source.quiet(topics).context("the source does not come to rest")?;
        let start = Instant::now();
        loop {
            let reached = Ledger::read(&mut target, link).and_then(|ledger| {
                for (place, offsets) in &ends {
                    let next = ledger.positions.get(place).map(|it| it.next_offset);
                    let (topic, partition) = place;
                    let end = offsets.high_watermark;
                    ensure!(
                        next == Some(end),
                        "the ledger has {topic}-{partition} at {next:?}, its source ends at {end}"
                    );
                }
                Ok(())
            });
            match reached {
                Ok(()) => break,
                Err(error) if start.elapsed() > limit => return Err(error).context(format!("after {limit:?}")),
                Err(_) => std::thread::sleep(POLL),
            }
        }
        // The positions are committed, so the markers are due, yet they may still be on their way.
        let mut all = topics.to_vec();
        all.push(topic(link));
        target.quiet(&all).context("a transaction hangs at the target")?;
        let found = differences(&mut source, &mut target, topics)?;
        ensure!(found.is_empty(), "{}", shown(&found));
        let ledger = Ledger::read(&mut target, link)?;
        if let Some(first) = ledger.breaks.first() {
            bail!("{} breaks in the ledger's chains, the first: {first}", ledger.breaks.len());
        }
        let mut logs = BTreeMap::new();
        for topic in topics {
            for partition in 0..target.partition_count(topic)? {
                logs.insert((topic.clone(), partition), target.read_batches(topic, partition)?);
            }
        }
        whole(&ledger, &logs, None)
    }
}

/// Of which transaction a batch at the target is: the producer's incarnation, and the how manieth of it. Without a number:
/// the ledger knows no such transaction.
type Group = (Producer, Option<usize>);

/// One transaction's part in one partition, as its position says: the number, the verdict, the records.
type Expected = (usize, bool, u64);

/// An incarnation: id and epoch.
type Producer = (i64, i16);

/// Every transaction is committed or aborted as a whole: in the ledger and in every partition that it says it wrote to.
/// `logs`: of all partitions at the target that the link writes to. `dead_letters`: their topic, with a partition for each lane,
/// if it is among them.
pub fn whole(ledger: &Ledger, logs: &BTreeMap<Place, Vec<ReadBatch>>, dead_letters: Option<&str>) -> Result<Audited> {
    let mut audited = Audited::default();
    // What should be at the target, in order, for every incarnation and partition.
    let mut expected: BTreeMap<(Producer, Place), Vec<Expected>> = BTreeMap::new();
    let mut numbers: BTreeMap<Producer, usize> = BTreeMap::new();
    let (mut all, mut visible): (Vec<Group>, Vec<Group>) = (vec![], vec![]);
    for entry in &ledger.entries {
        let producer = (entry.producer_id, entry.epoch);
        let number = numbers.entry(producer).or_default();
        *number += 1;
        let committed = entry.committed == Some(true);
        audited.transactions += 1;
        audited.aborted_transactions += usize::from(!committed);
        all.push((producer, Some(*number)));
        if committed {
            visible.push((producer, Some(*number)));
        }
        for change in entry.changes.iter().filter(|change| change.records > 0) {
            let key = (producer, change.position.target.clone());
            expected.entry(key).or_default().push((*number, committed, change.records));
        }
        let letters: u64 = entry.changes.iter().map(|it| it.dead_letters).sum();
        if let Some(topic) = dead_letters.filter(|_| letters > 0) {
            let key = (producer, (topic.to_owned(), entry.lane));
            expected.entry(key).or_default().push((*number, committed, letters));
        }
    }
    for (place, batches) in logs {
        for (producer, parts) in parts(batches) {
            let mut wanted = expected.remove(&(producer, place.clone())).unwrap_or_default().into_iter();
            for part in parts {
                audited.records += part.records;
                // The last of an incarnation may have died before its ledger record.
                let of = wanted.next();
                let group = (producer, of.map(|(number, _, _)| number));
                all.push(group);
                if !part.committed {
                    audited.aborted_records += part.records;
                    audited.aborted_transactions += usize::from(of.is_none());
                    continue;
                }
                visible.push(group);
                let Some((number, _, records)) = of else {
                    bail!("{place:?}: producer {producer:?} committed at {} without a position", part.offset);
                };
                ensure!(
                    records == part.records as u64,
                    "{place:?}: transaction {number} of {producer:?} has {} records, its position says {records}",
                    part.records
                );
            }
            // An aborted one may have died before its data.
            let missing = wanted.find(|(_, committed, _)| *committed);
            ensure!(missing.is_none(), "{place:?}: {producer:?} has a position without data: {missing:?}");
        }
    }
    let missing = expected.iter().find(|(_, wanted)| wanted.iter().any(|(_, committed, _)| *committed));
    ensure!(missing.is_none(), "a position without data: {missing:?}");
    let torn = torn(&all, &visible, |group| *group);
    ensure!(torn.is_empty(), "torn transactions: {torn:?}");
    Ok(audited)
}

/// One transaction's part in one partition.
struct Part {
    offset: i64,
    committed: bool,
    records: usize,
}

/// The parts of every incarnation, in order.
fn parts(batches: &[ReadBatch]) -> BTreeMap<Producer, Vec<Part>> {
    let mut parts: BTreeMap<Producer, Vec<Part>> = BTreeMap::new();
    let mut open: BTreeMap<i64, bool> = BTreeMap::new();
    for (batch, committed) in batches.iter().zip(outcomes(batches)) {
        let producer = (batch.producer_id, batch.producer_epoch);
        if batch.control {
            open.insert(batch.producer_id, false);
            continue;
        }
        let of = parts.entry(producer).or_default();
        // Without transaction everything is a part of its own; nothing of a link may be so.
        let continues = batch.transactional && open.insert(batch.producer_id, true) == Some(true);
        match of.last_mut() {
            Some(part) if continues => part.records += batch.records.len(),
            _ => of.push(Part {
                offset: batch.base_offset,
                committed: committed != Some(false),
                records: batch.records.len(),
            }),
        }
    }
    parts
}
