//! The lanes at work.

use super::lane::Event;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

/// Dropped, it ends them.
pub(super) struct Working {
    lanes: JoinSet<()>,
    numbers: BTreeMap<Id, u32>,
    happened: mpsc::Receiver<(u32, Event)>,
}

impl Working {
    pub(super) fn new(happened: mpsc::Receiver<(u32, Event)>) -> Self {
        Self { lanes: JoinSet::new(), numbers: BTreeMap::new(), happened }
    }

    pub(super) fn start(&mut self, lane: u32, worker: impl Future<Output = ()> + Send + 'static) {
        let task = self.lanes.spawn(worker);
        self.numbers.insert(task.id(), lane);
    }

    /// What a lane tells next. One that panics cannot say so itself.
    pub(super) async fn next(&mut self) -> Option<(u32, Event)> {
        loop {
            tokio::select! {
                biased;
                told = self.happened.recv() => return told,
                Some(ended) = self.lanes.join_next_with_id(), if !self.lanes.is_empty() => {
                    if let Err(error) = ended
                        && error.is_panic()
                        && let Some(lane) = self.numbers.get(&error.id())
                    {
                        return Some((*lane, Event::Failed("this is a bug of kafka-bridge: it panicked".to_owned())));
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
        working.start(0, std::future::pending());
        working.start(7, async { panic!("on purpose") });
        let told = working.next().await;
        assert!(matches!(&told, Some((7, Event::Failed(reason))) if reason.contains("panicked")), "{told:?}");
    }
}
