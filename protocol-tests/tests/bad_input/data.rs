//! Data that cannot be copied: its partition stops with an incident, the others go on, and nothing is lost.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};

use crate::real;

const LIMIT: Duration = Duration::from_secs(60);
const LARGE_BYTES: usize = 50_000;
const LIMIT_BYTES: &str = "10000";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("bad_input", "kafka_3_9_2_to_4_4_0_corrupt_and_oversized", &["3.9.2", "4.4.0"], || {
            corrupt_and_oversized(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())
        }),
        real("bad_input", "kafka_4_4_0_to_3_9_2_corrupt_and_oversized", &["4.4.0", "3.9.2"], || {
            corrupt_and_oversized(Spec::kraft("4.4.0"), Spec::zookeeper("3.9.2"))
        }),
    ]
}

fn corrupt_and_oversized(source: Spec, target: Spec) -> Result<()> {
    let mut pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    at_source.create_topic("corrupt", 2, 1, &[])?;
    at_source.create_topic("large", 2, 1, &[])?;
    at_target.create_topic("large", 2, 1, &[("max.message.bytes", LIMIT_BYTES)])?;
    for partition in 0..2 {
        for batch in 0..3 {
            write(&mut at_source, "corrupt", partition, batch * 5, &[100; 5])?;
        }
        write(&mut at_source, "large", partition, 0, &[100])?;
    }
    write(&mut at_source, "large", 0, 1, &[LARGE_BYTES])?;
    write(&mut at_source, "large", 0, 2, &[100])?;
    // In the middle of the second batch: its first record's value.
    let damage = Damage::find(&pair.source, "corrupt-0", b"id=corrupt-0-7")?;
    damage.flip(&mut pair.source)?;

    let mut config = pair.config("bad-data", &["corrupt", "large", "later-*"]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\", \"target_max_message_bytes\"]\n".to_owned();
    let mut bridge = pair.run(&config, "bridge")?;
    bridge.process().wait_for_log("no topic of the source matches yet", LIMIT)?;
    bridge.process().wait_for_log("corrupt-0 stopped at offset 5: the batch at offset 5 fails its checksum", LIMIT)?;
    bridge.process().wait_for_log("large-0 stopped at offset 1: the record at offset 1 needs a batch of", LIMIT)?;
    let log = bridge.log();
    for text in
        ["look at the source's disk", &format!("the target topic takes {LIMIT_BYTES}; raise its max.message.bytes")]
    {
        ensure!(log.contains(text), "{text:?} is missing in:\n{log}");
    }
    // The others go on, also with what comes now; a pattern without a topic waits for one.
    write(&mut at_source, "corrupt", 1, 15, &[100; 5])?;
    write(&mut at_source, "large", 1, 1, &[100; 3])?;
    at_source.create_topic("later-1", 1, 1, &[])?;
    write(&mut at_source, "later-1", 0, 0, &[100; 3])?;
    pair.until_equal(&["later-1".to_owned()], LIMIT).with_context(|| bridge.log())?;
    let mut copied = |topic: &str, partition: i32, expected: usize| -> Result<()> {
        let start = std::time::Instant::now();
        loop {
            let found = at_target.read(topic, partition, Isolation::ReadCommitted)?.len();
            if found == expected {
                return Ok(());
            }
            ensure!(
                found < expected && start.elapsed() < LIMIT,
                "{found} records of {topic}-{partition}, not {expected}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    for (topic, partition, expected) in [("corrupt", 0, 5), ("corrupt", 1, 20), ("large", 0, 1), ("large", 1, 4)] {
        copied(topic, partition, expected)?;
    }
    let code = bridge.terminate(LIMIT)?;
    ensure!(code == 1, "incidents end a run with 1, not {code}");
    let log = bridge.log();
    let summary: Vec<_> = log.lines().filter(|line| line.starts_with("incident ")).collect();
    ensure!(summary.len() == 2, "the summary names both: {summary:#?}\n{log}");
    ensure!(!log.contains("id=corrupt") && !log.contains("id=large"), "a record's contents are in the log");

    // Mended, both go on where they stopped: nothing was lost, nothing comes twice.
    damage.flip(&mut pair.source)?;
    pair.target.client().alter_topic("large", &[("max.message.bytes", "1048588")])?;
    let mut bridge = pair.run(&config, "mended")?;
    let topics = ["corrupt", "large", "later-1"].map(str::to_owned);
    pair.until_equal(&topics, LIMIT).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    Ok(())
}

fn write(client: &mut RawClient, topic: &str, partition: i32, first: usize, sizes: &[usize]) -> Result<()> {
    let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let record = |(index, size): (usize, &usize)| {
        let mut value = format!("id={topic}-{partition}-{}\n", first + index).into_bytes();
        value.resize(*size, b'x');
        NewRecord { timestamp, value: Some(value), ..NewRecord::default() }
    };
    let offset = client.write(topic, partition, Codec::None, sizes.iter().enumerate().map(record).collect())?;
    ensure!(offset == i64::try_from(first)?, "{topic}-{partition}: written to {offset}, not {first}");
    Ok(())
}

/// One byte of a segment on a broker's disk.
struct Damage {
    segment: PathBuf,
    at: usize,
}

impl Damage {
    fn find(cluster: &KafkaCluster, partition: &str, text: &[u8]) -> Result<Damage> {
        let segment = cluster.data_folder(0).join(partition).join("00000000000000000000.log");
        let bytes = fs::read(&segment)?;
        let at = bytes.windows(text.len()).position(|it| it == text).context("the record is not on the disk")?;
        Ok(Damage { segment, at: at + text.len() + 2 })
    }

    /// While the broker is stopped, and in order: after a kill it would check its segments, and cut the damage off.
    fn flip(&self, cluster: &mut KafkaCluster) -> Result<()> {
        cluster.stop(0)?;
        let mut bytes = fs::read(&self.segment)?;
        bytes[self.at] ^= 1;
        fs::write(&self.segment, bytes)?;
        cluster.restart(0)
    }
}
