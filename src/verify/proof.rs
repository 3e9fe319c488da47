//! A proof is written down beside the positions: what was compared, and that it was the same.
//!
//! An ordinary batch without transaction: it touches no lane's producer, a replay passes over it, and one that is written
//! twice says the same twice.

use super::VerifyError;
use super::cut::{Cut, Job};
use super::report::Report;
use crate::bridge::{Ends, RunError, Surroundings};
use crate::cluster::{Backoff, Cluster, ClusterError, Use};
use crate::config::Config;
use crate::ledger::{self, LedgerRecord, Proof};
use crate::types::TopicPartition;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

const PRODUCE_VERSION_MAX: i16 = 11;
const ACKS_ALL: i16 = -1;
const LEADER_NOT_AVAILABLE: i16 = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// Of one batch: each is some hundred bytes.
const PROOFS_MAX: usize = 500;

/// Of the partitions without a difference; how many these are.
pub(super) async fn record(config: &Config, ends: &Ends, cut: &Cut, report: &Report) -> Result<usize, VerifyError> {
    let time_ms = cut.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let time_ms = u64::try_from(time_ms).unwrap_or(u64::MAX);
    let host = Surroundings::default().host;
    let mut by_lane: BTreeMap<u32, Vec<LedgerRecord>> = BTreeMap::new();
    for job in &cut.jobs {
        let of_job =
            |it: &&super::PartitionReport| *it.topic == *job.source.topic && it.partition == job.source.partition;
        let Some(it) = report.partitions.iter().find(of_job).filter(|it| it.is_clean()) else { continue };
        let Some(sha256) = it.sha256.clone() else { continue };
        let (source, target, before, dead_letters) = began(job, it);
        let proof = Proof {
            target_topic: job.target.topic.clone(),
            target_partition: job.target.partition,
            topic_id: job.topic_id,
            target_topic_id: job.target_topic_id,
            target_cluster_id: cut.target_cluster_id.clone(),
            source_from: source,
            source_to: it.source_to,
            target_from: target,
            target_to: it.target_to,
            records: before + it.counts.records,
            dead_letters: dead_letters + it.counts.dead_lettered,
            sha256,
            host: host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_ms,
        };
        by_lane.entry(job.lane).or_default().push(LedgerRecord::Proof(job.key.clone(), Some(proof)));
    }
    let mut recorded = 0;
    for (lane, proofs) in by_lane {
        let partition = i32::try_from(lane).unwrap_or(i32::MAX);
        let partition = TopicPartition::new(config.link.ledger_topic().as_str(), partition);
        for proofs in proofs.chunks(PROOFS_MAX) {
            let batch = ledger::batch(&partition, proofs, time_ms).map_err(RunError::Ledger)?;
            write(ends, &partition, batch.bytes().clone()).await.map_err(RunError::Cluster)?;
            recorded += proofs.len();
        }
    }
    Ok(recorded)
}

/// Where the first of the proofs began that this one goes on from, and how many records and dead letters they have.
fn began(job: &Job, report: &super::PartitionReport) -> (i64, i64, u64, u64) {
    match &job.proved {
        Some(it) => (it.source.start, it.target.start, it.records, it.dead_letters),
        None => (report.source_from, report.target_from, 0, 0),
    }
}

async fn write(ends: &Ends, partition: &TopicPartition, batch: bytes::Bytes) -> Result<(), ClusterError> {
    let (began, mut backoff) = (crate::clock::now(), Backoff::default());
    loop {
        match produce(&ends.target, partition, batch.clone(), None).await {
            Err(error) if !error.is_permanent() && crate::clock::now() - began < PATIENCE => {
                tracing::debug!(%error, "the proof is written again");
            }
            other => return other,
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// One batch, in a transaction where an id is given.
pub(crate) async fn produce(
    cluster: &Cluster,
    partition: &TopicPartition,
    batch: bytes::Bytes,
    transactional_id: Option<&str>,
) -> Result<(), ClusterError> {
    let metadata = cluster.metadata(Some(std::slice::from_ref(&partition.topic))).await?;
    let answered = |api, code| ClusterError::Answered { end: cluster.end(), api, code };
    let leader = metadata.leader(partition).ok_or_else(|| answered("Metadata", LEADER_NOT_AVAILABLE))?;
    let data = PartitionProduceData::default().with_index(partition.partition).with_records(Some(batch));
    let name = StrBytes::from_string(partition.topic.to_string());
    let topic = TopicProduceData::default().with_name(name.into()).with_partition_data(vec![data]);
    let timeout_ms = i32::try_from(cluster.request_timeout().as_millis()).unwrap_or(i32::MAX);
    let request = ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|it| StrBytes::from_string(it.to_owned()).into()))
        .with_acks(ACKS_ALL)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(vec![topic]);
    let connection = cluster.dial(leader, Use::Control).await?;
    let answer = cluster.ask(&connection, PRODUCE_VERSION_MAX, &request).await;
    connection.close();
    let answer = answer?;
    let code = answer.responses.first().and_then(|it| it.partition_responses.first()).map_or(-1, |it| it.error_code);
    if code == 0 { Ok(()) } else { Err(answered("Produce", code)) }
}
