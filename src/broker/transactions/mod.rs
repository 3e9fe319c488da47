//! The transaction coordinators of all nodes: who owns which id, when markers are written, when a timeout aborts.

mod markers;
mod state;

#[cfg(test)]
mod tests;

pub(crate) use state::{State, Transaction};

use super::settings::Millis;
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    pub(crate) by_id: BTreeMap<String, Transaction>,
    pub(crate) next_producer_id: i64,
    /// No coordinator writes markers.
    pub(crate) markers_held: bool,
    /// These partitions get none.
    pub(crate) held_partitions: BTreeSet<TopicPartition>,
    next_reap_ms: Millis,
}

impl Transactions {
    pub(crate) fn new(next_reap_ms: Millis) -> Self {
        Self {
            by_id: BTreeMap::new(),
            next_producer_id: 0,
            markers_held: false,
            held_partitions: BTreeSet::new(),
            next_reap_ms,
        }
    }

    /// The reaper looks only where there is something to reap, so that an idle cluster has no timer.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let markers = self.by_id.values().filter_map(|it| it.markers_due_ms).filter(|_| !self.markers_held);
        let reap = self.by_id.values().any(|it| it.state == State::Ongoing).then_some(self.next_reap_ms);
        markers.chain(reap).min()
    }
}

pub(crate) fn take_producer_id(next: &mut i64) -> i64 {
    let id = *next;
    *next += 1;
    id
}
