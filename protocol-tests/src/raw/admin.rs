//! Topics, offsets, and what is left over of transactions.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, DescribeProducersRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest,
    ListTransactionsRequest, create_partitions_request::CreatePartitionsTopic,
};
use kafka_protocol::protocol::StrBytes;

use super::{Isolation, RETRY_LIMIT, RETRY_PAUSE, RawClient, check, topic_name};

const TIMEOUT_MS: i32 = 20_000;
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;
/// `DescribeConfigsResponse.ConfigSource`
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const SET: i8 = 0;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// One of the codes that pass by themselves.
const NOT_CONTROLLER: i16 = 41;
/// `TransactionState` of a transaction without a verdict.
const ONGOING: &str = "Ongoing";
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const LIST_OFFSETS_VERSION: i16 = 6;

/// Where a partition's log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: i64,
    pub last_stable: i64,
    pub high_watermark: i64,
}

/// A transaction that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hanging {
    /// A coordinator holds it open.
    Coordinator { transactional_id: String, producer_id: i64, state: String },
    /// A partition's leader holds its last stable offset back for it.
    Partition { topic: String, partition: i32, producer_id: i64, first_offset: i64 },
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn list_offsets(topic: &str, partitions: &[i32], timestamp: i64, isolation: Isolation) -> ListOffsetsRequest {
    let asked = |partition: &i32| {
        ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    };
    let partitions = partitions.iter().map(asked).collect();
    let topics = vec![ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)];
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation as i8)
        .with_topics(topics)
}

impl RawClient {
    /// Creates a topic and waits until all its partitions have a leader.
    pub fn create_topic(&mut self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) -> Result<()> {
        let configs = configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        self.retry(|client| {
            let answer = client.send_controller(5, &request)?;
            let result = answer.topics.first().context("no topic in the answer")?;
            check(result.error_code).with_context(|| format!("topic {name}: {:?}", result.error_message))
        })?;
        for partition in 0..partitions {
            self.retry(|client| client.leader(name, partition))?;
        }
        Ok(())
    }

    /// Deletes a topic and waits until one of that name can be created.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(TIMEOUT_MS);
        self.retry(|client| {
            let answer = client.send_controller(5, &request)?;
            check(answer.responses.first().context("no topic in the answer")?.error_code)
        })?;
        // ZooKeeper mode only marks it: its name is free when the last replica is gone.
        let topic =
            CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
            .with_validate_only(true);
        self.retry(|client| {
            let answer = client.send_controller(5, &request)?;
            match answer.topics.first().context("no topic in the answer")?.error_code {
                TOPIC_ALREADY_EXISTS => check(NOT_CONTROLLER),
                code => check(code),
            }
        })
    }

    /// Raises the number of partitions.
    pub fn grow_topic(&mut self, name: &str, partitions: i32) -> Result<()> {
        let topic =
            CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(partitions).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        self.retry(|client| {
            let answer = client.send_controller(2, &request)?;
            check(answer.results.first().context("no topic in the answer")?.error_code)
        })?;
        for partition in 0..partitions {
            self.retry(|client| client.leader(name, partition))?;
        }
        Ok(())
    }

    /// Sets configs of a topic.
    pub fn alter_topic(&mut self, name: &str, configs: &[(&str, &str)]) -> Result<()> {
        let request = altered(TOPIC_RESOURCE, name, configs);
        self.retry(|client| {
            let answer = client.send_controller(1, &request)?;
            check(answer.responses.first().context("no resource in the answer")?.error_code)
        })
    }

    /// Sets configs of one broker, which takes them while it runs.
    pub fn alter_broker(&mut self, node: i32, configs: &[(&str, &str)]) -> Result<()> {
        let request = altered(BROKER_RESOURCE, &node.to_string(), configs);
        self.retry(|client| {
            let answer = client.send(node, 1, &request)?;
            let resource = answer.responses.first().context("no resource in the answer")?;
            check(resource.error_code).with_context(|| format!("{:?}", resource.error_message))
        })
    }

    /// The topic's settings with the values that hold, whoever set them.
    pub fn topic_configs(&mut self, name: &str) -> Result<BTreeMap<String, String>> {
        Ok(self.describe(name)?.into_iter().map(|(key, (value, _))| (key, value)).collect())
    }

    /// The settings that the topic has of its own; the others are the broker's defaults.
    pub fn topic_overrides(&mut self, name: &str) -> Result<BTreeMap<String, String>> {
        let own = self.describe(name)?.into_iter().filter(|(_, (_, source))| *source == DYNAMIC_TOPIC_CONFIG);
        Ok(own.map(|(key, (value, _))| (key, value)).collect())
    }

    fn describe(&mut self, name: &str) -> Result<BTreeMap<String, (String, i8)>> {
        let resource =
            DescribeConfigsResource::default().with_resource_type(TOPIC_RESOURCE).with_resource_name(text(name));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
        self.retry(|client| {
            let answer = client.any(4, &request)?;
            let result = answer.results.first().context("no resource in the answer")?;
            check(result.error_code)?;
            let value = |value: &Option<StrBytes>| value.as_ref().map_or("", |it| it.as_str()).to_owned();
            let of = |it: &DescribeConfigsResourceResult| {
                (it.name.as_str().to_owned(), (value(&it.value), it.config_source))
            };
            Ok(result.configs.iter().map(of).collect())
        })
    }

    /// The number of replicas of a topic's first partition.
    pub fn replica_count(&mut self, topic: &str) -> Result<usize> {
        self.retry(|client| {
            let answer = client.metadata(Some(&[topic]))?;
            let metadata = answer.topics.first().context("no topic in the answer")?;
            check(metadata.error_code)?;
            Ok(metadata.partitions.first().map_or(0, |partition| partition.replica_nodes.len()))
        })
    }

    /// DeleteRecords: everything before `offset` goes; -1 is the high watermark. Returns the new log start.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64> {
        let partitions = vec![DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset)];
        let topics = vec![DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)];
        let request = DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(TIMEOUT_MS);
        self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            let answer = client.send(leader, 2, &request)?;
            let result = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(result.error_code)?;
            Ok(result.low_watermark)
        })
    }

    pub fn offsets(&mut self, topic: &str, partition: i32) -> Result<Offsets> {
        Ok(Offsets {
            log_start: self.list_offset(topic, partition, EARLIEST, Isolation::ReadUncommitted)?,
            last_stable: self.list_offset(topic, partition, LATEST, Isolation::ReadCommitted)?,
            high_watermark: self.list_offset(topic, partition, LATEST, Isolation::ReadUncommitted)?,
        })
    }

    /// Of partitions 0 to `partitions` - 1, in that order; by one request, to the node that leads them all.
    pub fn last_stable_offsets(&mut self, leader: i32, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let asked: Vec<i32> = (0..partitions).collect();
        let answer =
            self.send(leader, LIST_OFFSETS_VERSION, &list_offsets(topic, &asked, LATEST, Isolation::ReadCommitted))?;
        let mut answered: Vec<_> = answer.topics.iter().flat_map(|it| &it.partitions).collect();
        answered.iter().try_for_each(|it| check(it.error_code))?;
        answered.sort_by_key(|it| it.partition_index);
        ensure!(answered.len() == asked.len(), "{topic}: the leader told of {} partitions alone", answered.len());
        Ok(answered.iter().map(|it| it.offset).collect())
    }

    fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64, isolation: Isolation) -> Result<i64> {
        let request = list_offsets(topic, &[partition], timestamp, isolation);
        self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            let answer = client.send(leader, LIST_OFFSETS_VERSION, &request)?;
            let result = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(result.error_code)?;
            Ok(result.offset)
        })
    }

    /// Every transaction that a coordinator or a partition of these topics has open at this moment.
    pub fn hanging_transactions(&mut self, topics: &[String]) -> Result<Vec<Hanging>> {
        let mut hanging = vec![];
        self.metadata(Some(&[]))?;
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        for broker in brokers {
            let states = [ONGOING, "PrepareCommit", "PrepareAbort", "PrepareEpochFence"].map(text).to_vec();
            let request = ListTransactionsRequest::default().with_state_filters(states);
            let answer = self.retry(|client| {
                let answer = client.send(broker, 0, &request)?;
                check(answer.error_code)?;
                Ok(answer)
            })?;
            hanging.extend(answer.transaction_states.iter().map(|found| Hanging::Coordinator {
                transactional_id: found.transactional_id.0.as_str().to_owned(),
                producer_id: found.producer_id.0,
                state: found.transaction_state.as_str().to_owned(),
            }));
        }
        for topic in topics {
            for partition in 0..self.partition_count(topic)? {
                hanging.extend(self.open_producers(topic, partition)?);
            }
        }
        Ok(hanging)
    }

    /// Nothing is open any more. A verdict that is still being carried out may be waited for, an open transaction may not:
    /// its timeout would end it and hide that it was left behind.
    pub fn no_transaction_hangs(&mut self, topics: &[String]) -> Result<()> {
        let start = Instant::now();
        loop {
            let hanging = self.hanging_transactions(topics)?;
            if hanging.is_empty() {
                return Ok(());
            }
            let states = hanging.iter().filter_map(|found| match found {
                Hanging::Coordinator { state, .. } => Some(state.as_str()),
                Hanging::Partition { .. } => None,
            });
            let is_decided = states.clone().count() > 0 && states.clone().all(|state| state != ONGOING);
            ensure!(is_decided && start.elapsed() < RETRY_LIMIT, "transactions hang: {hanging:?}");
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn open_producers(&mut self, topic: &str, partition: i32) -> Result<Vec<Hanging>> {
        let topics = vec![TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(vec![partition])];
        let request = DescribeProducersRequest::default().with_topics(topics);
        self.retry(|client| {
            let leader = client.leader(topic, partition)?;
            let answer = client.send(leader, 0, &request)?;
            let result = answer.topics.first().and_then(|topic| topic.partitions.first()).context("no partition")?;
            check(result.error_code)?;
            let open = result.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
            let found = open.map(|producer| Hanging::Partition {
                topic: topic.to_owned(),
                partition,
                producer_id: producer.producer_id.0,
                first_offset: producer.current_txn_start_offset,
            });
            Ok(found.collect())
        })
    }

    /// Last stable offset = high watermark on every partition: no transaction is open anywhere in these topics.
    pub fn quiet(&mut self, topics: &[String]) -> Result<BTreeMap<(String, i32), Offsets>> {
        let mut offsets = BTreeMap::new();
        for topic in topics {
            for partition in 0..self.partition_count(topic)? {
                let found = self.retry(|client| {
                    let found = client.offsets(topic, partition)?;
                    // As if a coordinator were still loading: the markers of an ended transaction need a moment.
                    if found.last_stable < found.high_watermark {
                        check(51)?
                    }
                    Ok(found)
                })?;
                offsets.insert((topic.clone(), partition), found);
            }
        }
        Ok(offsets)
    }
}

fn altered(resource_type: i8, name: &str, configs: &[(&str, &str)]) -> IncrementalAlterConfigsRequest {
    let configs = configs.iter().map(|(key, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(SET).with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}
