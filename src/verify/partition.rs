//! Reads both ends of one partition and has them compared.

use super::Progress;
use super::VerifyError;
use super::compare::{Comparer, End, Point, Rules, Step};
use super::cut::{Counted, Job};
use super::entry::Chain;
use super::found::{Counts, Found};
use super::resolve::resolve;
use super::state::{Saved, State};
use crate::bridge::Ends;
use crate::reader::{ReadError, Stream};
use std::sync::atomic::Ordering;
use tokio::sync::Mutex;

#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) found: Found,
    pub(super) chain: Option<Chain>,
    /// Behind the last records that were compared; what was compared is whole up to here.
    pub(super) source_to: i64,
    pub(super) target_to: i64,
    pub(super) stopped: Option<String>,
    /// A cleaner works on it, by its topics' settings or by the holes that were seen.
    pub(super) is_compacted: bool,
    /// Where the ledger counts otherwise.
    pub(super) miscounted: Option<String>,
}

pub(super) async fn compare(
    ends: &Ends,
    job: &Job,
    progress: &Progress,
    state: &Mutex<State>,
) -> Result<Outcome, VerifyError> {
    let mut outcome =
        Outcome { found: job.found.clone(), chain: job.chain, stopped: job.stopped.clone(), ..Outcome::default() };
    for rules in &job.ranges {
        outcome = range(ends, job, rules.clone(), outcome, progress, state).await?;
    }
    outcome.found.pair_moved();
    resolve(ends, job, &mut outcome.found).await?;
    outcome.found.differences.sort_by_key(|it| (it.source_offset, it.target_offset));
    outcome.miscounted = job.counted.and_then(|it| miscounted(it, &outcome));
    // A sample is not gone on with: another one is taken.
    if job.ranges.len() == 1 && outcome.stopped.is_none() {
        let to = Point { source_offset: outcome.source_to, target_offset: outcome.target_to };
        state.lock().await.put(&job.key, Saved::new(job, &outcome.found, to, outcome.chain));
    }
    Ok(outcome)
}

/// Each record that the link has read was written or is a dead letter: where nothing else differs, the ledger has to count
/// as many of both. None: it does, or it cannot be known, for more was copied meanwhile or a cleaner has taken some.
fn miscounted(counted: Counted, outcome: &Outcome) -> Option<String> {
    let Counts { records, dead_lettered, unknown, superseded, .. } = outcome.found.counts;
    let is_clear = outcome.stopped.is_none() && outcome.found.counts.differences() == 0;
    let is_whole = !outcome.is_compacted && unknown == 0 && superseded == 0;
    let is_exact = is_clear && is_whole && counted.next_offset == outcome.source_to;
    let is_same = (counted.records, counted.dead_letters) == (records, dead_lettered);
    (is_exact && !is_same).then(|| {
        format!(
            "the ledger counts {} records and {} dead letters, and {records} and {dead_lettered} are there",
            counted.records, counted.dead_letters
        )
    })
}

async fn range(
    ends: &Ends,
    job: &Job,
    rules: Rules,
    before: Outcome,
    progress: &Progress,
    state: &Mutex<State>,
) -> Result<Outcome, VerifyError> {
    let is_whole = job.ranges.len() == 1;
    let mut source = Stream::open(ends.source.clone(), job.source.clone(), rules.source.start, rules.source.end);
    let mut target = Stream::open(ends.target.clone(), job.target.clone(), rules.target.start, rules.target.end);
    let (due_before, starts) = (rules.due_before, (rules.source.start, rules.target.start));
    let mut comparer = Comparer::new(rules, before.chain, before.found);
    let mut told = (comparer.records(), 0);
    // What was found until then counts.
    let stopped = |comparer: &Comparer, why: String| {
        Ok(Outcome { found: comparer.found().clone(), stopped: Some(why), ..Outcome::default() })
    };
    loop {
        let end = match comparer.step() {
            Ok(Step::Done) => break,
            Ok(Step::Want(end)) => end,
            // Its checksum is right, so it was written like this.
            Err(error) => {
                return stopped(
                    &comparer,
                    format!("a batch of {} or {} cannot be read: {error}", job.source, job.target),
                );
            }
        };
        if let Some(point) = comparer.point().filter(|_| is_whole) {
            state.lock().await.put(&job.key, Saved::new(job, comparer.found(), point, comparer.chain()));
        }
        let stream = if end == End::Source { &mut source } else { &mut target };
        match stream.next().await {
            Some(Ok(part)) => comparer.push(end, part.batches),
            Some(Err(error @ ReadError::Cluster(_))) => return Err(error.into()),
            Some(Err(error)) => return stopped(&comparer, error.to_string()),
            None => comparer.end(end),
        }
        let now = (comparer.records(), comparer.bytes());
        progress.records.fetch_add(now.0 - told.0, Ordering::Relaxed);
        progress.bytes.fetch_add(now.1 - told.1, Ordering::Relaxed);
        told = now;
    }
    let point = comparer.point();
    progress.records.fetch_add(comparer.records() - told.0, Ordering::Relaxed);
    Ok(Outcome {
        found: comparer.found().clone(),
        chain: comparer.chain(),
        // Behind the last record there may be markers and aborted ones, which are done with.
        source_to: point.map_or(starts.0, |it| it.source_offset.max(due_before)),
        target_to: point.map_or(starts.1, |it| it.target_offset),
        stopped: before.stopped,
        is_compacted: before.is_compacted || comparer.is_compacted(),
        miscounted: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Counted = Counted { records: 90, dead_letters: 10, next_offset: 100 };

    fn outcome(counts: Counts) -> Outcome {
        Outcome { found: Found { counts, ..Found::default() }, source_to: 100, ..Outcome::default() }
    }

    #[test]
    fn a_ledger_that_counts_otherwise_is_told() {
        let right = Counts { records: 90, dead_lettered: 10, ..Counts::default() };
        assert_eq!(miscounted(COUNTED, &outcome(right)), None);
        let told = miscounted(COUNTED, &outcome(Counts { records: 91, ..right }));
        let text = "the ledger counts 90 records and 10 dead letters, and 91 and 10 are there";
        assert_eq!(told.as_deref(), Some(text));
        assert!(miscounted(COUNTED, &outcome(Counts { dead_lettered: 9, ..right })).is_some());
    }

    #[test]
    fn what_cannot_be_counted_is_not_judged() {
        let wrong = Counts { records: 80, dead_lettered: 10, ..Counts::default() };
        assert!(miscounted(COUNTED, &outcome(wrong)).is_some());
        for unclear in
            [Counts { unknown: 1, ..wrong }, Counts { superseded: 1, ..wrong }, Counts { missing: 1, ..wrong }]
        {
            assert_eq!(miscounted(COUNTED, &outcome(unclear)), None, "{unclear:?}");
        }
        let wrong = outcome(wrong);
        // Holes may be all that tells of a cleaner, which leaves nothing to wait for a later record of its key.
        assert_eq!(miscounted(COUNTED, &Outcome { is_compacted: true, ..wrong.clone() }), None);
        // More was copied meanwhile.
        assert_eq!(miscounted(COUNTED, &Outcome { source_to: 101, ..wrong.clone() }), None);
        assert_eq!(miscounted(COUNTED, &Outcome { stopped: Some(String::new()), ..wrong }), None);
    }
}
