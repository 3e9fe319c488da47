//! Transaction protocol v1, which every broker speaks.

use std::time::Duration;

use anyhow::{Context, Result};
use kafka_protocol::messages::*;

use super::probe::{COMMITTED, Probe, UNCOMMITTED, Who, batch, transactional};

const TOPIC: &str = "transactions";
const ID: &str = "conformance";

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.create(TOPIC, 2, &[])?;
    probe.coordinator(1, ID)?;
    inits(probe)?;
    life(probe)?;
    fences(probe)?;
    timeout(probe)?;
    repeats(probe)
}

fn inits(probe: &mut Probe) -> Result<()> {
    let (code, _) = probe.init(4, Some(""), None, 60_000)?;
    probe.note("init with an empty id", code);
    for timeout_ms in [0, -1, 900_001] {
        let (code, _) = probe.init(4, Some(ID), None, timeout_ms)?;
        probe.note(&format!("init with a timeout of {timeout_ms}"), code);
    }
    let who = Who { id: 1, epoch: 0 };
    let (code, _) = probe.end(3, "nobody", who, true)?;
    probe.note("the end of an unknown id", code);
    let codes = probe.add_partitions(3, "nobody", who, &[(TOPIC, 0)])?;
    probe.note("partitions of an unknown id", codes);
    Ok(())
}

fn life(probe: &mut Probe) -> Result<()> {
    let who = probe.note_init("the first init", 4, Some(ID), None)?;
    probe.note_end("commit of nothing", 4, ID, who, true)?;
    probe.note_end("abort of nothing", 4, ID, who, false)?;
    for version in [8, 9, 10, 11] {
        let question = format!("v{version} without adding the partition");
        let answer = probe.produce_once(version, TOPIC, batch(who, 0, true, 1)?, ID)?;
        probe.note(&question, answer);
    }
    let codes = probe.add_partitions(3, ID, who, &[(TOPIC, 0), (TOPIC, 9), ("missing", 0)])?;
    probe.note("adding what is not there", codes);
    let codes = probe.add_partitions(3, ID, who, &[(TOPIC, 0)])?;
    probe.note("adding", codes);
    let codes = probe.add_partitions(3, ID, who, &[(TOPIC, 0)])?;
    probe.note("adding again", codes);
    probe.note_produce("the first batch", 9, TOPIC, batch(who, 0, true, 2)?, Some(ID))?;
    probe.note_produce("a duplicate", 9, TOPIC, batch(who, 0, true, 2)?, Some(ID))?;
    probe.note_produce("without the transactional bit", 9, TOPIC, batch(who, 2, false, 1)?, Some(ID))?;
    probe.note_produce("the second batch", 11, TOPIC, batch(who, 2, true, 1)?, Some(ID))?;
    probe.note_ends("while it is open", TOPIC, false)?;
    visible(probe, "while it is open")?;
    probe.note_end("commit", 4, ID, who, true)?;
    probe.note_ends("after the commit", TOPIC, true)?;
    visible(probe, "after the commit")?;
    probe.note_end("commit again", 4, ID, who, true)?;
    probe.note_end("abort after the commit", 4, ID, who, false)?;
    let codes = probe.add_partitions(3, ID, who, &[(TOPIC, 0)])?;
    probe.note("the next transaction", codes);
    probe.note_produce("its sequence goes on", 9, TOPIC, batch(who, 3, true, 1)?, Some(ID))?;
    probe.note_end("abort", 4, ID, who, false)?;
    probe.note_ends("after the abort", TOPIC, true)?;
    visible(probe, "after the abort")?;
    probe.note_end("abort again", 4, ID, who, false)?;
    probe.note_end("commit after the abort", 4, ID, who, true)?;
    let data = probe.fetch_from(TOPIC, 0, COMMITTED)?;
    let aborted = data.aborted_transactions.unwrap_or_default();
    let aborted: Vec<_> = aborted.iter().map(|it| (probe.name_of(it.producer_id.0), it.first_offset)).collect();
    probe.note("the aborted list from the start", aborted);
    let data = probe.fetch_from(TOPIC, 6, COMMITTED)?;
    probe.note("the aborted list behind it", data.aborted_transactions.unwrap_or_default().len());
    let data = probe.fetch_from(TOPIC, 0, UNCOMMITTED)?;
    probe.note("no list for an uncommitted reader", data.aborted_transactions.is_none());
    Ok(())
}

/// Whether a reader of either kind is given the log's end, and what the answer says of it.
fn visible(probe: &mut Probe, when: &str) -> Result<()> {
    for (name, isolation) in [("committed", COMMITTED), ("uncommitted", UNCOMMITTED)] {
        let data = probe.fetch_from(TOPIC, 0, isolation)?;
        let batches = protocol_tests::raw::records::decode(&data.records.unwrap_or_default())?;
        let offsets: Vec<_> =
            batches.iter().map(|it| (it.base_offset, it.last_offset, it.control, it.commits())).collect();
        probe.note(&format!("{when}, {name} sees"), (data.high_watermark, data.last_stable_offset, offsets));
    }
    Ok(())
}

fn fences(probe: &mut Probe) -> Result<()> {
    let old = probe.note_init("init of a new owner", 4, Some(ID), None)?;
    probe.add_partitions(3, ID, old, &[(TOPIC, 0)])?;
    probe.note_produce("its batch", 9, TOPIC, batch(old, 0, true, 1)?, Some(ID))?;
    // Aborts what is open first; the epoch in between is never handed out.
    let new = probe.note_init("init of the owner after it", 4, Some(ID), None)?;
    probe.note_ends("what was open is aborted", TOPIC, true)?;
    probe.note_produce("a zombie's batch", 9, TOPIC, batch(old, 1, true, 1)?, Some(ID))?;
    let codes = probe.add_partitions(3, ID, old, &[(TOPIC, 0)])?;
    probe.note("a zombie's partitions", codes);
    let codes = probe.add_partitions(1, ID, old, &[(TOPIC, 0)])?;
    probe.note("an old zombie's partitions", codes);
    probe.note_end("a zombie's commit", 4, ID, old, true)?;
    probe.note_end("an old zombie's commit", 1, ID, old, true)?;
    probe.note_init("a zombie's bump", 4, Some(ID), Some(old))?;
    probe.note_init("an old zombie's bump", 3, Some(ID), Some(old))?;
    probe.note_end("another producer's commit", 4, ID, Who { id: new.id + 77, ..new }, true)?;
    let bumped = probe.note_init("a bump", 4, Some(ID), Some(new))?;
    probe.note_init("the same bump again", 4, Some(ID), Some(new))?;
    probe.note_init("a bump from the future", 4, Some(ID), Some(Who { epoch: new.epoch + 9, ..new }))?;
    probe.add_partitions(3, ID, bumped, &[(TOPIC, 0)])?;
    probe.note_produce("the bumped epoch not at 0", 9, TOPIC, batch(bumped, 5, true, 1)?, Some(ID))?;
    probe.note_produce("the bumped epoch", 9, TOPIC, batch(bumped, 0, true, 1)?, Some(ID))?;
    probe.note_end("its commit", 4, ID, bumped, true)?;
    probe.note_ends("after its commit", TOPIC, true)
}

fn timeout(probe: &mut Probe) -> Result<()> {
    let (_, who) = probe.init(4, Some("slow"), None, 500)?;
    probe.add_partitions(3, "slow", who, &[(TOPIC, 1)])?;
    let answer = probe.produce(9, TOPIC, 1, batch(who, 0, true, 1)?, Some("slow"))?;
    probe.note("a batch in a short transaction", (answer.error_code, answer.base_offset));
    std::thread::sleep(Duration::from_millis(1_500));
    let answer = probe.produce(9, TOPIC, 1, batch(who, 1, true, 1)?, Some("slow"))?;
    probe.note("a batch after its timeout", (answer.error_code, answer.base_offset));
    let (code, _) = probe.end(4, "slow", who, true)?;
    probe.note("a commit after its timeout", code);
    let (code, next) = probe.init(4, "slow".into(), Some(who), 500)?;
    probe.note("a bump after its timeout", (code, next.epoch));
    let (code, next) = probe.init(4, "slow".into(), None, 500)?;
    probe.note("init after its timeout", (code, next.epoch));
    Ok(())
}

/// The transactions as the tools see them.
fn repeats(probe: &mut Probe) -> Result<()> {
    let who = probe.note_init("init for the tools", 4, Some("tools"), None)?;
    described(probe, "nothing done")?;
    probe.add_partitions(3, "tools", who, &[(TOPIC, 1)])?;
    let answer = probe.produce(9, TOPIC, 1, batch(who, 0, true, 2)?, Some("tools"))?;
    probe.note("a batch for the tools", answer.error_code);
    described(probe, "open")?;
    probe.end(4, "tools", who, true)?;
    probe.note_ends("settled", TOPIC, true)?;
    probe.end(4, "tools", who, true)?;
    described(probe, "committed")
}

fn described(probe: &mut Probe, when: &str) -> Result<()> {
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![transactional("tools"), transactional("missing")]);
    let answer = probe.ask(0, &request)?;
    for state in answer.transaction_states {
        let topics: Vec<_> = state.topics.iter().map(|it| (it.topic.to_string(), it.partitions.clone())).collect();
        let line = (state.error_code, state.transaction_state.to_string(), state.producer_epoch, topics);
        probe.note(&format!("{when}: described {}", state.transactional_id.as_str()), line);
    }
    let topics = describe_producers_request::TopicRequest::default()
        .with_name(protocol_tests::raw::topic_name(TOPIC))
        .with_partition_indexes(vec![1, 7]);
    let answer = probe.ask(0, &DescribeProducersRequest::default().with_topics(vec![topics]))?;
    let mut partitions = answer.topics.into_iter().next().context("no topic")?.partitions;
    partitions.sort_by_key(|it| it.partition_index);
    for partition in partitions {
        let mut producers: Vec<_> = partition
            .active_producers
            .iter()
            .map(|it| {
                let name = probe.name_of(it.producer_id.0);
                (name, it.producer_epoch, it.last_sequence, it.current_txn_start_offset)
            })
            .collect();
        producers.sort();
        let question = format!("{when}: producers of partition {}", partition.partition_index);
        probe.note(&question, (partition.error_code, producers));
    }
    Ok(())
}

impl Probe {
    /// One attempt, whatever it answers.
    fn produce_once(&mut self, version: i16, topic: &str, bytes: Vec<u8>, id: &str) -> Result<(i16, i64)> {
        use produce_request::{PartitionProduceData, TopicProduceData};
        let data = PartitionProduceData::default().with_index(0).with_records(Some(bytes.into()));
        let data = TopicProduceData::default()
            .with_name(protocol_tests::raw::topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(transactional(id)))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let answer = self.ask(version, &request)?;
        let found = answer.responses.first().and_then(|it| it.partition_responses.first()).context("no partition")?;
        Ok((found.error_code, found.base_offset))
    }
}
