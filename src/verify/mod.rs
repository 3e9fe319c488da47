//! Proves a copy on the real data: both ends are read as a consumer with read_committed reads them, and compared record by
//! record. Works beside a running bridge: what is compared ends at a cut that is taken at the start.

mod align;
mod compacted;
mod compare;
#[cfg(test)]
mod compare_tests;
mod cut;
mod entry;
mod feed;
mod found;
mod ids;
mod letters;
mod partition;
mod proof;
mod replays;
mod report;
mod resolve;
mod state;

pub use cut::{From, Options};
pub(crate) use entry::{Digest, Mask};
pub use found::{Counts, Difference, Kind};
pub use letters::LettersError;
pub(crate) use letters::{GONE, Letters, OfPartition, are_gone};
pub(crate) use proof::produce;
pub(crate) use replays::{Replays, replays_of};
pub use report::{PartitionReport, Report};

use crate::bridge::{Ends, RunError};
use crate::config::Config;
use crate::reader::ReadError;
use cut::{Cut, Job};
use partition::Outcome;
use state::State;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

/// A file that an operator may want to go on from is never older.
const STATE_INTERVAL: Duration = Duration::from_secs(5);
/// Partitions at a time: each holds some answers of both ends and unpacks batches.
const PARTITIONS_AT_ONCE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error("{topic} is not in the plan of this link: look at [[topics]], or at the list of `kafka-bridge check`")]
    NoTopic { topic: String },
    #[error("{file}: {problem}. It is of another link, or of another kafka-bridge: take another file")]
    StateUnknown { file: String, problem: String },
    #[error(
        "{file}: how far the comparison is cannot be kept there: {problem}. Take a file that can be read and written"
    )]
    StateNotKept { file: String, problem: String },
    #[error("interrupted before it was known what there is to compare: nothing was compared")]
    Interrupted,
}

/// How far a comparison is, for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    pub records: AtomicU64,
    /// As they were fetched from the target.
    pub bytes: AtomicU64,
    pub partitions: AtomicU64,
    pub partitions_done: AtomicU64,
}

/// Everything up to the cut, or up to `stop`.
pub async fn verify(
    config: &Config,
    options: &Options,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, VerifyError> {
    let ends = Ends::new(config)?;
    let state = State::load(options.state.as_deref(), config.link.as_str())?;
    tokio::pin!(stop);
    // Taking the cut may wait for transactions that are about to end.
    let cut = tokio::select! {
        biased;
        () = &mut stop => return Err(VerifyError::Interrupted),
        cut = Cut::take(config, &ends, options, &state) => cut?,
    };
    progress.partitions.store(cut.jobs.len() as u64, Ordering::Relaxed);
    let state = Arc::new(Mutex::new(state));
    let compared = compare(&ends, &cut, progress, &state);
    tokio::pin!(compared);
    let mut ticks = tokio::time::interval(STATE_INTERVAL);
    let outcomes = loop {
        tokio::select! {
            biased;
            () = &mut stop => break None,
            _ = ticks.tick() => save(options, &state).await?,
            outcomes = &mut compared => break Some(outcomes),
        }
    };
    // A broken connection, too, leaves behind how far it was.
    let saved = save(options, &state).await;
    let outcomes = outcomes.transpose()?;
    saved?;
    let Some(outcomes) = outcomes else {
        let unfinished = state.lock().await.outcomes(&cut.jobs);
        return Ok(Report::new(config, &cut, unfinished, true));
    };
    let mut report = Report::new(config, &cut, outcomes, false);
    if options.record {
        report.recorded = Some(proof::record(config, &ends, &cut, &report).await?);
    }
    Ok(report)
}

async fn save(options: &Options, state: &Mutex<State>) -> Result<(), VerifyError> {
    match &options.state {
        Some(file) => state.lock().await.save(file),
        None => Ok(()),
    }
}

async fn compare(
    ends: &Ends,
    cut: &Cut,
    progress: &Arc<Progress>,
    state: &Arc<Mutex<State>>,
) -> Result<Vec<(Job, Outcome)>, VerifyError> {
    let limit = Arc::new(Semaphore::new(PARTITIONS_AT_ONCE));
    let mut comparing = JoinSet::new();
    for job in cut.jobs.clone() {
        let (ends, progress) = (ends.clone(), Arc::clone(progress));
        let (limit, state) = (Arc::clone(&limit), Arc::clone(state));
        comparing.spawn(async move {
            let _permit = limit.acquire().await;
            let outcome = partition::compare(&ends, &job, &progress, &state).await;
            progress.partitions_done.fetch_add(1, Ordering::Relaxed);
            outcome.map(|it| (job, it))
        });
    }
    let mut outcomes = Vec::new();
    while let Some(compared) = comparing.join_next().await {
        match compared {
            Ok(outcome) => outcomes.push(outcome?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    outcomes.sort_by(|one, other| one.0.source.cmp(&other.0.source));
    Ok(outcomes)
}
