//! Reads both ends of one partition and has them compared.

use super::Progress;
use super::VerifyError;
use super::compare::{Comparer, End, Point, Rules, Step};
use super::cut::Job;
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
    outcome.miscounted = miscounted(job, &outcome);
    // A sample is not gone on with: another one is taken.
    if job.ranges.len() == 1 && outcome.stopped.is_none() {
        let to = Point { source_offset: outcome.source_to, target_offset: outcome.target_to };
        state.lock().await.put(&job.key, Saved::new(job, &outcome.found, to, outcome.chain));
    }
    Ok(outcome)
}

/// Each record that the link has read was written or is a dead letter: where nothing else differs, the ledger has to count
/// as many of both. None: it does, or it cannot be known, for more was copied meanwhile or a cleaner has taken some.
fn miscounted(job: &Job, outcome: &Outcome) -> Option<String> {
    let counted = job.counted.filter(|it| it.next_offset == outcome.source_to)?;
    let Counts { records, dead_lettered, unknown, superseded, .. } = outcome.found.counts;
    let is_compacted = job.ranges.iter().any(|it| it.is_compacted);
    let is_clear = outcome.stopped.is_none() && outcome.found.counts.differences() == 0;
    let is_exact = is_clear && !is_compacted && unknown == 0 && superseded == 0;
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
        miscounted: None,
    })
}
