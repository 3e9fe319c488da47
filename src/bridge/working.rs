//! The lanes at work.

use super::lane::Event;
use crate::latest::{self, Latest, Publisher};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};

/// What a worker is given: a lane that is lost and got back has another worker, and the former's last words are not its own.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) drain: Latest<bool>,
}

pub(super) struct Told {
    pub(super) lane: u32,
    pub(super) job: u64,
    pub(super) event: Event,
}

struct Hired {
    job: u64,
    drain: Publisher<bool>,
    task: AbortHandle,
}

/// Dropped, it ends them.
pub(super) struct Working {
    workers: JoinSet<()>,
    lanes: BTreeMap<u32, Hired>,
    numbers: BTreeMap<Id, (u32, u64)>,
    happened: mpsc::Receiver<Told>,
    jobs: u64,
}

impl Working {
    pub(super) fn new(happened: mpsc::Receiver<Told>) -> Self {
        Self { workers: JoinSet::new(), lanes: BTreeMap::new(), numbers: BTreeMap::new(), happened, jobs: 0 }
    }

    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(&mut self, lane: u32, worker: impl FnOnce(Job) -> F) {
        self.stop(lane);
        self.jobs += 1;
        let job = self.jobs;
        let (drain, draining) = latest::channel(false);
        let task = self.workers.spawn(worker(Job { number: job, drain: draining }));
        self.numbers.insert(task.id(), (lane, job));
        self.lanes.insert(lane, Hired { job, drain, task });
    }

    /// Whether there was anything to drain.
    pub(super) fn drain(&self, lane: u32) -> bool {
        let hired = self.lanes.get(&lane);
        hired.inspect(|it| it.drain.publish(true)).is_some()
    }

    pub(super) fn drain_all(&self) {
        self.lanes.values().for_each(|it| it.drain.publish(true));
    }

    /// In the middle of whatever it does: the target aborts what it has open when the lane is taken again.
    pub(super) fn stop(&mut self, lane: u32) {
        if let Some(hired) = self.lanes.remove(&lane) {
            hired.task.abort();
        }
    }

    pub(super) fn stop_all(&mut self) {
        for hired in std::mem::take(&mut self.lanes).into_values() {
            hired.task.abort();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn works(&self, lane: u32) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// What a lane tells next. One that panics cannot say so itself.
    pub(super) async fn next(&mut self) -> Option<(u32, Event)> {
        loop {
            tokio::select! {
                biased;
                told = self.happened.recv() => {
                    let Told { lane, job, event } = told?;
                    let is_current = self.lanes.get(&lane).is_some_and(|it| it.job == job);
                    match event {
                        Event::TakenOver(_) | Event::Fenced | Event::Failed(_) | Event::Drained if is_current => {
                            self.lanes.remove(&lane);
                        }
                        // What a worker that was stopped has done is done; that it ended is nobody's end.
                        Event::Committed(_) | Event::Aborted(_) | Event::OutcomeUnknown(_) => {}
                        _ if !is_current => continue,
                        _ => {}
                    }
                    return Some((lane, event));
                }
                Some(ended) = self.workers.join_next_with_id(), if !self.workers.is_empty() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => error.id(),
                    };
                    let known = self.numbers.remove(&id);
                    if let Err(error) = ended
                        && error.is_panic()
                        && let Some((lane, job)) = known
                        && self.lanes.get(&lane).is_some_and(|it| it.job == job)
                    {
                        self.lanes.remove(&lane);
                        return Some((lane, Event::Failed("this is a bug of kafka-bridge: it panicked".to_owned())));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_as_the_end_of_its_lane() {
        let (_events, happened) = mpsc::channel(1);
        let mut working = Working::new(happened);
        working.start(0, |_| std::future::pending());
        working.start(7, |_| async { panic!("on purpose") });
        let told = working.next().await;
        assert!(matches!(&told, Some((7, Event::Failed(reason))) if reason.contains("panicked")), "{told:?}");
        assert!(working.works(0) && !working.works(7));
    }

    /// It is fenced by its successor of this very process, which must not be taken for fenced.
    #[tokio::test]
    async fn the_last_words_of_a_worker_that_was_stopped_are_not_its_successors() {
        let (events, happened) = mpsc::channel(3);
        let mut working = Working::new(happened);
        working.start(4, |_| std::future::pending());
        working.stop(4);
        working.start(4, |_| std::future::pending());
        for (job, event) in [(1, Event::Fenced), (2, Event::Drained)] {
            assert!(events.send(Told { lane: 4, job, event }).await.is_ok());
        }
        assert!(matches!(working.next().await, Some((4, Event::Drained))));
        assert!(working.is_idle());
    }
}
