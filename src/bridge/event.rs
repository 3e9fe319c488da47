//! What happens to a link. A line in the log and a metric have no other source: whoever adds something here has to say both.

use super::incident::Incident;
use super::lane::Event;
use crate::cluster::Keeper;
use crate::target::TransactionProtocol;
use crate::types::TopicPartition;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a link begins with.
pub struct Beginning<'a> {
    pub source: &'a Keeper,
    pub target: &'a Keeper,
    pub protocol: TransactionProtocol,
    /// Bytes of `delivery.memory_bytes_max` that nobody has taken, at the moment that it is called.
    pub free_bytes: Box<dyn Fn() -> usize + Send + Sync>,
    pub budget_bytes: usize,
}

/// Borrowed: most of it is told many times a second, and nobody may be listening.
#[derive(Debug)]
pub enum LinkEvent<'a> {
    Lane {
        lane: u32,
        event: &'a Event,
    },
    /// From now on these are this bridge's. Unfit: it is passed over, for the source does not answer it.
    Assigned {
        lanes: &'a BTreeSet<u32>,
        generation_id: i32,
        is_unfit: bool,
    },
    /// The first generation, or the first after a loss, that has settled.
    Settled {
        lanes: &'a BTreeSet<u32>,
        of: u32,
        generation_id: i32,
        members: Option<u32>,
        is_unfit: bool,
    },
    AllTaken {
        lanes: u32,
        elapsed: Duration,
    },
    /// Of the group's trust; all lanes with it.
    Lost {
        reason: &'a str,
    },
    /// Of the group, for so long.
    Silent {
        since: Duration,
    },
    /// A revoked lane is dropped in the middle of its work.
    Overdue {
        lane: u32,
        patience: Duration,
    },
    /// A lane was fenced, and the group is asked whose it is.
    Doubted {
        lane: u32,
        backoff: Duration,
    },
    TakenBack {
        lane: u32,
    },
    /// A lane that was taken again has found what it had found before.
    IncidentAgain {
        lane: u32,
        incident: &'a Incident,
    },
    Draining,
}

impl LinkEvent<'_> {
    pub(super) fn log(&self, link: &str) {
        match self {
            Self::Lane { lane, event } => log_lane(*lane, event),
            Self::Assigned { lanes, generation_id, is_unfit } => {
                tracing::debug!(link, ?lanes, generation_id, is_unfit, "assigned");
            }
            Self::Settled { lanes, of, generation_id, members, is_unfit } => {
                let members = members.map(|it| format!(", {it} members")).unwrap_or_default();
                if lanes.is_empty() && *is_unfit {
                    tracing::info!(
                        link,
                        "stands by: no lane of {of} goes to a bridge that the source does not answer; generation \
                         {generation_id}{members}"
                    );
                } else if lanes.is_empty() {
                    tracing::info!(link, "stands by: no lane of {of} is free; generation {generation_id}{members}");
                } else {
                    let own: Vec<_> = lanes.iter().map(ToString::to_string).collect();
                    let own = own.join(",");
                    tracing::info!(link, "now works lanes {own} of {of}; generation {generation_id}{members}");
                }
            }
            Self::AllTaken { lanes, elapsed } => {
                tracing::info!(link, lanes, ms = elapsed.as_millis(), "all lanes are taken");
            }
            Self::Lost { reason } => {
                tracing::warn!(link, reason, "all lanes are given up; the bridge joins its group again");
            }
            Self::Silent { since } => tracing::warn!(
                link,
                "the group has given no lane for {since:?}: its coordinator does not answer, or another member does not give \
                 its lanes back; it is asked on"
            ),
            Self::Overdue { lane, patience } => {
                tracing::warn!(lane, "did not end within {patience:?} of its revocation, and is dropped");
            }
            Self::Doubted { lane, backoff } => {
                tracing::warn!(lane, ?backoff, "the lane was fenced; the group is asked whose it is");
            }
            Self::TakenBack { lane } => {
                tracing::info!(lane, "the group confirms that the lane is this bridge's: it is taken back");
            }
            Self::IncidentAgain { lane, incident } => tracing::debug!(lane, %incident, "it still stands still"),
            Self::Draining => tracing::info!(link, "draining: open transactions are finished"),
        }
    }
}

fn log_lane(lane: u32, event: &Event) {
    match event {
        Event::Taken { transaction, positions } => {
            tracing::debug!(lane, transaction, positions = positions.len(), "taken");
        }
        Event::Committed(counts) => {
            tracing::debug!(lane, records = counts.records, bytes = counts.bytes, latency = ?counts.latency, "committed");
        }
        Event::Aborted(cause) => {
            tracing::warn!(lane, %cause, "a transaction was aborted, its records are copied again");
        }
        Event::OutcomeUnknown(cause) => {
            tracing::debug!(lane, %cause, "whether a transaction was committed is not known; the ledger is asked");
        }
        Event::Mended { partitions, commit } => {
            let (partitions, verdict) = (names(partitions), if *commit { "committed" } else { "aborted" });
            tracing::warn!(
                lane,
                partitions,
                verdict,
                "the target had left out the markers of a transaction that it calls complete; they are written now"
            );
        }
        Event::Unsettled(partitions) => tracing::warn!(
            lane,
            partitions = names(partitions),
            "the target does not say whether the last transaction is decided there; until it does, the lane waits"
        ),
        Event::Undecided(partition) => tracing::warn!(
            lane,
            %partition,
            "another program's transaction is open there: until it ends, read_committed readers get nothing behind it; \
             kafka-transactions.sh find-hanging names it, and abort ends it"
        ),
        Event::Incident(incident) => {
            let (kind, partition) = (incident.kind.name(), &incident.partition);
            let (next_offset, (first_lost, last_lost)) = (incident.next_offset, incident.lost());
            tracing::error!(kind, %partition, next_offset, first_lost, last_lost, "incident: {incident}");
        }
        Event::TakenOver(owner) => tracing::debug!(lane, ?owner, "taken over"),
        Event::Fenced => tracing::debug!(lane, "fenced"),
        Event::Failed(reason) => tracing::error!(lane, %reason, "the lane has stopped; the others go on"),
        Event::Drained => tracing::debug!(lane, "drained"),
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
