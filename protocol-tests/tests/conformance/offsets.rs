//! A group's offsets, with and without a transaction.

use anyhow::{Context, Result};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use protocol_tests::raw::topic_name;

use super::probe::{Probe, Who, text, transactional};

const TOPIC: &str = "offsets";
const GROUP: &str = "offsets-group";
const ID: &str = "offsets-id";

/// Who commits: generation, member, instance.
type Fence<'a> = (i32, &'a str, Option<&'a str>);
const NO_FENCE: Fence<'static> = (-1, "", None);
/// Code, offset, leader epoch, metadata.
type FoundOffset = (i16, i64, i32, String);

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.create(TOPIC, 2, &[])?;
    probe.coordinator(0, GROUP)?;
    probe.coordinator(1, ID)?;
    probe.note_fetch("offsets of a group that never was", false)?;
    commits(probe)?;
    let who = transactional_v1(probe)?;
    members(probe, who)?;
    if probe.is_v2 {
        transactional_v2(probe)?;
    }
    Ok(())
}

impl Probe {
    fn fetch_offsets(&mut self, group: &str, stable: bool) -> Result<(i16, Vec<FoundOffset>)> {
        let topics =
            vec![OffsetFetchRequestTopic::default().with_name(topic_name(TOPIC)).with_partition_indexes(vec![0, 1])];
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(topics))
            .with_require_stable(stable);
        let answer = self.settle(7, &request, |answer| answer.error_code)?;
        let mut partitions = answer.topics.into_iter().next().context("no topic")?.partitions;
        partitions.sort_by_key(|it| it.partition_index);
        let found = partitions.into_iter().map(|it| {
            let metadata = it.metadata.map(|it| it.to_string()).unwrap_or_default();
            (it.error_code, it.committed_offset, it.committed_leader_epoch, metadata)
        });
        Ok((answer.error_code, found.collect()))
    }

    fn note_fetch(&mut self, question: &str, stable: bool) -> Result<()> {
        let found = self.fetch_offsets(GROUP, stable)?;
        self.note(question, found);
        Ok(())
    }

    fn commit_offset(&mut self, topic: &str, offset: i64, metadata: &str, fence: Fence<'_>) -> Result<i16> {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_leader_epoch(3)
            .with_committed_metadata(Some(text(metadata)));
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let (generation, member, instance) = fence;
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_topics(vec![topic]);
        let code = |answer: &OffsetCommitResponse| {
            answer.topics.first().and_then(|it| it.partitions.first()).map_or(-99, |it| it.error_code)
        };
        let answer = self.settle(8, &request, code)?;
        Ok(code(&answer))
    }

    fn commit_in_transaction(
        &mut self,
        version: i16,
        id: &str,
        who: Who,
        places: &[(&str, i32, &str)],
        fence: Fence<'_>,
    ) -> Result<Vec<i16>> {
        let topics = places.iter().map(|(topic, index, metadata)| {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(77)
                .with_committed_leader_epoch(5)
                .with_committed_metadata(Some(text(metadata)));
            TxnOffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
        });
        let (generation, member, instance) = fence;
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional(id))
            .with_group_id(GroupId(text(GROUP)))
            .with_producer_id(who.id.into())
            .with_producer_epoch(who.epoch)
            .with_topics(topics.collect());
        let request = if version >= 3 {
            request
                .with_generation_id(generation)
                .with_member_id(text(member))
                .with_group_instance_id(instance.map(text))
        } else {
            request
        };
        let codes = |answer: &TxnOffsetCommitResponse| -> Vec<i16> {
            let mut found: Vec<_> = answer
                .topics
                .iter()
                .flat_map(|topic| {
                    topic.partitions.iter().map(|it| (topic.name.to_string(), it.partition_index, it.error_code))
                })
                .collect();
            found.sort();
            found.into_iter().map(|it| it.2).collect()
        };
        let answer = self.settle(version, &request, |answer| codes(answer).first().copied().unwrap_or(0))?;
        Ok(codes(&answer))
    }

    fn add_offsets(&mut self, version: i16, id: &str, who: Who) -> Result<i16> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(who.id.into())
            .with_producer_epoch(who.epoch)
            .with_group_id(GroupId(text(GROUP)));
        Ok(self.settle(version, &request, |answer| answer.error_code)?.error_code)
    }
}

fn commits(probe: &mut Probe) -> Result<()> {
    let code = probe.commit_offset(TOPIC, 5, "here", NO_FENCE)?;
    probe.note("a commit without group", code);
    let code = probe.commit_offset("missing", 5, "", NO_FENCE)?;
    probe.note("a commit for a missing topic", code);
    let code = probe.commit_offset(TOPIC, 6, &"x".repeat(4_097), NO_FENCE)?;
    probe.note("too much metadata", code);
    let code = probe.commit_offset(TOPIC, 6, "", (3, "member", None))?;
    probe.note("a commit of a generation in an empty group", code);
    let code = probe.commit_offset(TOPIC, 6, "", (-1, "member", None))?;
    probe.note("a commit of a member in an empty group", code);
    probe.note_fetch("what is committed", false)
}

fn transactional_v1(probe: &mut Probe) -> Result<Who> {
    let who = probe.note_init("init", 4, Some(ID), None)?;
    let place = [(TOPIC, 1, "in a transaction")];
    for version in [3, 4] {
        let codes = probe.commit_in_transaction(version, ID, who, &place, NO_FENCE)?;
        probe.note(&format!("v{version} without AddOffsetsToTxn"), codes);
    }
    let code = probe.add_offsets(3, ID, who)?;
    probe.note("AddOffsetsToTxn", code);
    let codes =
        probe.commit_in_transaction(3, ID, who, &[("missing", 0, ""), (TOPIC, 9, ""), (TOPIC, 1, "")], NO_FENCE)?;
    probe.note("partitions that are not there", codes);
    let long = "x".repeat(4_097);
    let codes = probe.commit_in_transaction(3, ID, who, &[(TOPIC, 0, long.as_str())], NO_FENCE)?;
    probe.note("too much metadata in a transaction", codes);
    let codes = probe.commit_in_transaction(3, ID, who, &place, NO_FENCE)?;
    probe.note("in a transaction", codes);
    let codes = probe.commit_in_transaction(3, ID, who, &place, (4, "member", None))?;
    probe.note("of a generation in an empty group", codes);
    probe.note_fetch("while it is open", false)?;
    probe.note_fetch("while it is open, stable", true)?;
    probe.end(4, ID, who, true)?;
    probe.settled_offsets()?;
    probe.note_fetch("after the commit, stable", true)?;
    probe.add_offsets(3, ID, who)?;
    let codes = probe.commit_in_transaction(3, ID, who, &[(TOPIC, 0, "to be aborted")], NO_FENCE)?;
    probe.note("another transaction", codes);
    probe.end(4, ID, who, false)?;
    probe.settled_offsets()?;
    probe.note_fetch("after the abort, stable", true)?;
    let old = Who { epoch: who.epoch, ..who };
    let (_, new) = probe.init(4, Some(ID), None, 60_000)?;
    for version in [0, 1, 2, 3] {
        let code = probe.add_offsets(version, ID, old)?;
        probe.note(&format!("a zombie's AddOffsetsToTxn v{version}"), code);
    }
    for version in [2, 3, 4] {
        let codes = probe.commit_in_transaction(version, ID, old, &place, NO_FENCE)?;
        probe.note(&format!("a zombie's TxnOffsetCommit v{version}"), codes);
    }
    let codes = probe.commit_in_transaction(3, "nobody", old, &place, NO_FENCE)?;
    probe.note("of an unknown transactional id", codes);
    Ok(new)
}

impl Probe {
    /// Waits until no offset of the group waits for a marker.
    fn settled_offsets(&mut self) -> Result<()> {
        for _ in 0..500 {
            if self.fetch_offsets(GROUP, true)?.1.iter().all(|it| it.0 != 88) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        anyhow::bail!("offsets stay unstable")
    }
}

/// With a live member the fence holds, if it is asked for.
fn members(probe: &mut Probe, who: Who) -> Result<()> {
    let (member, generation) = super::groups::join_alone(probe, GROUP)?;
    let place = [(TOPIC, 1, "by a member")];
    let code = probe.add_offsets(3, ID, who)?;
    probe.note("AddOffsetsToTxn beside a member", code);
    for (question, fence) in [
        ("of the member", (generation, member.as_str(), None)),
        ("without a fence", NO_FENCE),
        ("of the generation before", (generation - 1, member.as_str(), None)),
        ("of an unknown member", (generation, "stranger", None)),
        ("of an unknown instance", (generation, member.as_str(), Some("instance"))),
        ("of a member without generation", (-1, member.as_str(), None)),
        ("of a generation without member", (generation, "", None)),
    ] {
        let codes = probe.commit_in_transaction(3, ID, who, &place, fence)?;
        probe.note(&format!("in a transaction, {question}"), codes);
        let code = probe.commit_offset(TOPIC, 8, "", fence)?;
        probe.note(&format!("outside, {question}"), code);
    }
    probe.end(4, ID, who, false)?;
    probe.settled_offsets()
}

fn transactional_v2(probe: &mut Probe) -> Result<()> {
    let id = "offsets-v2";
    let who = probe.note_init("init for v2", 5, Some(id), None)?;
    let codes = probe.commit_in_transaction(5, id, who, &[(TOPIC, 0, "v2")], NO_FENCE)?;
    probe.note("v5 adds by itself", codes);
    probe.note_fetch("v5, while it is open, stable", true)?;
    let next = probe.note_end("v5, commit", 5, id, who, true)?;
    probe.settled_offsets()?;
    probe.note_fetch("v5, committed", true)?;
    let codes = probe.commit_in_transaction(5, id, who, &[(TOPIC, 0, "v2")], NO_FENCE)?;
    probe.note("v5 in the old epoch", codes);
    let codes = probe.commit_in_transaction(5, "nobody", next, &[(TOPIC, 0, "v2")], NO_FENCE)?;
    probe.note("v5 of an unknown id", codes);
    Ok(())
}
