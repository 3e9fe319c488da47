//! Writes an operator's decision as a bridge would write a position: in a transaction of the lane's own producer.
//!
//! Taking the lane fences a bridge that works on it, so nothing can move between the look at the ledger and the decision. The
//! ledger stays signed by that bridge, which therefore takes the lane back, reads the decision, and goes on.

use super::{IncidentsError, id, remedy};
use crate::bridge::check::standing;
use crate::bridge::{RunError, Surroundings};
use crate::cluster::{At, Backoff, Cluster, ClusterError, CoordinatorKind, Use};
use crate::ledger::{Anchor, Change, Decision, LaneLedger, LedgerReader, Position, Until};
use crate::positions::Link;
use crate::target::protocol;
use crate::target::{Answer, TransactionProtocol};
use crate::types::{ProducerIdentity, TopicPartition};
use crate::wire::Connection;
use kafka_protocol::protocol::Request;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// While an older transaction of the lane ends, or a coordinator moves.
const PATIENCE: Duration = Duration::from_secs(30);
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS.
const PASSES: [i16; 4] = [14, 15, 16, 51];

#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    pub id: String,
    pub topic: String,
    pub partition: i32,
    /// Source offsets from the first on and before the second are not copied.
    pub from_offset: i64,
    pub next_offset: i64,
    pub reason: String,
}

/// `next_offset`: the operator's own, where it cannot be known, or is to be another.
pub async fn accept(
    link: &Link<'_>,
    wanted: &str,
    reason: &str,
    next_offset: Option<i64>,
) -> Result<Accepted, IncidentsError> {
    let (source, target) = link.metadata();
    let found = standing(link.config(), link.ends(), link.histories(), source, target).await?;
    let named = || wanted.to_owned();
    let Some(standing) = found.into_iter().find(|it| id(&it.incident) == wanted) else {
        return Err(IncidentsError::NoSuch { id: named() });
    };
    let kind = standing.incident.kind.name();
    if let Some(remedy) = remedy(&standing.incident.kind) {
        return Err(IncidentsError::NotToAccept { id: named(), kind, remedy });
    }
    let next_offset = next_offset.or(standing.resume.map(|it| it.next_offset));
    let next_offset = next_offset.ok_or_else(|| IncidentsError::NoOffset { id: named() })?;

    let lane = Lane::take(link, standing.lane).await?;
    let key = &standing.key;
    let before = lane.ledger.position(key).cloned();
    let at = |position: &Option<Position>| position.as_ref().map_or(-1, |it| it.next_offset);
    if at(&before) != at(&standing.position) {
        return Err(IncidentsError::Moved { id: named(), next_offset: at(&before) });
    }
    let copy = standing.incident.target.clone();
    // Behind everything that is there: the lane's own transactions have ended.
    let target_offset = link.ends().target.offset_at(target, &copy, At::Latest).await.map_err(RunError::Cluster)?;
    let records = before.as_ref().map_or(0, |it| it.records);
    let id_of = |metadata: &crate::cluster::Metadata, topic| metadata.topics.get(topic).map(|it| it.topic_id);
    let topic_id = id_of(source, &key.topic).unwrap_or_default();
    let from = before.as_ref().map_or(next_offset, |it| it.next_offset);
    let host = Surroundings::default().host;
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let time_ms = u64::try_from(time_ms).unwrap_or(u64::MAX);
    let decision = Decision {
        kind: kind.to_owned(),
        reason: reason.to_owned(),
        next_offset,
        topic_id: before.as_ref().map_or(topic_id, |it| it.topic_id),
        host,
        time_ms,
    };
    let position = Position {
        next_offset,
        // What was read before may not be there any more.
        leader_epoch: -1,
        topic_id,
        from,
        records: 0,
        target_topic: copy.topic.clone(),
        target_partition: copy.partition,
        target_topic_id: id_of(target, &copy.topic).unwrap_or_default(),
        target_offset: None,
        transaction: 0,
        time_ms: 0,
        dead_letters: None,
        decision: Some(reason.to_owned()),
        anchor: Some(Anchor { records, source_offset: next_offset, target_offset }),
    };
    let pending = lane.ledger.decide(standing.lane, Change { key: key.clone(), position }, decision, time_ms);
    lane.write(pending.map_err(RunError::Ledger)?.batch).await?;
    Ok(Accepted {
        id: named(),
        topic: key.topic.to_string(),
        partition: key.partition,
        from_offset: from,
        next_offset,
        reason: reason.to_owned(),
    })
}

/// A lane that is this process' for one transaction.
struct Lane {
    cluster: Cluster,
    transactional_id: String,
    identity: ProducerIdentity,
    partition: TopicPartition,
    ledger: LaneLedger,
}

/// Protocol v1, which every broker speaks.
const PROTOCOL: TransactionProtocol = TransactionProtocol::V1;

impl Lane {
    async fn take(link: &Link<'_>, lane: u32) -> Result<Self, IncidentsError> {
        let (config, cluster) = (link.config(), link.ends().target.clone());
        let transactional_id = config.link.transactional_id(lane);
        let timeout_ms = config.delivery.transaction_timeout_ms;
        let request = protocol::init_producer_id(&transactional_id, timeout_ms, None);
        let api = ("InitProducerId", protocol::INIT_PRODUCER_ID_VERSION_MAX);
        let answer = coordinated(&cluster, &transactional_id, api, &request, |it| it.error_code);
        let Answer::InitProducerId { identity, .. } = protocol::init_producer_id_answer(&answer.await?) else {
            let reason = ClusterError::Answered { end: cluster.end(), api: "InitProducerId", code: -1 };
            return Err(IncidentsError::NotWritten { reason });
        };
        let partition = i32::try_from(lane).unwrap_or(i32::MAX);
        let partition = TopicPartition::new(config.link.ledger_topic().as_str(), partition);
        let group_id = config.link.group_id().to_owned();
        let reader = LedgerReader { cluster: cluster.clone(), partition: partition.clone(), group_id };
        let ledger = match tokio::time::timeout(PATIENCE, reader.read(Until::End)).await {
            Ok(ledger) => ledger.map_err(RunError::Ledger)?,
            Err(_) => return Err(IncidentsError::NotReadable { ledger: partition, seconds: PATIENCE.as_secs() }),
        };
        Ok(Self { cluster, transactional_id, identity, partition, ledger })
    }

    /// The whole transaction.
    async fn write(&self, batch: crate::batch::RawBatch) -> Result<(), IncidentsError> {
        let Self { cluster, transactional_id, identity, partition, .. } = self;
        let request = protocol::add_partitions_to_txn(transactional_id, *identity, std::slice::from_ref(partition));
        let api = ("AddPartitionsToTxn", protocol::ADD_PARTITIONS_TO_TXN_VERSION_MAX);
        coordinated(cluster, transactional_id, api, &request, |it| {
            let results = it.results_by_topic_v3_and_below.iter().flat_map(|it| &it.results_by_partition);
            results.map(|it| it.partition_error_code).find(|code| *code != 0).unwrap_or(0)
        })
        .await?;
        let stamped = crate::batch::stamp(&batch, *identity, 0);
        crate::verify::produce(cluster, partition, stamped.to_bytes(), Some(transactional_id))
            .await
            .map_err(|reason| IncidentsError::NotWritten { reason })?;
        let request = protocol::end_txn(transactional_id, *identity, true);
        let api = ("EndTxn", protocol::end_txn_version_max(PROTOCOL));
        coordinated(cluster, transactional_id, api, &request, |it| it.error_code).await?;
        Ok(())
    }
}

/// Asks the transaction's coordinator, until it says yes or no.
async fn coordinated<R: Request>(
    cluster: &Cluster,
    transactional_id: &str,
    (api, version_max): (&'static str, i16),
    request: &R,
    code: impl Fn(&R::Response) -> i16,
) -> Result<R::Response, IncidentsError> {
    let (began, mut backoff) = (crate::clock::now(), Backoff::default());
    loop {
        let answer = async {
            let coordinator = coordinator(cluster, transactional_id).await?;
            let answer = cluster.ask(&coordinator, version_max, request).await;
            coordinator.close();
            answer
        };
        let (reason, passes) = match answer.await {
            Ok(answer) if code(&answer) == 0 => return Ok(answer),
            Ok(answer) => {
                let code = code(&answer);
                (ClusterError::Answered { end: cluster.end(), api, code }, PASSES.contains(&code))
            }
            // An EndTxn without an answer may have been carried out; asked again, the coordinator says the same once more.
            Err(error) => {
                let passes = !error.is_permanent();
                (error, passes)
            }
        };
        if !passes || crate::clock::now() - began > PATIENCE {
            return Err(IncidentsError::NotWritten { reason });
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

async fn coordinator(cluster: &Cluster, transactional_id: &str) -> Result<Connection, ClusterError> {
    let node = cluster.coordinator(CoordinatorKind::Transaction, transactional_id).await?;
    cluster.dial(node, Use::Control).await
}
