//! Many seeds, on several threads; what fails is shortened.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Outcome, Schedule, Statistics, Violation, run, schedule};
use crate::planted;

/// Attempts at dropping steps: each is a whole run.
const SHORTENINGS_MAX: usize = 400;
/// Of real time, for one run: beyond it the code is in a loop in which no time passes.
const RUN_LIMIT: Duration = Duration::from_secs(120);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic anywhere in a simulation is remembered, also where a task's owner takes no notice.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_watched = PANIC.with_borrow_mut(|panic| match panic {
                Some(what) => {
                    if what.is_empty() {
                        *what = info.to_string();
                    }
                    true
                }
                None => false,
            });
            if !is_watched {
                before(info);
            }
        }));
    });
}

/// As `run`, with panics as violations.
pub fn checked(schedule: &Schedule) -> Result<Outcome> {
    watch_panics();
    PANIC.set(Some(String::new()));
    let ran = catch_unwind(AssertUnwindSafe(|| run(schedule)));
    let panic = PANIC.take().filter(|it| !it.is_empty());
    let violation = panic.map(|what| Violation::new("NoPanic", what));
    match ran {
        Ok(Ok(outcome)) => Ok(Outcome { violation: violation.or(outcome.violation), ..outcome }),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Outcome { violation, statistics: Statistics::default() }),
    }
}

/// Drops steps while the same invariant is still broken.
pub fn shortened(schedule: &Schedule, violation: &Violation) -> Result<(Schedule, Violation)> {
    let (mut best, mut why) = (schedule.clone(), violation.clone());
    let mut length = best.steps.len().div_ceil(2);
    let mut attempts = 0;
    while length > 0 {
        let mut at = 0;
        let mut has_dropped = false;
        while at < best.steps.len() && attempts < SHORTENINGS_MAX {
            attempts += 1;
            let mut shorter = best.clone();
            shorter.steps.drain(at..(at + length).min(best.steps.len()));
            match checked(&shorter)?.violation {
                Some(found) if found.invariant == violation.invariant => {
                    (best, why) = (shorter, found);
                    has_dropped = true;
                }
                _ => at += length,
            }
        }
        if !has_dropped || length > 1 {
            length /= 2;
        }
        if attempts >= SHORTENINGS_MAX {
            break;
        }
    }
    Ok((best, why))
}

#[derive(Debug)]
pub struct Failure {
    pub schedule: Schedule,
    pub violation: Violation,
}

#[derive(Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub failures: Vec<Failure>,
    pub took: Duration,
    pub totals: Statistics,
}

impl Report {
    pub fn simulated_hours_per_minute(&self) -> f64 {
        self.totals.virtual_ms as f64 / 3_600_000.0 / (self.took.as_secs_f64() / 60.0).max(1e-9)
    }
}

/// Which seeds, and when it is enough.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub seeds: Vec<u64>,
    pub threads: usize,
    pub stops_at_failure: bool,
    /// By its name in `kafka_bridge::planted`.
    pub bug: Option<String>,
}

impl Campaign {
    pub fn run(&self) -> Result<Report> {
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let enough = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        let errors = Mutex::new(Vec::new());
        let busy: Vec<_> = (0..self.threads.max(1)).map(|_| Mutex::new(None)).collect();
        let work = |busy: &Mutex<Option<(u64, Instant)>>| -> Result<()> {
            planted::in_thread(self.bug.as_deref())?;
            while !enough.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(seed) = usize::try_from(index).ok().and_then(|it| self.seeds.get(it)) else { break };
                *lock(busy) = Some((*seed, Instant::now()));
                let schedule = schedule(*seed);
                let outcome = checked(&schedule)?;
                *lock(busy) = None;
                let mut report = lock(&report);
                report.seeds += 1;
                report.totals.add(&outcome.statistics);
                if let Some(violation) = outcome.violation {
                    enough.fetch_or(self.stops_at_failure, Ordering::Relaxed);
                    report.failures.push(Failure { schedule, violation });
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = busy
                .iter()
                .map(|busy| {
                    scope.spawn(|| {
                        if let Err(error) = work(busy) {
                            lock(&errors).push(error);
                        }
                    })
                })
                .collect();
            while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(20));
                for busy in &busy {
                    if let Some((seed, since)) = *lock(busy)
                        && since.elapsed() > RUN_LIMIT
                    {
                        // A thread in a loop without end cannot be stopped.
                        eprintln!("seed {seed} does not end: a loop in which no time passes");
                        std::process::exit(1);
                    }
                }
            }
        });
        if let Some(error) = lock(&errors).pop() {
            return Err(error);
        }
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = began.elapsed();
        report.failures.sort_by_key(|it| it.schedule.seed);
        Ok(report)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
