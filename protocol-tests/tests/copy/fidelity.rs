//! Everything that a log can hold, over the version matrix.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::compare::{self, Timestamps};
use protocol_tests::java::Tools;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::pair::{Pair, both, until_none};
use protocol_tests::raw::{Isolation, RawClient, ReadBatch, Rec};
use protocol_tests::workload::{Workload, compacted, coverage};

use crate::real;

const SEED: u64 = 20_261_124;
const LIMIT: Duration = Duration::from_secs(180);
const LINK: &str = "orders-dmz";
const LOG_APPEND_TIME: &str = "data-log-append-time";
const COMPACTED: &str = "data-compacted";
/// Compacted at both ends while it is copied.
const LIVE: &str = "data-live";
const JAVA: &str = "data-java";
const PARTITIONS: i32 = 2;
/// Smaller batches are merged with their neighbours.
const MERGED_BYTES_MAX: usize = 16 << 10;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("copy", "kafka_3_9_2_zookeeper_to_4_4_0", &["3.9.2", "4.4.0"], || {
            copies(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls(), Some(("3.9.2", "4.3.1")))
        }),
        real("copy", "kafka_3_9_2_to_3_9_2", &["3.9.2"], || {
            copies(Spec::zookeeper("3.9.2").with_tls(), Spec::zookeeper("3.9.2").with_tls(), None)
        }),
        real("copy", "kafka_3_6_2_to_4_3_1", &["3.6.2", "4.3.1"], || {
            copies(Spec::kraft("3.6.2").with_tls(), Spec::kraft("4.3.1").with_tls(), Some(("4.3.1", "3.9.2")))
        }),
        real("copy", "kafka_4_4_0_to_4_4_0_with_three_nodes", &["4.4.0"], || {
            copies(Spec::kraft("4.4.0").with_tls(), Spec::kraft("4.4.0").with_tls().nodes(3), None)
        }),
    ]
}

/// `tools`: the releases of Kafka's own tools that write at the source and read at both ends.
fn copies(source: Spec, target: Spec, tools: Option<(&str, &str)>) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    let mut written = Workload::new(SEED, "data").write(&mut at_source)?;
    compacted::freeze(&mut at_source, COMPACTED)?;
    for topic in written.topics.iter().filter(|topic| *topic != COMPACTED) {
        let found: Vec<_> = coverage::of(&mut at_source, topic)?.into_iter().collect();
        ensure!(found == coverage::EXPECTED, "{topic} does not hold everything: {found:?}");
    }
    for partition in 0..PARTITIONS {
        let holes = compacted::holes(&mut at_source, COMPACTED, partition)?;
        ensure!(holes > 0, "{COMPACTED}-{partition} has no holes");
        println!("{COMPACTED}-{partition}: {holes} batches with holes");
    }
    if let Some((version, _)) = tools {
        write_by_java(&Tools::new(version)?, &pair, &mut at_source)?;
        written.topics.push(JAVA.to_owned());
    }
    compacted::create(&mut at_source, LIVE, PARTITIONS, 1)?;
    let mut live = vec![Vec::new(); PARTITIONS as usize];
    append_live(&mut at_source, &mut live, 0)?;

    let start = Instant::now();
    let mut bridge = pair.run(&pair.config(LINK, &["data-*"]), "bridge")?;
    append_live(&mut at_source, &mut live, 1)?;
    let equal = pair.until_equal(&written.topics, LIMIT);
    let live_equal = until_none(LIMIT, || compare_live(&mut at_target, &live));
    let took = start.elapsed();
    if let Err(error) = equal.and(live_equal) {
        return Err(error.context(bridge.log()));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    println!("copied {} records in {took:.1?}", written.visible_records);
    let summary = bridge.log().lines().find(|line| line.contains("batches rewritten")).unwrap_or_default().to_owned();
    for reason in ["merge_small", "compaction_gap", "log_append_time"] {
        ensure!(summary.contains(reason), "no batch was rewritten for {reason}: {summary:?}");
    }
    println!("{summary}");

    at_target.no_transaction_hangs(&written.topics)?;
    for topic in &written.topics {
        check_batches(&mut at_source, (&mut at_target, topic), topic, topic != LOG_APPEND_TIME)?;
    }
    a_second_start_writes_nothing(&pair, &mut at_target, &written.topics)?;
    create_times_pass(&pair, &mut at_source, &mut at_target)?;
    if let Some((_, version)) = tools {
        for topic in [JAVA, "data-gzip"] {
            read_by_java(version, &pair, &mut at_target, topic)?;
        }
    }
    Ok(())
}

fn append_live(client: &mut RawClient, live: &mut [Vec<Rec>], round: i64) -> Result<()> {
    for (partition, records) in (0..).zip(live) {
        records.extend(compacted::append(client, LIVE, partition, round)?);
    }
    Ok(())
}

fn compare_live(client: &mut RawClient, live: &[Vec<Rec>]) -> Result<Vec<compare::Difference>> {
    let mut found = vec![];
    for (partition, written) in (0..).zip(live) {
        let target = client.read(LIVE, partition, Isolation::ReadCommitted)?;
        found.extend(compare::compacted(LIVE, partition, written, &target));
    }
    Ok(found)
}

/// Large batches pass as the bytes they are, where they need no other time; and no codec changes.
fn check_batches(
    at_source: &mut RawClient,
    (at_target, copy): (&mut RawClient, &str),
    topic: &str,
    is_passed: bool,
) -> Result<()> {
    let (mut large, mut untouched, mut all) = (0, 0, 0);
    for partition in 0..at_source.partition_count(topic)? {
        let ours = at_source.committed_batches(topic, partition)?;
        let theirs = at_target.committed_batches(copy, partition)?;
        let bodies: BTreeSet<_> = theirs.iter().map(|batch| batch.body_hash).collect();
        for batch in ours.iter().filter(|batch| batch.bytes > MERGED_BYTES_MAX && !batch.has_holes()) {
            large += 1;
            let is_there = bodies.contains(&batch.body_hash);
            ensure!(is_there || !is_passed, "{topic}-{partition}: the batch at {} was rewritten", batch.base_offset);
        }
        let codecs = |batches: &[ReadBatch]| batches.iter().map(|batch| batch.codec).collect::<BTreeSet<_>>();
        let (before, after) = (codecs(&ours), codecs(&theirs));
        ensure!(before == after, "{topic}-{partition} had the codecs {before:?}, its copy has {after:?}");
        let bodies_before: BTreeSet<_> = ours.iter().map(|batch| batch.body_hash).collect();
        untouched += bodies.intersection(&bodies_before).count();
        all += theirs.len();
    }
    println!("{topic}: {untouched} of {all} batches passed as they were, {large} large ones among the source's");
    ensure!(large > 0 || topic == COMPACTED || topic == JAVA, "{topic} had no large batch");
    Ok(())
}

fn a_second_start_writes_nothing(pair: &Pair, at_target: &mut RawClient, topics: &[String]) -> Result<()> {
    let before = at_target.quiet(topics)?;
    let mut again = pair.run(&pair.config(LINK, &["data-*"]), "again")?;
    again.process().wait_for_log("all lanes are taken", LIMIT)?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(again.terminate(LIMIT)? == 0, "the second run did not end well:\n{}", again.log());
    ensure!(before == at_target.quiet(topics)?, "the second run wrote something");
    Ok(())
}

/// The other policy for LogAppendTime topics, as a second link.
fn create_times_pass(pair: &Pair, at_source: &mut RawClient, at_target: &mut RawClient) -> Result<()> {
    let copy = format!("created-{LOG_APPEND_TIME}");
    let mut config = pair.config("create-times", &[LOG_APPEND_TIME]);
    config.topics_extra = "rename = \"created-{topic}\"".to_owned();
    config.delivery += "log_append_time = \"create_time\"\n";
    let mut bridge = pair.run(&config, "create-times")?;
    let equal = until_none(LIMIT, || {
        let mut found = vec![];
        for partition in 0..PARTITIONS {
            let ours = at_source.read_create_times(LOG_APPEND_TIME, partition)?;
            let theirs = at_target.read(&copy, partition, Isolation::ReadCommitted)?;
            found.extend(compare::partition(&copy, partition, &ours, &theirs, Timestamps::Equal));
        }
        Ok(found)
    });
    if let Err(error) = equal {
        return Err(error.context(bridge.log()));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    ensure!(!bridge.log().contains("log_append_time "), "no batch needs to be rewritten for its time");
    let stamped = at_source.read(LOG_APPEND_TIME, 0, Isolation::ReadCommitted)?;
    let created = at_source.read_create_times(LOG_APPEND_TIME, 0)?;
    ensure!(stamped != created, "the topic's append times are its create times, which proves nothing");
    check_batches(at_source, (at_target, &copy), LOG_APPEND_TIME, true)
}

fn write_by_java(tools: &Tools, pair: &Pair, at_source: &mut RawClient) -> Result<()> {
    at_source.create_topic(JAVA, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    let bootstrap = pair.source.plaintext_bootstrap().join(",");
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let line = |number| format!("number:{number},codec:{codec}\tkey-{number}\tid={codec}/{number}");
        let lines: Vec<_> = (0..200).map(line).collect();
        tools.console_produce(&bootstrap, JAVA, codec, &lines)?;
    }
    tools.verifiable_produce(&bootstrap, JAVA, 500)?;
    let mut count = 0;
    for partition in 0..PARTITIONS {
        count += at_source.read(JAVA, partition, Isolation::ReadCommitted)?.len();
    }
    ensure!(count == 4 * 200 + 500, "Java's tools wrote {count} records");
    Ok(())
}

/// Java's consumer must see at the target what it sees at the source.
fn read_by_java(version: &str, pair: &Pair, at_target: &mut RawClient, topic: &str) -> Result<()> {
    let read = |cluster: &KafkaCluster| {
        let bootstrap = cluster.plaintext_bootstrap().join(",");
        Tools::new(version).and_then(|tools| tools.console_consume(&bootstrap, topic, 0))
    };
    let (ours, theirs) = both(|| read(&pair.source), || read(&pair.target))?;
    let records = at_target.read(topic, 0, Isolation::ReadCommitted)?.len();
    ensure!(theirs.matches("CreateTime:").count() == records, "Java's consumer does not see {records} records");
    ensure!(ours == theirs, "Java's consumer sees {topic}-0 and its copy as different");
    println!("{topic}-0: Java's consumer sees the same {records} records at both ends");
    Ok(())
}
