//! Questions to a cluster, mostly of one node, and the notes of its answers.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use protocol_tests::raw::{Codec, NewBatch, NewRecord, RawClient, topic_name};

use super::requests::{end_request, fetch_at, init_request, list_request, partitions_request, produce_request};

/// Clusters have this node alone, unless leaders are to move.
pub(super) const NODE: i32 = 0;
/// Concurrent transactions, coordinators that load or are made: they pass by themselves.
const PASSING: [i16; 4] = [14, 15, 16, 51];
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
pub(super) const COMMITTED: i8 = 1;
pub(super) const UNCOMMITTED: i8 = 0;

pub(super) struct Probe {
    pub(super) client: RawClient,
    bootstrap: Vec<String>,
    notes: Vec<String>,
    /// Producer ids in the order in which they were handed out: their values mean nothing.
    producer_ids: Vec<i64>,
    /// Transaction protocol v2.
    pub(super) is_v2: bool,
}

/// A producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

pub(super) const NOBODY: Who = Who { id: -1, epoch: -1 };

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(super) fn transactional(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

/// So many records of now.
pub(super) fn records(count: usize) -> Vec<NewRecord> {
    let record = |index: usize| NewRecord {
        timestamp: now_ms(),
        key: Some(format!("key {index}").into_bytes()),
        value: Some(b"value".to_vec()),
        headers: vec![],
    };
    (0..count).map(record).collect()
}

pub(super) fn batch(who: Who, base_sequence: i32, transactional: bool, count: usize) -> Result<Vec<u8>> {
    let batch = NewBatch {
        codec: Codec::None,
        producer_id: who.id,
        producer_epoch: who.epoch,
        base_sequence,
        transactional,
        records: records(count),
    };
    batch.encode()
}

impl Probe {
    pub(super) fn run(
        bootstrap: Vec<String>,
        version: &str,
        ask: impl FnOnce(&mut Probe) -> Result<()>,
    ) -> Result<Vec<String>> {
        let client = RawClient::new(bootstrap.clone());
        let is_v2 = !version.starts_with('3');
        let mut probe = Probe { client, bootstrap, notes: vec![], producer_ids: vec![], is_v2 };
        let asked = ask(&mut probe);
        asked.with_context(|| format!("after {}", probe.notes.last().cloned().unwrap_or_default()))?;
        Ok(probe.notes)
    }

    pub(super) fn another_client(&self) -> RawClient {
        RawClient::new(self.bootstrap.clone())
    }

    pub(super) fn note(&mut self, question: &str, answer: impl Debug) {
        self.notes.push(format!("{question}: {answer:?}"));
    }

    pub(super) fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        self.client.send(NODE, version, request)
    }

    /// Asks until the answer is not one that passes by itself.
    pub(super) fn settle<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        self.settle_at(NODE, &PASSING, version, request, code)
    }

    /// As above, at any node, and for other codes.
    pub(super) fn settle_at<R: Request>(
        &mut self,
        node: i32,
        passing: &[i16],
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        let start = Instant::now();
        loop {
            let answer = self.client.send(node, version, request)?;
            if !passing.contains(&code(&answer)) {
                return Ok(answer);
            }
            if start.elapsed() > SETTLE_LIMIT {
                bail!("API {} answers {} for ever", R::KEY, code(&answer));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// "producer 0" for the first that was handed out.
    pub(super) fn name_of(&mut self, id: i64) -> String {
        if id < 0 {
            return "nobody".to_owned();
        }
        let index = self.producer_ids.iter().position(|it| *it == id).unwrap_or_else(|| {
            self.producer_ids.push(id);
            self.producer_ids.len() - 1
        });
        format!("producer {index}")
    }

    /// Makes the coordinator of a group (0) or a transactional id (1) available, and waits until it answers for the key.
    pub(super) fn coordinator(&mut self, kind: i8, key: &str) -> Result<()> {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
        self.settle(3, &request, |answer| answer.error_code)?;
        self.until_coordinating(NODE, kind, key)
    }

    /// Until a node has loaded what it coordinates.
    pub(super) fn until_coordinating(&mut self, node: i32, kind: i8, key: &str) -> Result<()> {
        if kind == 0 {
            let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(key))]);
            let code = |answer: &DescribeGroupsResponse| answer.groups.first().map_or(0, |it| it.error_code);
            self.settle_at(node, &PASSING, 5, &request, code)?;
        } else {
            let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional(key)]);
            let code =
                |answer: &DescribeTransactionsResponse| answer.transaction_states.first().map_or(0, |it| it.error_code);
            self.settle_at(node, &PASSING, 0, &request, code)?;
        }
        Ok(())
    }

    /// Creates a topic and waits until its leader answers: metadata has it a moment earlier.
    pub(super) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        self.client.create_topic(name, partitions, 1, configs)?;
        let asked = (0..partitions).map(|index| {
            ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1).with_current_leader_epoch(-1)
        });
        let topic = ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let code = |answer: &ListOffsetsResponse| {
            let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
            partitions.map(|it| it.error_code).find(|it| *it != 0).map_or(0, |_| PASSING[0])
        };
        self.settle(6, &request, code)?;
        Ok(())
    }

    pub(super) fn produce(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        bytes: Vec<u8>,
        id: Option<&str>,
    ) -> Result<PartitionProduceResponse> {
        self.produce_acks(version, topic, partition, bytes, id, -1)
    }

    pub(super) fn produce_acks(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        bytes: Vec<u8>,
        id: Option<&str>,
        acks: i16,
    ) -> Result<PartitionProduceResponse> {
        let request = produce_request(topic, partition, bytes, id, acks);
        let code = |answer: &ProduceResponse| {
            let first = answer.responses.first().and_then(|it| it.partition_responses.first());
            // On v1 the wait for the markers of the transaction before is hidden behind 19.
            first.map_or(0, |it| if it.error_code == 19 && id.is_some() { 51 } else { it.error_code })
        };
        let answer = self.settle(version, &request, code)?;
        answer
            .responses
            .into_iter()
            .next()
            .and_then(|it| it.partition_responses.into_iter().next())
            .context("no partition")
    }

    /// Produces and notes code and base offset.
    pub(super) fn note_produce(
        &mut self,
        question: &str,
        version: i16,
        topic: &str,
        bytes: Vec<u8>,
        id: Option<&str>,
    ) -> Result<()> {
        let answer = self.produce(version, topic, 0, bytes, id)?;
        self.note(question, (answer.error_code, answer.base_offset));
        Ok(())
    }

    pub(super) fn init(
        &mut self,
        version: i16,
        id: Option<&str>,
        who: Option<Who>,
        timeout_ms: i32,
    ) -> Result<(i16, Who)> {
        let request = init_request(id, who.unwrap_or(NOBODY), timeout_ms);
        let answer = self.settle(version, &request, |answer| answer.error_code)?;
        Ok((answer.error_code, Who { id: answer.producer_id.0, epoch: answer.producer_epoch }))
    }

    pub(super) fn note_init(
        &mut self,
        question: &str,
        version: i16,
        id: Option<&str>,
        who: Option<Who>,
    ) -> Result<Who> {
        let (code, who) = self.init(version, id, who, 60_000)?;
        let name = self.name_of(who.id);
        self.note(question, (code, name, who.epoch));
        Ok(who)
    }

    pub(super) fn add_partitions(
        &mut self,
        version: i16,
        id: &str,
        who: Who,
        places: &[(&str, i32)],
    ) -> Result<Vec<i16>> {
        let request = partitions_request(id, who, places);
        let codes = |answer: &AddPartitionsToTxnResponse| -> Vec<i16> {
            let mut results: Vec<_> = answer
                .results_by_topic_v3_and_below
                .iter()
                .flat_map(|topic| {
                    topic
                        .results_by_partition
                        .iter()
                        .map(|it| (topic.name.to_string(), it.partition_index, it.partition_error_code))
                })
                .collect();
            results.sort();
            results.into_iter().map(|it| it.2).collect()
        };
        let answer = self.settle(version, &request, |answer| codes(answer).first().copied().unwrap_or(0))?;
        Ok(codes(&answer))
    }

    pub(super) fn end(&mut self, version: i16, id: &str, who: Who, commit: bool) -> Result<(i16, Who)> {
        let request = end_request(id, who, commit);
        let answer = self.settle(version, &request, |answer| answer.error_code)?;
        Ok((answer.error_code, Who { id: answer.producer_id.0, epoch: answer.producer_epoch }))
    }

    /// v5 answers with the next identity, which is returned; older versions with none.
    pub(super) fn note_end(&mut self, question: &str, version: i16, id: &str, who: Who, commit: bool) -> Result<Who> {
        let (code, next) = self.end(version, id, who, commit)?;
        let name = self.name_of(next.id);
        self.note(question, (code, name, next.epoch));
        Ok(next)
    }

    /// (code, timestamp, offset, leader epoch)
    pub(super) fn list_offset(
        &mut self,
        topic: &str,
        timestamp: i64,
        isolation: i8,
        epoch: i32,
    ) -> Result<(i16, i64, i64, i32)> {
        let answer = self.ask(7, &list_request(topic, timestamp, isolation, epoch))?;
        let found = answer.topics.first().and_then(|it| it.partitions.first()).context("no partition")?;
        Ok((found.error_code, found.timestamp, found.offset, found.leader_epoch))
    }

    /// Last stable offset and high watermark, once the markers that are on their way have arrived.
    pub(super) fn note_ends(&mut self, question: &str, topic: &str, settled: bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let stable = self.list_offset(topic, -1, COMMITTED, -1)?.2;
            let end = self.list_offset(topic, -1, UNCOMMITTED, -1)?.2;
            if !settled || stable == end || start.elapsed() > SETTLE_LIMIT {
                self.note(question, (stable, end));
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn fetch(
        &mut self,
        version: i16,
        asked: FetchPartition,
        topic: FetchTopic,
        isolation: i8,
    ) -> Result<PartitionData> {
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(8 << 20)
            .with_session_epoch(-1)
            .with_isolation_level(isolation)
            .with_topics(vec![topic.with_partitions(vec![asked])]);
        let answer = self.ask(version, &request)?;
        answer.responses.into_iter().next().and_then(|it| it.partitions.into_iter().next()).context("no partition")
    }

    pub(super) fn fetch_from(&mut self, topic: &str, offset: i64, isolation: i8) -> Result<PartitionData> {
        self.fetch(12, fetch_at(offset), FetchTopic::default().with_topic(topic_name(topic)), isolation)
    }
}
