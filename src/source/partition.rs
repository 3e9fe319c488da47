//! One partition: where it stands, and what it waits for.

use crate::planted::{Bug, planted};
use crate::source::message::{Delivery, Position, StartAt, Trouble};
use crate::types::NodeId;
use std::time::{Duration, Instant};
use uuid::Uuid;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// A leader that moves is back within a few seconds; asking once a second wastes little of that.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) fn delay(attempts: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempts.min(8)).min(BACKOFF_MAX)
}

pub(super) enum State {
    /// No position yet. `latest` is asked for before a timestamp: the other way round, records that arrive between the two
    /// answers would be skipped where no record is that young.
    Resolving {
        start: StartAt,
        latest: Option<i64>,
    },
    /// The leader is asked whether its log still holds the record before the position (KIP-320).
    Validating,
    Fetching,
    /// Out of range: on which side? Earliest is known first.
    Examining {
        earliest: Option<i64>,
    },
    /// The answer began behind the position. Compaction makes such gaps; so does retention, when it removes the segment
    /// between the broker's check of the range and its read (`LocalLog.read` goes on to the next segment). The earliest
    /// offset, asked for afterwards, tells which it was.
    Confirming(Box<Delivery>),
    /// After an incident.
    Stopped,
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            State::Resolving { .. } => "Resolving",
            State::Validating => "Validating",
            State::Fetching => "Fetching",
            State::Examining { .. } => "Examining",
            State::Confirming(_) => "Confirming",
            State::Stopped => "Stopped",
        }
    }

    /// The state of a position whose log may have changed since it was read.
    pub(super) fn at(position: Position) -> Self {
        if position.leader_epoch >= 0 && !planted(Bug::StaleEpochIgnored) { State::Validating } else { State::Fetching }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermarks {
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
}

pub(super) struct Partition {
    /// An answer counts only if nothing changed since its request: assignment, leader or leader epoch.
    pub(super) revision: u64,
    pub(super) topic_id: Uuid,
    /// (−1, −1) while resolving.
    pub(super) position: Position,
    pub(super) state: State,
    pub(super) leader: Option<NodeId>,
    pub(super) leader_epoch: i32,
    pub(super) in_flight: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) attempts: u32,
    /// Fetches in a row whose first batch was damaged.
    pub(super) corrupt: u32,
    pub(super) max_bytes: i32,
    /// The number of the fetch that last brought records: those that waited longest are asked for first.
    pub(super) served: u64,
    pub(super) watermarks: Option<Watermarks>,
    pub(super) trouble: Option<Trouble>,
}

impl Partition {
    pub(super) fn new(revision: u64, topic_id: Uuid, position: Position, state: State, max_bytes: i32) -> Self {
        Self {
            revision,
            topic_id,
            position,
            state,
            leader: None,
            leader_epoch: -1,
            in_flight: false,
            retry_at: None,
            attempts: 0,
            corrupt: 0,
            max_bytes,
            served: 0,
            watermarks: None,
            trouble: None,
        }
    }

    /// It may be asked about now.
    pub(super) fn is_due(&self) -> bool {
        !self.in_flight && self.retry_at.is_none() && !matches!(self.state, State::Stopped)
    }

    pub(super) fn is_fetchable_from(&self, node: NodeId) -> bool {
        self.leader == Some(node) && self.is_due() && matches!(self.state, State::Fetching)
    }

    pub(super) fn back_off(&mut self, now: Instant, trouble: Trouble) {
        self.retry_at = Some(now + delay(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        self.trouble = Some(trouble);
    }

    pub(super) fn succeeded(&mut self) {
        self.attempts = 0;
        self.trouble = None;
    }
}
