//! Reads what is committed in one partition, one answer at a time: for those who read beside the lanes.

use crate::batch::RawBatch;
use crate::cluster::{Cluster, ClusterError};
use crate::source::{Answer, CorruptProblem, FetchPartition, FetchRequest, Position, protocol, select};
use crate::types::TopicPartition;
use crate::wire::Connection;
use kafka_protocol::messages;
use std::time::Duration;
use uuid::Uuid;

const FETCH_WAIT: Duration = Duration::from_millis(100);
const FETCH_BYTES_MAX: i32 = 1 << 20;

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{partition}: the batch at offset {offset} is damaged: {problem:?}")]
    Damaged { partition: TopicPartition, offset: i64, problem: CorruptProblem },
}

/// Committed data from a position on; nothing where nothing has come within a moment.
pub struct Committed {
    pub batches: Vec<RawBatch>,
    pub next: Position,
}

/// `leader`: a connection to the partition's leader that is not shared, for a Fetch waits at the broker.
pub async fn read_committed(
    cluster: &Cluster,
    leader: &Connection,
    partition: &TopicPartition,
    from: Position,
) -> Result<Committed, ReadError> {
    let request = FetchRequest {
        max_wait: FETCH_WAIT,
        min_bytes: 1,
        max_bytes: FETCH_BYTES_MAX,
        partitions: vec![FetchPartition {
            partition: partition.clone(),
            topic_id: Uuid::nil(),
            current_leader_epoch: -1,
            fetch_offset: from.offset,
            last_fetched_epoch: -1,
            partition_max_bytes: FETCH_BYTES_MAX,
        }],
    };
    let wire = |error| ClusterError::Wire { end: cluster.end(), error };
    let most = leader.version::<messages::FetchRequest>(*protocol::FETCH_VERSIONS.end()).map_err(wire)?;
    let version = protocol::fetch_version(&request, most);
    let sent = leader.send(version, &protocol::fetch_request(&request, version), cluster.request_timeout());
    let answer = protocol::fetch_answer(&request, sent.await.map_err(wire)?, version);
    let nothing = Committed { batches: Vec::new(), next: from };
    let Answer::Fetch { partitions } = answer else { return Ok(nothing) };
    let Some((_, fetched)) = partitions.into_iter().next() else { return Ok(nothing) };
    if fetched.error_code != 0 {
        return Err(ClusterError::Answered { end: cluster.end(), api: "Fetch", code: fetched.error_code }.into());
    }
    let selection = select(fetched.records, fetched.aborted_transactions, from);
    match selection.problem {
        Some(problem) if selection.next.offset == from.offset => {
            Err(ReadError::Damaged { partition: partition.clone(), offset: from.offset, problem })
        }
        // What is whole counts; the rest is read again from there.
        _ => Ok(Committed { batches: selection.batches, next: selection.next }),
    }
}
