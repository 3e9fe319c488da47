//! What happens in one simulation, as data: a schedule can be printed, shortened and run again.

use std::fmt;

use kafka_bridge::broker::{Coordinator, Fault};

use super::network::{Direction, End};
use crate::raw::Codec;

/// What the clusters and the link are, fixed at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub source_nodes: i32,
    pub target_nodes: i32,
    /// The target finalizes transaction protocol v2; else it is like Kafka 3.9.
    pub is_v2: bool,
    /// It finalizes protocol v2 only when a step says so.
    pub begins_with_v1: bool,
    pub lanes: u32,
    pub commit_interval_ms: u64,
    pub request_timeout_ms: u64,
    pub transaction_timeout_ms: u64,
    /// `fetch.max.bytes` of the source's nodes: small ones cut answers within a batch.
    pub fetch_bytes_max: usize,
    pub marker_delay_ms: i64,
    pub delay_ms_max: u64,
    /// Partitions of each topic; the last one is compacted.
    pub topics: Vec<i32>,
    /// Quiet comes after this.
    pub duration_ms: u64,
    pub sharing: Sharing,
    /// None: nothing is checked.
    pub validation: Option<Validation>,
}

/// Which topics are held against schemas of the source's registry, and what becomes of what does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Of those that there are at the start.
    pub topics: Vec<usize>,
    /// The partition stops; else the record goes to the dead letters.
    pub stops: bool,
    /// Records get the ids of the target's registry.
    pub maps_ids: bool,
    /// The newer schema is written with before it is registered, and what is written with it waits.
    pub waits_for_schema: bool,
}

/// What a schema registry does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    Refused,
    Stalled(Direction),
    /// Its answers end after so many bytes at the most.
    BreaksOff {
        after_bytes: usize,
    },
    /// Without an answer.
    Closes,
    Slow {
        late_ms: u64,
    },
    Status(u16),
    /// A page that is no registry's.
    Garbage,
}

/// How the processes of the link come to their lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each takes all of them.
    Off,
    /// By a group. Whoever is started takes the instance id of one that has ended, if there is one.
    Group,
    /// By a group in which all have the same instance id, as two on one host.
    Twins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producer {
    Plain,
    Idempotent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Commit,
    Abort,
    /// Nobody ends it; the coordinator aborts it for its age.
    Leave,
}

/// A place by numbers, so that a step stays right when others are dropped: it is taken modulo what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub topic: usize,
    pub partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write {
        at: At,
        producer: Producer,
        codec: Codec,
        batches: usize,
        records: usize,
        bytes: usize,
    },
    Transact {
        at: Vec<At>,
        codec: Codec,
        records: usize,
        verdict: Verdict,
        pause_ms: u64,
    },
    /// SIGKILL, and after a while a new process.
    Kill {
        down_ms: u64,
    },
    /// As the one before, with the machine it ran on: nobody is told.
    PowerOff {
        down_ms: u64,
    },
    /// SIGTERM, and after a while a new process.
    Stop {
        down_ms: u64,
    },
    /// A second process of the link starts beside the first.
    Second,
    /// The running bridge is cut off, a second one starts, and the first comes back.
    Zombie {
        ms: u64,
    },
    NodeDown {
        end: End,
        node: i32,
        ms: u64,
    },
    Move {
        end: End,
        at: At,
        node: i32,
    },
    MoveLedger {
        lane: u32,
        node: i32,
    },
    MoveCoordinator {
        kind: Coordinator,
        lane: u32,
        node: i32,
    },
    /// Of the bridges' next requests.
    Strike {
        end: End,
        api: i16,
        fault: Fault,
        skip: u64,
        times: u64,
    },
    /// A request that is held, and arrives so much later.
    Hold {
        end: End,
        api: i16,
        skip: u64,
        ms: u64,
    },
    Stall {
        end: Option<End>,
        node: Option<i32>,
        direction: Direction,
        ms: u64,
    },
    Refuse {
        end: End,
        node: Option<i32>,
        ms: u64,
    },
    Slow {
        end: Option<End>,
        delay_ms: u64,
        ms: u64,
    },
    Cut {
        end: End,
        node: Option<i32>,
        direction: Direction,
        after_bytes: Option<usize>,
    },
    HoldMarkers {
        end: End,
        ms: u64,
    },
    HoldReplication {
        end: End,
        at: At,
        ms: u64,
    },
    /// Retention takes so many percent of what there is.
    Retain {
        at: At,
        percent: i64,
    },
    /// An unclean election takes so many of the last batches.
    Truncate {
        at: At,
        batches: usize,
    },
    Compact,
    Recreate {
        topic: usize,
    },
    Grow {
        topic: usize,
    },
    NewTopic {
        partitions: i32,
    },
    /// The group's offsets have expired.
    ForgetGroup,
    /// The wall clock of the machine that runs the bridge.
    Clock {
        ms: i64,
    },
    /// The target finalizes protocol v2 while it is used.
    FinalizeV2,
    /// The newer schema is registered.
    Evolve,
    Registry {
        end: End,
        fault: RegistryFault,
        ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    pub setup: Setup,
    /// With their times, in order.
    pub steps: Vec<(u64, Step)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {}: {:?}", self.seed, self.setup)?;
        for (at_ms, step) in &self.steps {
            writeln!(formatter, "{at_ms:>7} ms  {step:?}")?;
        }
        Ok(())
    }
}
