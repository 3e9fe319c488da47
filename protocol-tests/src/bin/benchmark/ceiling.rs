//! What both brokers allow: a consumer that throws away what it reads, and a producer of the same batches without transactions,
//! at the same time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_bridge::batch::split;
use kafka_bridge::bridge::Ends;
use kafka_bridge::cluster::{Cluster, Use};
use kafka_bridge::config::Config;
use kafka_bridge::source::{Answer, FetchPartition, FetchRequest, protocol};
use kafka_bridge::types::TopicPartition;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest as WireFetch, ProduceRequest, ProduceResponse};
use protocol_tests::raw::{RawClient, topic_name};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::batches::Batches;
use crate::stage::{LIMIT, NODE, Stage};

const PRODUCE_VERSION: i16 = 9;
const ACKS_ALL: i16 = -1;
/// As the Java client with idempotence.
const IN_FLIGHT: usize = 5;
const CONNECTIONS: i32 = 4;
const FETCH_BYTES: i32 = 8 << 20;
const PARTITION_BYTES: i32 = 1 << 20;

/// Batches of one partition in one request cannot be: so one of each of several partitions.
pub(crate) fn fill(
    source: &mut RawClient,
    topic: &str,
    partitions: i32,
    batches: &Batches,
    count: usize,
    request_bytes: usize,
) -> Result<()> {
    let at_once = (request_bytes / batches.wire_bytes().max(1)).clamp(1, usize::try_from(partitions)?);
    let mut number = 0;
    while number < count {
        let some = number..count.min(number + at_once);
        let data = some.clone().map(|number| {
            let partition = i32::try_from(number).map(|it| it % partitions)?;
            Ok((partition, Bytes::from(batches.encoded[number % batches.encoded.len()].clone())))
        });
        send(source, topic, data.collect::<Result<_>>()?)?;
        number = some.end;
    }
    Ok(())
}

/// One request, to the one node that there is.
pub(crate) fn send(client: &mut RawClient, topic: &str, data: BTreeMap<i32, Bytes>) -> Result<()> {
    is_taken(&client.any(PRODUCE_VERSION, &produce(topic, data))?)
}

fn is_taken(answer: &ProduceResponse) -> Result<()> {
    let mut answers = answer.responses.iter().flat_map(|it| &it.partition_responses);
    ensure!(answers.all(|it| it.error_code == 0), "{answer:?}");
    Ok(())
}

fn produce(topic: &str, data: BTreeMap<i32, Bytes>) -> ProduceRequest {
    let data = data
        .into_iter()
        .map(|(partition, batch)| PartitionProduceData::default().with_index(partition).with_records(Some(batch)));
    ProduceRequest::default()
        .with_acks(ACKS_ALL)
        .with_timeout_ms(i32::try_from(LIMIT.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(vec![
            TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(data.collect()),
        ])
}

/// Gives how long both took.
pub(crate) fn run(
    stage: &Stage,
    topic: &str,
    into: &str,
    partitions: i32,
    batches: &Batches,
    count: usize,
) -> Result<Duration> {
    let config = stage.pair.config("ceiling", &[topic]).write(stage.folder(), "ceiling")?;
    let ends = Ends::new(&Config::load(&config)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (metadata, _) = ends.connect().await?;
        let id =
            metadata.topics.iter().find(|it| &*it.0.to_string() == topic).context("the topic is not there")?.1.topic_id;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for connection in 0..CONNECTIONS.min(partitions) {
            let own: Vec<i32> = (0..partitions).filter(|it| it % CONNECTIONS == connection).collect();
            let encoded: Vec<Bytes> = batches.encoded.iter().cloned().map(Bytes::from).collect();
            let ends_at = own.iter().map(|it| (*it, batches_of(*it, partitions, count) * batches.records as i64));
            tasks.spawn(consume(ends.source.clone(), topic.to_owned(), id, ends_at.collect()));
            tasks.spawn(produce_all(ends.target.clone(), into.to_owned(), own, encoded, count / partitions as usize));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(began.elapsed())
    })
}

/// As `fill` spreads them.
fn batches_of(partition: i32, partitions: i32, count: usize) -> i64 {
    (count as i64 - i64::from(partition) - 1).div_euclid(i64::from(partitions)) + 1
}

async fn consume(cluster: Cluster, topic: String, topic_id: Uuid, ends: BTreeMap<i32, i64>) -> Result<()> {
    let connection = cluster.dial(NODE, Use::Fetch(0)).await?;
    let mut positions: BTreeMap<i32, i64> = ends.keys().map(|it| (*it, 0)).collect();
    while positions != ends {
        let asked = positions.iter().filter(|it| *it.1 < ends[it.0]).map(|(partition, offset)| FetchPartition {
            partition: TopicPartition::new(topic.as_str(), *partition),
            topic_id,
            current_leader_epoch: -1,
            fetch_offset: *offset,
            last_fetched_epoch: -1,
            partition_max_bytes: PARTITION_BYTES,
        });
        let max_wait = Duration::from_millis(500);
        let request = FetchRequest { max_wait, min_bytes: 1, max_bytes: FETCH_BYTES, partitions: asked.collect() };
        let version =
            protocol::fetch_version(&request, connection.version::<WireFetch>(*protocol::FETCH_VERSIONS.end())?);
        let answer = connection.send(version, &protocol::fetch_request(&request, version), LIMIT).await?;
        let Answer::Fetch { partitions } = protocol::fetch_answer(&request, answer, version) else { continue };
        for (partition, answered) in partitions {
            if let Some(Ok(last)) = split(answered.records).last() {
                positions.insert(partition.partition, last.header().next_offset());
            }
        }
    }
    Ok(())
}

async fn produce_all(
    cluster: Cluster,
    topic: String,
    partitions: Vec<i32>,
    batches: Vec<Bytes>,
    count: usize,
) -> Result<()> {
    let connection = cluster.dial(NODE, Use::Produce(0)).await?;
    let mut waiting = JoinSet::new();
    for number in 0..count {
        // One batch of each partition that has this connection.
        let data = partitions.iter().map(|it| (*it, batches[number % batches.len()].clone())).collect();
        waiting.spawn(connection.send(PRODUCE_VERSION, &produce(&topic, data), LIMIT));
        while waiting.len() >= IN_FLIGHT || number + 1 == count {
            let Some(answer) = waiting.join_next().await else { break };
            is_taken(&answer??)?;
        }
    }
    Ok(())
}
