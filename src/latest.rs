//! A value that changes, and everybody who follows it.
//!
//! As `tokio::sync::watch`, but those who wait are woken in the order in which they began to: `watch` draws lots, and a
//! simulation could not repeat a run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    value: T,
    version: u64,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Clone)]
pub struct Latest<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The first value counts as seen.
pub fn channel<T>(value: T) -> (Publisher<T>, Latest<T>) {
    let state = State { value, version: 1, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    (Publisher { shared: Arc::clone(&shared) }, Latest { shared, seen: 1 })
}

impl<T> Publisher<T> {
    pub fn publish(&self, value: T) {
        let mut state = self.shared.state();
        state.value = value;
        state.version += 1;
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

impl<T: Clone + PartialEq> Publisher<T> {
    pub fn publish_if_other(&self, value: T) {
        if self.shared.state().value != value {
            self.publish(value);
        }
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.changed.notify_waiters();
    }
}

impl<T: Clone> Latest<T> {
    pub fn now(&self) -> T {
        self.shared.state().value.clone()
    }

    /// Which counts as seen then.
    pub fn look(&mut self) -> T {
        let state = self.shared.state();
        self.seen = state.version;
        state.value.clone()
    }

    pub fn has_changed(&self) -> bool {
        self.shared.state().version != self.seen
    }

    /// As if nothing had been seen: the next `changed` gives what there is.
    #[must_use]
    pub fn unseen(mut self) -> Self {
        self.seen = 0;
        self
    }

    /// The value after the one that was seen last; None when nobody publishes any more. Whatever came between is passed over.
    pub async fn changed(&mut self) -> Option<T> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Before the look: a change between the two must not be missed.
            changed.as_mut().enable();
            {
                let state = self.shared.state();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Some(state.value.clone());
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn everybody_sees_the_last_value_once_in_the_order_of_waiting() {
        let (publisher, latest) = channel(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for name in 0..20 {
            let (mut latest, order) = (latest.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                while let Some(value) = latest.changed().await {
                    order.lock().unwrap().push((value, name));
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        publisher.publish(2);
        publisher.publish(3);
        tokio::time::sleep(Duration::from_millis(1)).await;
        publisher.publish_if_other(3);
        drop(publisher);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), (0..20).map(|name| (3, name)).collect::<Vec<_>>());
        assert_eq!((latest.now(), latest.unseen().changed().await), (3, Some(3)));
    }
}
