//! Leaders and coordinators that move, on three nodes: who answers, who refuses, and what goes on at the next one.
//!
//! Epochs are named by the leader that had them: how many numbers a move takes is the controller's own affair.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use protocol_tests::raw::records::decode;
use protocol_tests::raw::topic_name;

use super::mover::{Mover, NODES};
use super::probe::{COMMITTED, NOBODY, Probe, UNCOMMITTED, Who, batch, text};
use super::requests::{end_request, fetch_at, init_request, list_request, partitions_request, produce_request};

const TOPIC: &str = "moves";
const ID: &str = "moves-producer";
const GROUP: &str = "moves-group";
/// As the suite's clusters have.
const INTERNAL_PARTITIONS: i32 = 4;
const FOLLOWER_LIMIT: Duration = Duration::from_secs(30);

struct Moves<'a> {
    probe: &'a mut Probe,
    mover: &'a mut Mover,
    /// The leader epochs that were seen, oldest first.
    epochs: Vec<i32>,
}

pub(super) fn ask(probe: &mut Probe, mover: &mut Mover) -> Result<()> {
    let mut moves = Moves { probe, mover, epochs: vec![] };
    moves.probe.client.create_topic(TOPIC, 1, 3, &[])?;
    moves.lead(0)?;
    // At the start of everything there is no older epoch to ask with.
    moves.lead(1)?;
    moves.lead(0)?;
    moves.refusals()?;
    let (producer, who) = moves.producers_move()?;
    moves.epochs_end()?;
    moves.coordinators_move(who)?;
    moves.group_moves()?;
    moves.leader_dies(producer, who)
}

impl Moves<'_> {
    /// The leader moves; its epoch is the newest from now on.
    fn lead(&mut self, to: i32) -> Result<()> {
        self.mover.lead(&mut self.probe.client, TOPIC, 0, to)?;
        self.see_epoch()
    }

    fn see_epoch(&mut self) -> Result<()> {
        let epoch = self.metadata(self.mover.alive[0])?.1;
        ensure!(self.epochs.last().is_none_or(|last| *last < epoch), "epoch {epoch} after {:?}", self.epochs);
        self.epochs.push(epoch);
        Ok(())
    }

    fn name_of_epoch(&self, epoch: i32) -> String {
        match self.epochs.iter().position(|it| *it == epoch) {
            Some(index) => format!("epoch {index}"),
            None if epoch == -1 => "none".to_owned(),
            None => "another".to_owned(),
        }
    }

    fn send<R: Request>(&mut self, node: i32, version: i16, request: &R) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        self.probe.client.send(node, version, request)
    }

    /// (leader, leader epoch, replicas, in sync) as a node says.
    fn metadata(&mut self, node: i32) -> Result<(i32, i32, usize, usize)> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(TOPIC)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = self.send(node, 9, &request)?;
        let found = answer.topics.first().and_then(|it| it.partitions.first()).context("no partition")?;
        Ok((found.leader_id.0, found.leader_epoch, found.replica_nodes.len(), found.isr_nodes.len()))
    }

    fn produce(
        &mut self,
        node: i32,
        version: i16,
        bytes: Vec<u8>,
        id: Option<&str>,
    ) -> Result<(PartitionProduceResponse, usize)> {
        let answer = self.send(node, version, &produce_request(TOPIC, 0, bytes, id, -1))?;
        let endpoints = answer.node_endpoints.len();
        let found = answer.responses.into_iter().next().and_then(|it| it.partition_responses.into_iter().next());
        Ok((found.context("no partition")?, endpoints))
    }

    fn note_produce(&mut self, question: &str, node: i32, bytes: Vec<u8>, id: Option<&str>) -> Result<()> {
        let (found, _) = self.produce(node, 9, bytes, id)?;
        self.probe.note(question, (found.error_code, found.base_offset));
        Ok(())
    }

    fn list(&mut self, node: i32, timestamp: i64, isolation: i8, epoch: i32) -> Result<(i16, i64, String)> {
        let answer = self.send(node, 6, &list_request(TOPIC, timestamp, isolation, epoch))?;
        let found = answer.topics.first().and_then(|it| it.partitions.first()).context("no partition")?;
        Ok((found.error_code, found.offset, self.name_of_epoch(found.leader_epoch)))
    }

    fn epoch_end(&mut self, node: i32, known: i32, asked: i32) -> Result<(i16, String, i64)> {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(known).with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.send(node, 4, &request)?;
        let found = answer.topics.first().and_then(|it| it.partitions.first()).context("no partition")?;
        Ok((found.error_code, self.name_of_epoch(found.leader_epoch), found.end_offset))
    }

    fn fetch(&mut self, node: i32, version: i16, asked: FetchPartition) -> Result<(i16, String, usize, String, usize)> {
        let topic = FetchTopic::default().with_partitions(vec![asked]);
        let topic = if version >= 13 {
            topic.with_topic_id(self.probe.client.topic_id(TOPIC)?.context("no topic")?)
        } else {
            topic.with_topic(topic_name(TOPIC))
        };
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_isolation_level(UNCOMMITTED)
            .with_topics(vec![topic]);
        let request = if version >= 15 { request } else { request.with_replica_id((-1).into()) };
        let answer = self.send(node, version, &request)?;
        let endpoints = answer.node_endpoints.len();
        let found = answer.responses.into_iter().next().and_then(|it| it.partitions.into_iter().next());
        let found = found.context("no partition")?;
        let hint = match found.current_leader.leader_id.0 {
            -1 => "no hint".to_owned(),
            leader => format!("node {leader} in {}", self.name_of_epoch(found.current_leader.leader_epoch)),
        };
        let end = found.diverging_epoch;
        let diverging = if end.end_offset < 0 {
            "no divergence".to_owned()
        } else {
            format!("{} ends at {}", self.name_of_epoch(end.epoch), end.end_offset)
        };
        let records = decode(&found.records.unwrap_or_default())?.iter().map(|it| it.records.len()).sum();
        Ok((found.error_code, hint, records, diverging, endpoints))
    }

    /// What a node that does not lead answers, and one that is asked in another epoch than its own.
    fn refusals(&mut self) -> Result<()> {
        self.note_produce("produce at the leader", 0, batch(NOBODY, -1, false, 3)?, None)?;
        for version in [9, 10, 12] {
            let (found, endpoints) = self.produce(1, version, batch(NOBODY, -1, false, 1)?, None)?;
            let hint = (found.current_leader.leader_id.0, self.name_of_epoch(found.current_leader.leader_epoch));
            self.probe.note(
                &format!("produce v{version} at a follower"),
                (found.error_code, found.base_offset, hint, endpoints),
            );
        }
        for node in NODES {
            let (leader, epoch, replicas, in_sync) = self.metadata(node)?;
            let epoch = self.name_of_epoch(epoch);
            self.probe.note(&format!("metadata of node {node}"), (leader, epoch, replicas, in_sync));
        }
        self.until_followed(3)?;
        let (older, now) = (self.epochs[1], self.epochs[2]);
        for (who, node) in [("the leader", 0), ("a follower", 1)] {
            for (when, epoch) in
                [("no epoch", -1), ("its epoch", now), ("an older one", older), ("a newer one", now + 1)]
            {
                let asked = format!("asked with {when} at {who}");
                let found = self.list(node, -1, UNCOMMITTED, epoch)?;
                self.probe.note(&format!("latest, {asked}"), found);
                let found = self.epoch_end(node, epoch, now)?;
                self.probe.note(&format!("end of the epoch, {asked}"), found);
                // From 11 on a follower in sync may answer (KIP-392), from 16 on it says who leads (KIP-951).
                for version in [10, 12, 16] {
                    let found = self.fetch(node, version, fetch_at(0).with_current_leader_epoch(epoch))?;
                    self.probe.note(&format!("fetch v{version}, {asked}"), found);
                }
            }
        }
        Ok(())
    }

    /// A follower learns the high watermark with its next fetch.
    fn until_followed(&mut self, records: usize) -> Result<()> {
        let start = Instant::now();
        for node in NODES {
            while self.fetch(node, 12, fetch_at(0))?.2 < records {
                ensure!(start.elapsed() < FOLLOWER_LIMIT, "node {node} does not follow");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Sequences and an open transaction go on at the next leader.
    fn producers_move(&mut self) -> Result<(Who, Who)> {
        let (_, producer) = self.init(0, None)?;
        self.note_produce("an idempotent batch", 0, batch(producer, 0, false, 2)?, None)?;
        let coordinator = self.find(1, ID)?;
        let (code, who) = self.init(coordinator, Some(ID))?;
        self.probe.note("init", (code, who.epoch));
        ensure!(code == 0, "there is no transactional producer");
        self.add_partition(who)?;
        self.note_produce("a batch in a transaction", 0, batch(who, 0, true, 2)?, Some(ID))?;
        self.note_ends("before the move", 0)?;
        self.lead(1)?;
        self.note_ends("after the move", 1)?;
        self.note_produce("at the old leader", 0, batch(who, 2, true, 1)?, Some(ID))?;
        self.note_produce("the transaction goes on", 1, batch(who, 2, true, 1)?, Some(ID))?;
        self.note_produce("its duplicate", 1, batch(who, 0, true, 2)?, Some(ID))?;
        self.note_produce("a gap", 1, batch(who, 9, true, 1)?, Some(ID))?;
        self.note_produce("the idempotent one's duplicate", 1, batch(producer, 0, false, 2)?, None)?;
        self.note_produce("the idempotent one's gap", 1, batch(producer, 5, false, 1)?, None)?;
        self.note_produce("the idempotent one goes on", 1, batch(producer, 2, false, 1)?, None)?;
        self.end(who, true)?;
        self.settle_ends("after the commit", 1)?;
        Ok((producer, who))
    }

    fn epochs_end(&mut self) -> Result<()> {
        for index in 0..self.epochs.len() {
            let found = self.epoch_end(1, -1, self.epochs[index])?;
            self.probe.note(&format!("the end of epoch {index}"), found);
        }
        let newest = self.epochs[self.epochs.len() - 1];
        let found = self.epoch_end(1, -1, newest + 1)?;
        self.probe.note("the end of an epoch that is not yet", found);
        for (question, offset, last) in [
            ("from where epoch 2 ended, read in it", 7, self.epochs[2]),
            ("from behind it, read in it", 9, self.epochs[2]),
            ("from behind it, read in the newest", 9, newest),
            ("from the start, read in one that never wrote", 1, self.epochs[1]),
            ("read in an epoch that is not yet", 9, newest + 1),
        ] {
            let found = self.fetch(1, 12, fetch_at(offset).with_last_fetched_epoch(last))?;
            self.probe.note(&format!("fetch {question}"), found);
        }
        let found = self.list(1, -2, UNCOMMITTED, -1)?;
        self.probe.note("earliest", found);
        let found = self.list(1, -1, UNCOMMITTED, newest)?;
        self.probe.note("latest", found);
        Ok(())
    }

    /// A transaction that is open when its coordinator moves.
    fn coordinators_move(&mut self, who: Who) -> Result<()> {
        self.add_partition(who)?;
        self.note_produce("before the coordinator moves", 1, batch(who, 3, true, 1)?, Some(ID))?;
        let old = self.coordinator(1, ID)?;
        let new = self.move_coordinator(1, ID, old)?;
        let found = self.coordinator(1, ID)?;
        self.probe.note("found at the new one", found == new);
        let (code, _) = self.init(old, Some(ID))?;
        self.probe.note("init at the old one", code);
        let code = self.send(old, 3, &partitions_request(ID, who, &[(TOPIC, 0)]))?.results_by_topic_v3_and_below[0]
            .results_by_partition[0]
            .partition_error_code;
        self.probe.note("partitions at the old one", code);
        let code = self.send(old, 3, &end_request(ID, who, true))?.error_code;
        self.probe.note("commit at the old one", code);
        self.end(who, true)?;
        self.settle_ends("committed at the new one", 1)
    }

    fn group_moves(&mut self) -> Result<()> {
        let old = self.find(0, GROUP)?;
        let code = self.commit_offset(old, 5)?;
        self.probe.note("an offset is committed", code);
        let new = self.move_coordinator(0, GROUP, old)?;
        for (place, node) in [("old", old), ("new", new)] {
            let found = self.fetch_offset(node)?;
            self.probe.note(&format!("offsets at the {place} coordinator"), found);
            let heartbeat =
                HeartbeatRequest::default().with_group_id(GroupId(text(GROUP))).with_member_id(text("nobody"));
            let code = self.send(node, 4, &heartbeat)?.error_code;
            self.probe.note(&format!("a heartbeat at the {place} coordinator"), code);
            let code = self.commit_offset(node, 6)?;
            self.probe.note(&format!("a commit at the {place} coordinator"), code);
        }
        Ok(())
    }

    /// The node that leads is killed while a transaction is open, and comes back.
    fn leader_dies(&mut self, producer: Who, who: Who) -> Result<()> {
        let victim = 1;
        // The coordinators are to live on: their death is another question.
        for (kind, key) in [(0, GROUP), (1, ID)] {
            self.move_coordinator(kind, key, 2)?;
        }
        self.add_partition(who)?;
        self.note_produce("before the leader dies", victim, batch(who, 4, true, 2)?, Some(ID))?;
        self.mover.kill(victim);
        let leader = self.mover.until_led(&mut self.probe.client, TOPIC, 0, |it| it != victim)?;
        self.see_epoch()?;
        let (found, _, replicas, in_sync) = self.metadata(leader)?;
        self.probe.note("metadata without it", (found == leader, replicas, in_sync));
        self.note_ends("without it", leader)?;
        self.note_produce("the transaction goes on without it", leader, batch(who, 6, true, 1)?, Some(ID))?;
        self.note_produce("its duplicate without it", leader, batch(who, 4, true, 2)?, Some(ID))?;
        self.note_produce("the idempotent one without it", leader, batch(producer, 3, false, 1)?, None)?;
        self.end(who, false)?;
        self.settle_ends("aborted without it", leader)?;
        self.mover.restart(victim)?;
        self.mover.until_led(&mut self.probe.client, TOPIC, 0, |it| it == leader)?;
        self.probe.client.until_replicated()?;
        self.note_produce("produce at the one that is back", victim, batch(NOBODY, -1, false, 1)?, None)?;
        let (found, epoch, replicas, in_sync) = self.metadata(victim)?;
        let epoch = self.name_of_epoch(epoch);
        self.probe.note("its metadata", (found == leader, epoch, replicas, in_sync));
        self.lead(victim)?;
        self.note_ends("it leads again", victim)?;
        for index in 2..self.epochs.len() {
            let found = self.epoch_end(victim, -1, self.epochs[index])?;
            self.probe.note(&format!("the end of epoch {index}, told by the one that is back"), found);
        }
        self.note_produce("the idempotent one at the one that is back", victim, batch(producer, 4, false, 1)?, None)
    }

    fn init(&mut self, node: i32, id: Option<&str>) -> Result<(i16, Who)> {
        let answer = self.settle(node, 4, &init_request(id, NOBODY, 60_000), |answer| answer.error_code)?;
        Ok((answer.error_code, Who { id: answer.producer_id.0, epoch: answer.producer_epoch }))
    }

    /// Asks until the answer is not one that passes by itself. 16 does not here: it is what is asked for.
    fn settle<R: Request>(
        &mut self,
        node: i32,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response>
    where
        R::Response: HeaderVersion + Decodable,
    {
        self.probe.settle_at(node, &[14, 15, 51], version, request, code)
    }

    /// Makes the coordinator available, and waits until it has loaded what it coordinates.
    fn find(&mut self, kind: i8, key: &str) -> Result<i32> {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
        self.settle(0, 3, &request, |answer| answer.error_code)?;
        let node = self.coordinator(kind, key)?;
        self.probe.until_coordinating(node, kind, key)?;
        Ok(node)
    }

    fn coordinator(&mut self, kind: i8, key: &str) -> Result<i32> {
        if kind == 0 {
            self.probe.client.group_coordinator(key)
        } else {
            self.probe.client.transaction_coordinator(key)
        }
    }

    /// To the next node.
    fn move_coordinator(&mut self, kind: i8, key: &str, old: i32) -> Result<i32> {
        let new = (old + 1) % 3;
        let topic = if kind == 0 { "__consumer_offsets" } else { "__transaction_state" };
        self.mover.lead(&mut self.probe.client, topic, coordinated_by(key), new)?;
        self.probe.until_coordinating(new, kind, key)?;
        Ok(new)
    }

    fn add_partition(&mut self, who: Who) -> Result<()> {
        let coordinator = self.coordinator(1, ID)?;
        let request = partitions_request(ID, who, &[(TOPIC, 0)]);
        let code = |answer: &AddPartitionsToTxnResponse| {
            let topic = answer.results_by_topic_v3_and_below.first();
            topic.and_then(|it| it.results_by_partition.first()).map_or(0, |it| it.partition_error_code)
        };
        let answer = self.settle(coordinator, 3, &request, code)?;
        self.probe.note("a partition is added", code(&answer));
        Ok(())
    }

    fn end(&mut self, who: Who, commit: bool) -> Result<()> {
        let coordinator = self.coordinator(1, ID)?;
        let answer = self.settle(coordinator, 4, &end_request(ID, who, commit), |answer| answer.error_code)?;
        self.probe.note(if commit { "commit" } else { "abort" }, answer.error_code);
        Ok(())
    }

    /// Last stable offset and high watermark.
    fn note_ends(&mut self, when: &str, node: i32) -> Result<()> {
        let (stable, end) = (self.list(node, -1, COMMITTED, -1)?, self.list(node, -1, UNCOMMITTED, -1)?);
        self.probe.note(&format!("stable and last offset {when}"), (stable.1, end.1));
        Ok(())
    }

    /// As above, once the markers have arrived.
    fn settle_ends(&mut self, when: &str, node: i32) -> Result<()> {
        self.probe.client.quiet(&[TOPIC.to_owned()])?;
        self.note_ends(when, node)
    }

    fn commit_offset(&mut self, node: i32, offset: i64) -> Result<i16> {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let code = |answer: &OffsetCommitResponse| {
            answer.topics.first().and_then(|it| it.partitions.first()).map_or(-99, |it| it.error_code)
        };
        let answer = self.settle(node, 8, &request, code)?;
        Ok(code(&answer))
    }

    fn fetch_offset(&mut self, node: i32) -> Result<(i16, Option<i64>)> {
        let topic = OffsetFetchRequestTopic::default().with_name(topic_name(TOPIC)).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(GroupId(text(GROUP))).with_topics(Some(vec![topic]));
        let answer = self.settle(node, 7, &request, |answer| answer.error_code)?;
        let found = answer.topics.first().and_then(|it| it.partitions.first()).map(|it| it.committed_offset);
        Ok((answer.error_code, found))
    }
}

/// Which partition of the internal topic a key belongs to: Java's `String.hashCode` without its sign.
fn coordinated_by(key: &str) -> i32 {
    let hash = key.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    (hash & i32::MAX) % INTERNAL_PARTITIONS
}
