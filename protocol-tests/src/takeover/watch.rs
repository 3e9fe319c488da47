//! Looks at the last stable offsets of all target partitions at once, every few milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::judge::{Moves, Outcome};
use crate::raw::RawClient;

const INTERVAL: Duration = Duration::from_millis(5);
const POLL: Duration = Duration::from_millis(20);

/// Dropping it ends it.
pub(super) struct Watch {
    began: Instant,
    moves: Arc<Mutex<Moves>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Watch {
    pub(super) fn start(client: RawClient, topic: &str, partitions: i32) -> Watch {
        let (moves, stop) = (Arc::new(Mutex::new(Moves::default())), Arc::new(AtomicBool::new(false)));
        let (began, topic) = (Instant::now(), topic.to_owned());
        let (seen, stopped) = (Arc::clone(&moves), Arc::clone(&stop));
        let thread = thread::spawn(move || watch(client, &topic, partitions, began, &seen, &stopped));
        Watch { began, moves, stop, thread: Some(thread) }
    }

    /// On the watch's own clock.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Moves> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outcomes(&self, fault: Duration) -> Vec<Outcome> {
        self.lock().outcomes(fault)
    }

    pub(super) fn forget(&self) {
        self.lock().forget();
    }

    /// Gives what `done` finds.
    pub(super) fn until<T>(&mut self, what: &str, limit: Duration, done: impl Fn(&Moves) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let found = done(&self.lock());
            if let Some(found) = found {
                return Ok(found);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                let thread = self.thread.take().context("nobody watches")?;
                thread.join().map_err(|_| anyhow!("the watch panicked"))??;
                bail!("the watch has ended");
            }
            let outcomes = || self.outcomes(start - self.began);
            ensure!(start.elapsed() < limit, "{what}: not within {limit:?}: {:?}", outcomes());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(
    mut client: RawClient,
    topic: &str,
    partitions: i32,
    began: Instant,
    moves: &Mutex<Moves>,
    stop: &AtomicBool,
) -> Result<()> {
    let leader = client.leader_of(topic, 0)?;
    while !stop.load(Ordering::Relaxed) {
        let offsets = client.retry(|client| client.last_stable_offsets(leader, topic, partitions))?;
        let at = began.elapsed();
        moves.lock().unwrap_or_else(PoisonError::into_inner).observe(at, &offsets);
        thread::sleep(INTERVAL);
    }
    Ok(())
}
