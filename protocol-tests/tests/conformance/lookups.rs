//! Offsets by time and by epoch, deleted records, topics that come back as others.

use anyhow::{Context, Result};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::*;
use protocol_tests::raw::{Codec, NewBatch, NewRecord, topic_name};
use uuid::Uuid;

use super::probe::{COMMITTED, NODE, Probe, UNCOMMITTED, text};
use super::requests::fetch_at;

const TOPIC: &str = "lookups";
/// In 2023; the topics keep records for ever.
const BASE: i64 = 1_700_000_000_000;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const MAX_TIMESTAMP: i64 = -3;

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.create(TOPIC, 1, &[("retention.ms", "-1")])?;
    for (question, timestamp) in [("latest", LATEST), ("earliest", EARLIEST), ("max", MAX_TIMESTAMP), ("a time", BASE)]
    {
        let found = probe.list_offset(TOPIC, timestamp, UNCOMMITTED, -1)?;
        probe.note(&format!("of an empty log: {question}"), found);
    }
    write(probe, Codec::None, &[10, 30, 20])?;
    write(probe, Codec::Lz4, &[50, 40, 50])?;
    write(probe, Codec::Zstd, &[5])?;
    times(probe)?;
    epochs(probe)?;
    fetches(probe)?;
    deletes(probe)?;
    recreated(probe)?;
    metadata(probe)
}

fn write(probe: &mut Probe, codec: Codec, ages: &[i64]) -> Result<()> {
    let records = ages.iter().map(|age| NewRecord { timestamp: BASE + age, key: None, value: None, headers: vec![] });
    let bytes = NewBatch::plain(codec, records.collect()).encode()?;
    probe.note_produce("written", 9, TOPIC, bytes, None)
}

fn times(probe: &mut Probe) -> Result<()> {
    for timestamp in
        [EARLIEST, LATEST, MAX_TIMESTAMP, 0, BASE + 10, BASE + 11, BASE + 25, BASE + 45, BASE + 50, BASE + 51]
    {
        for isolation in [UNCOMMITTED, COMMITTED] {
            let found = probe.list_offset(TOPIC, timestamp, isolation, -1)?;
            let found = (found.0, if found.1 > 0 { found.1 - BASE } else { found.1 }, found.2, found.3);
            let name = if timestamp > 0 { timestamp - BASE } else { timestamp };
            probe.note(&format!("the offset at {name} for isolation {isolation}"), found);
        }
    }
    for epoch in [0, 1, 99] {
        let found = probe.list_offset(TOPIC, LATEST, UNCOMMITTED, epoch)?;
        probe.note(&format!("asked in leader epoch {epoch}"), found);
    }
    let found = probe.list_offset("missing", LATEST, UNCOMMITTED, -1)?;
    probe.note("of a missing topic", found);
    for (version, timestamp) in [(1, LATEST), (6, MAX_TIMESTAMP), (7, -4), (7, -9)] {
        let asked = ListOffsetsPartition::default().with_timestamp(timestamp);
        let asked = if version >= 4 { asked.with_current_leader_epoch(-1) } else { asked };
        let asked = ListOffsetsTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
        let answer = probe.ask(version, &request)?;
        let found = &answer.topics.first().context("no topic")?.partitions[0];
        probe.note(
            &format!("{timestamp} in v{version}"),
            (found.error_code, found.timestamp, found.offset, found.leader_epoch),
        );
    }
    Ok(())
}

fn epochs(probe: &mut Probe) -> Result<()> {
    for (current, asked) in [(-1, 0), (0, 0), (-1, 1), (-1, -1), (5, 0), (0, 7)] {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = probe.ask(4, &request)?;
        let found = &answer.topics.first().context("no topic")?.partitions[0];
        let question = format!("the end of epoch {asked}, asked in epoch {current}");
        probe.note(&question, (found.error_code, found.leader_epoch, found.end_offset));
    }
    Ok(())
}

fn fetches(probe: &mut Probe) -> Result<()> {
    let topic = || FetchTopic::default().with_topic(topic_name(TOPIC));
    for offset in [-1, 0, 2, 4, 7, 8, 99] {
        let data = probe.fetch(12, fetch_at(offset), topic(), UNCOMMITTED)?;
        let bytes = data.records.map(|it| it.len());
        probe.note(
            &format!("fetch from {offset}"),
            (data.error_code, data.high_watermark, data.last_stable_offset, data.log_start_offset, bytes),
        );
    }
    for (epoch, last, offset) in [(0, -1, 7), (1, -1, 7), (-1, 0, 7), (-1, 0, 9), (-1, 1, 7), (0, 5, 3)] {
        let asked = fetch_at(offset).with_current_leader_epoch(epoch).with_last_fetched_epoch(last);
        let data = probe.fetch(12, asked, topic(), UNCOMMITTED)?;
        let diverging = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
        let question = format!("fetch from {offset} in epoch {epoch} after epoch {last}");
        probe.note(&question, (data.error_code, diverging, data.current_leader.leader_epoch));
    }
    // KIP-74: the first batch whole, the next cut.
    for bytes in [0, 1, 80, 120, 160] {
        let data = probe.fetch(12, fetch_at(0).with_partition_max_bytes(bytes), topic(), UNCOMMITTED)?;
        probe.note(&format!("fetch of {bytes} bytes"), (data.error_code, data.records.map(|it| it.len())));
    }
    let data = probe.fetch(12, fetch_at(0), FetchTopic::default().with_topic(topic_name("missing")), UNCOMMITTED)?;
    probe.note("fetch of a missing topic", (data.error_code, data.high_watermark));
    let request = FetchRequest::default().with_replica_id((-1).into()).with_session_id(4_711).with_session_epoch(3);
    let answer = probe.ask(12, &request)?;
    probe.note("a fetch session that never was", answer.error_code);
    Ok(())
}

fn deletes(probe: &mut Probe) -> Result<()> {
    let delete = |probe: &mut Probe, topic: &str, partition: i32, offset: i64| -> Result<(i16, i64)> {
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let asked = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
        let answer = probe.ask(2, &DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000))?;
        let found = &answer.topics.first().context("no topic")?.partitions[0];
        Ok((found.error_code, found.low_watermark))
    };
    for offset in [4, 2, 99, -2] {
        let answer = delete(probe, TOPIC, 0, offset)?;
        probe.note(&format!("delete before {offset}"), answer);
    }
    for (question, timestamp) in [("earliest", EARLIEST), ("a time that is gone", BASE + 10), ("max", MAX_TIMESTAMP)] {
        let found = probe.list_offset(TOPIC, timestamp, UNCOMMITTED, -1)?;
        probe.note(&format!("after the deletion: {question}"), (found.0, found.2, found.3));
    }
    for offset in [0, 3, 4, 5] {
        let data = probe.fetch_from(TOPIC, offset, UNCOMMITTED)?;
        let first =
            protocol_tests::raw::records::decode(&data.records.unwrap_or_default())?.first().map(|it| it.base_offset);
        probe
            .note(&format!("after the deletion: fetch from {offset}"), (data.error_code, data.log_start_offset, first));
    }
    let answer = delete(probe, TOPIC, 0, -1)?;
    probe.note("delete everything", answer);
    let answer = delete(probe, "missing", 0, 0)?;
    probe.note("delete of a missing topic", answer);
    let answer = delete(probe, TOPIC, 9, 0)?;
    probe.note("delete of a missing partition", answer);
    probe.note_ends("an emptied log", TOPIC, false)?;
    probe.create("lookups-compacted", 1, &[("cleanup.policy", "compact")])?;
    let answer = delete(probe, "lookups-compacted", 0, 0)?;
    probe.note("delete on a compacted topic", answer);
    Ok(())
}

fn topic_id(probe: &mut Probe, name: &str) -> Result<Uuid> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let answer = probe.ask(12, &MetadataRequest::default().with_topics(Some(vec![asked])))?;
    Ok(answer.topics.first().context("no topic")?.topic_id)
}

fn recreated(probe: &mut Probe) -> Result<()> {
    probe.create("reborn", 1, &[])?;
    let old = topic_id(probe, "reborn")?;
    let by_id = |id: Uuid| FetchTopic::default().with_topic_id(id);
    let data = probe.fetch(13, fetch_at(0), by_id(old), UNCOMMITTED)?;
    probe.note("fetch by id", data.error_code);
    probe.client.delete_topic("reborn")?;
    probe.create("reborn", 1, &[])?;
    let new = topic_id(probe, "reborn")?;
    probe.note("the same name has another id", old != new);
    let data = probe.fetch(13, fetch_at(0), by_id(old), UNCOMMITTED)?;
    probe.note("fetch by the old id", (data.error_code, data.high_watermark));
    let data = probe.fetch(13, fetch_at(0), by_id(new), UNCOMMITTED)?;
    probe.note("fetch by the new id", data.error_code);
    Ok(())
}

fn metadata(probe: &mut Probe) -> Result<()> {
    for name in [TOPIC, "missing", "not a name"] {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let answer = probe.ask(12, &request)?;
        let topic = answer.topics.first().context("no topic")?;
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|it| (it.error_code, it.leader_id.0, it.leader_epoch, it.isr_nodes.len()))
            .collect();
        probe.note(&format!("metadata of {name}"), (topic.error_code, topic.is_internal, partitions));
    }
    let asked = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(4_711));
    let answer = probe.ask(12, &MetadataRequest::default().with_topics(Some(vec![asked])))?;
    let topic = answer.topics.first().context("no topic")?;
    probe.note("metadata of an unknown id", (topic.error_code, topic.name.as_ref().map(|it| it.to_string())));
    let request = FindCoordinatorRequest::default().with_key(text("x")).with_key_type(9);
    let answer = probe.ask(3, &request)?;
    probe.note("a coordinator of an unknown kind", answer.error_code);
    probe.note("the node", NODE);
    Ok(())
}
