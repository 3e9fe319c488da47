//! An operator's decision about a partition that stands still: written to the ledger by another process, found by looking.

use super::gather::StreamState;
use super::lane::{Lane, Output, Phase};
use crate::ledger::LaneLedger;
use std::time::{Duration, Instant};

/// Whoever accepts an incident waits about so long until the partition goes on; the look is a read of the ledger's tail.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl Lane {
    /// When to look next. None: nothing stands still.
    pub(super) fn look_due(&self) -> Option<Instant> {
        let stands = |state| matches!(state, StreamState::Stopped | StreamState::Emptying);
        let is_wanted = self.phase == Phase::Copying && !self.is_draining;
        (is_wanted && self.streams.values().any(|it| stands(it.state))).then(|| self.looked_at + LOOK_INTERVAL)
    }

    pub(super) fn look(&mut self) {
        if self.look_due().is_some_and(|due| due <= self.now) {
            self.looked_at = self.now;
            self.output(Output::Decisions);
        }
    }

    /// Whoever decided has fenced this lane; taken back, it goes on from the decided positions.
    pub(super) fn decided(&mut self, ledger: &LaneLedger) {
        let Some(own) = self.ledger.as_ref().filter(|_| self.look_due().is_some()) else { return };
        // Numbers of transactions that only signed the ledger come again, so the partition's own position is what counts.
        let is_new = |name| {
            let key = self.key(name);
            let (found, own) = (ledger.position(&key), own.position(&key));
            found.is_some_and(|it| it.decision.is_some() && own.is_none_or(|own| own.transaction < it.transaction))
        };
        if self.streams.keys().any(is_new) {
            self.forget();
            self.take();
        }
    }
}
