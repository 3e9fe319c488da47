//! Reads what is committed in one partition: for those who read beside the lanes.

mod stream;

pub use stream::{Part, Stream};

use crate::batch::{BatchError, DecodedBatch, RawBatch, RecordView, UNCOMPRESSED_BYTES_MAX};
use crate::cluster::{Cluster, ClusterError};
use crate::source::{Answer, CorruptProblem, FetchPartition, FetchRequest, Position, protocol, select};
use crate::types::TopicPartition;
use crate::wire::Connection;
use kafka_protocol::messages;
use std::ops::{ControlFlow, Range};
use std::time::Duration;
use uuid::Uuid;

const FETCH_WAIT: Duration = Duration::from_millis(100);
const FETCH_BYTES_MAX: i32 = 1 << 20;
const OFFSET_OUT_OF_RANGE: i16 = 1;

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{partition}: the batch at offset {offset} is damaged: {problem:?}")]
    Damaged { partition: TopicPartition, offset: i64, problem: CorruptProblem },
    #[error(
        "{partition}: offset {offset} is not there any more: the log was cut by its retention, or truncated, while it was read. \
         Begin anew"
    )]
    Gone { partition: TopicPartition, offset: i64 },
    #[error(
        "{partition}: nothing comes behind offset {offset}, and what is committed ended at {to} before: the log was truncated, \
         or its broker does not serve it. Begin anew when the partition is whole again"
    )]
    Stuck { partition: TopicPartition, offset: i64, to: i64 },
    #[error("{partition}: the batch at offset {offset} cannot be read: {error}")]
    Batch { partition: TopicPartition, offset: i64, error: BatchError },
}

/// Committed data from a position on; nothing where nothing has come within a moment.
pub struct Committed {
    pub batches: Vec<RawBatch>,
    /// Data of aborted transactions between them.
    pub aborted: Vec<RawBatch>,
    pub next: Position,
    /// −1: no answer about the partition.
    pub last_stable_offset: i64,
}

/// `leader`: a connection to the partition's leader that is not shared, for a Fetch waits at the broker.
pub async fn read_committed(
    cluster: &Cluster,
    leader: &Connection,
    partition: &TopicPartition,
    from: Position,
) -> Result<Committed, ReadError> {
    read_up_to(cluster, leader, partition, from, FETCH_BYTES_MAX).await
}

async fn read_up_to(
    cluster: &Cluster,
    leader: &Connection,
    partition: &TopicPartition,
    from: Position,
    bytes_max: i32,
) -> Result<Committed, ReadError> {
    let request = FetchRequest {
        max_wait: FETCH_WAIT,
        min_bytes: 1,
        max_bytes: bytes_max,
        partitions: vec![FetchPartition {
            partition: partition.clone(),
            topic_id: Uuid::nil(),
            current_leader_epoch: -1,
            fetch_offset: from.offset,
            last_fetched_epoch: -1,
            partition_max_bytes: bytes_max,
        }],
    };
    let wire = |error| ClusterError::Wire { end: cluster.end(), error };
    let most = leader.version::<messages::FetchRequest>(*protocol::FETCH_VERSIONS.end()).map_err(wire)?;
    let version = protocol::fetch_version(&request, most);
    let sent = leader.send(version, &protocol::fetch_request(&request, version), cluster.request_timeout());
    let answer = protocol::fetch_answer(&request, sent.await.map_err(wire)?, version);
    let nothing = Committed { batches: Vec::new(), aborted: Vec::new(), next: from, last_stable_offset: -1 };
    let Answer::Fetch { partitions } = answer else { return Ok(nothing) };
    let Some((_, fetched)) = partitions.into_iter().next() else { return Ok(nothing) };
    if fetched.error_code == OFFSET_OUT_OF_RANGE {
        return Err(ReadError::Gone { partition: partition.clone(), offset: from.offset });
    }
    if fetched.error_code != 0 {
        let (end, what) = (cluster.end(), format!("topic {}", partition.topic));
        let (code, message) = (fetched.error_code, String::new());
        return Err(ClusterError::Refused { end, api: "Fetch", what, code, message }.into());
    }
    let last_stable_offset = fetched.last_stable_offset;
    let selection = select(fetched.records, fetched.aborted_transactions, from);
    match selection.problem {
        Some(problem) if selection.next.offset == from.offset => {
            Err(ReadError::Damaged { partition: partition.clone(), offset: from.offset, problem })
        }
        // What is whole counts; the rest is read again from there.
        _ => Ok(Committed {
            batches: selection.batches,
            aborted: selection.aborted,
            next: selection.next,
            last_stable_offset,
        }),
    }
}

/// Committed records of these offsets, in their order, until `look` has an error.
pub async fn each<E: From<ReadError>>(
    cluster: &Cluster,
    partition: &TopicPartition,
    range: Range<i64>,
    mut look: impl FnMut(&DecodedBatch, &RecordView<'_>) -> Result<(), E>,
) -> Result<(), E> {
    until(cluster, partition, range, |batch, record| look(batch, record).map(ControlFlow::Continue)).await
}

/// The same, until `look` has seen enough.
pub async fn until<E: From<ReadError>>(
    cluster: &Cluster,
    partition: &TopicPartition,
    range: Range<i64>,
    mut look: impl FnMut(&DecodedBatch, &RecordView<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut stream = Stream::open(cluster.clone(), partition.clone(), range.start, range.end);
    while let Some(part) = stream.next().await {
        for batch in part?.batches {
            let offset = batch.header().base_offset;
            let damaged = |error| ReadError::Batch { partition: partition.clone(), offset, error };
            let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(damaged)?;
            for record in decoded.records() {
                let record = record.map_err(damaged)?;
                if range.contains(&decoded.offset(&record)) && look(&decoded, &record)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
