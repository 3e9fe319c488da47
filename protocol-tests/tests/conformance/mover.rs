//! What a trial does to a cluster of three nodes, whichever kind it is: leaders and coordinators move, nodes die.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::*;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::KafkaCluster;
use protocol_tests::raw::{RawClient, topic_name};

/// A killed node's session must end first; on a loaded machine that takes a while.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
pub(super) const NODES: [i32; 3] = [0, 1, 2];
const PREFERRED: i8 = 0;
const NOT_LEADER: i16 = 6;

pub(super) enum Cluster {
    Embedded(EmbeddedCluster),
    Kafka(KafkaCluster),
}

/// A cluster, and who is alive in it.
pub(super) struct Mover {
    cluster: Cluster,
    pub(super) alive: Vec<i32>,
}

impl Mover {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, alive: NODES.to_vec() }
    }

    pub(super) fn bootstrap(&self) -> Vec<String> {
        match &self.cluster {
            Cluster::Embedded(cluster) => cluster.plaintext_bootstrap(),
            Cluster::Kafka(cluster) => cluster.plaintext_bootstrap(),
        }
    }

    /// Makes a node lead, and waits until every living node knows it.
    pub(super) fn lead(&self, client: &mut RawClient, topic: &str, partition: i32, to: i32) -> Result<()> {
        if client.leader_of(topic, partition)? != to {
            match &self.cluster {
                Cluster::Embedded(cluster) => cluster
                    .with(|cluster, now_ms| cluster.move_partition(now_ms, topic, partition, to))
                    .map_err(|error| anyhow::anyhow!("{error:?}"))?,
                Cluster::Kafka(_) => elect(client, topic, partition, to)?,
            }
        }
        self.until_led(client, topic, partition, |leader| leader == to)?;
        Ok(())
    }

    pub(super) fn kill(&mut self, node: i32) {
        self.alive.retain(|it| *it != node);
        match &mut self.cluster {
            Cluster::Embedded(cluster) => cluster.with(|cluster, now_ms| cluster.kill_node(now_ms, node)),
            Cluster::Kafka(cluster) => cluster.kill(node.unsigned_abs() as usize),
        }
    }

    pub(super) fn restart(&mut self, node: i32) -> Result<()> {
        match &mut self.cluster {
            Cluster::Embedded(cluster) => cluster.with(|cluster, now_ms| cluster.restart_node(now_ms, node)),
            Cluster::Kafka(cluster) => cluster.restart(node.unsigned_abs() as usize)?,
        }
        self.alive.push(node);
        Ok(())
    }

    /// Waits until the living nodes agree on a leader that is wanted, and act by it. Returns it.
    pub(super) fn until_led(
        &self,
        client: &mut RawClient,
        topic: &str,
        partition: i32,
        is_wanted: impl Fn(i32) -> bool,
    ) -> Result<i32> {
        let start = Instant::now();
        loop {
            let leader = client.leader_of(topic, partition)?;
            if is_wanted(leader) && self.alive.iter().all(|node| agrees(client, *node, leader, topic, partition)) {
                return Ok(leader);
            }
            if start.elapsed() > LIMIT {
                bail!("{topic}-{partition} is led by {leader}, and not all nodes know it");
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The leader answers, its high watermark included; the others say that they are none.
fn agrees(client: &mut RawClient, node: i32, leader: i32, topic: &str, partition: i32) -> bool {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(-1)
        .with_current_leader_epoch(-1);
    let asked = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let expected = if node == leader { 0 } else { NOT_LEADER };
    let known = client.leader_by(node, topic, partition).is_ok_and(|it| it == leader);
    let answer = client.send(node, 6, &request);
    known && answer.is_ok_and(|it| it.topics.iter().flat_map(|it| &it.partitions).all(|it| it.error_code == expected))
}

/// The replica that is named first is the preferred leader.
fn elect(client: &mut RawClient, topic: &str, partition: i32, to: i32) -> Result<()> {
    let replicas = std::iter::once(to).chain(NODES.into_iter().filter(|it| *it != to)).map(BrokerId).collect();
    let reassigned = ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(replicas));
    let reassigned = ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![reassigned]);
    let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(20_000).with_topics(vec![reassigned]);
    let answer = client.any(0, &request)?;
    let result = answer.responses.first().and_then(|it| it.partitions.first()).context("no partition")?;
    anyhow::ensure!((answer.error_code, result.error_code) == (0, 0), "not reassigned: {result:?}");
    let start = Instant::now();
    loop {
        let elected = TopicPartitions::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(Some(vec![elected]))
            .with_timeout_ms(20_000);
        client.any(2, &request)?;
        // A replica that is not in sync yet is not elected.
        if client.leader_of(topic, partition)? == to {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            bail!("node {to} is not elected for {topic}-{partition}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
