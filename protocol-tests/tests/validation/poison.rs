//! Poison of ten kinds among good events.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use kafka_bridge::config::RegistryConfig;
use kafka_bridge::demo::registry::{RegistryServer, Settings as RegistrySettings};
use kafka_bridge::registry::{Reference, Registry};
use kafka_bridge::wire::Tcp;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config, End};
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, Isolation, RawClient};
use tokio::runtime::Runtime;

use super::events::{POISON, RULES, SCHEMA, event, record};
use super::judge::{Poisoned, letters, until_judged};
use super::verified::is_clean;
use crate::{real, trial};

pub(super) const LIMIT: Duration = Duration::from_secs(90);
pub(super) const LINK: &str = "checked";
pub(super) const TOPIC: &str = "events";
pub(super) const DEAD_LETTERS: &str = "checked.dead-letters";
const PARTITIONS: i32 = 3;
/// Uncompressed a batch is too large to be merged with its neighbours.
const BATCH_RECORDS: i64 = 600;
const UNCOMPRESSED: i32 = 0;
/// Of each partition, written at a time. The second has poison in it; the others have to pass as they came.
const ROUND_BATCHES: i64 = 2;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "embedded_poison_of_ten_kinds", || {
            let (source, target) =
                (EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?);
            let folder = tempfile::tempdir()?;
            let ends = (source.end(), target.end());
            poison((source.client(), target.client()), ends, folder.path(), 3)
        }),
        real("validation", "kafka_3_9_2_to_4_4_0_poison_of_ten_kinds", &["3.9.2", "4.4.0"], || {
            let pair = Pair::start(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0").with_tls())?;
            let ends = (End::of(&pair.source), End::of(&pair.target));
            poison((pair.source.client(), pair.target.client()), ends, pair.folder(), 6)
        }),
        real("validation", "kafka_3_9_2_v1_poison_of_ten_kinds", &["3.9.2"], || {
            let pair = Pair::start(Spec::kraft("3.9.2"), Spec::kraft("3.9.2"))?;
            let ends = (End::of(&pair.source), End::of(&pair.target));
            poison((pair.source.client(), pair.target.client()), ends, pair.folder(), 6)
        }),
    ]
}

/// A registry that runs, and somebody who registers.
pub(super) struct Schemas {
    pub(super) server: RegistryServer,
    client: Registry,
    // The server's tasks live in it.
    runtime: Runtime,
}

impl Schemas {
    pub(super) fn start() -> Result<Schemas> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = runtime.block_on(RegistryServer::start(RegistrySettings::default()))?;
        let config = RegistryConfig { urls: vec![server.url().parse()?], credentials: None, tls: None };
        let client = Registry::new("source", &config, LIMIT, Arc::new(Tcp))?;
        Ok(Schemas { server, client, runtime })
    }

    pub(super) fn register(&self, subject: &str, text: &str) -> Result<i32> {
        self.register_with(subject, text, &[])
    }

    pub(super) fn register_with(&self, subject: &str, text: &str, references: &[Reference]) -> Result<i32> {
        Ok(self.runtime.block_on(self.client.register(subject, text, references))?)
    }

    /// What the registry has under this id.
    pub(super) fn text(&self, id: i32) -> Result<String> {
        Ok(self.runtime.block_on(self.client.by_id(id))?.text.clone())
    }

    /// Lines of an end's table.
    pub(super) fn lines(&self) -> String {
        format!("registry = {{ urls = [{:?}] }}\n", self.server.url())
    }
}

pub(super) fn config(ends: (End, End), schemas: &Schemas, lines: &str) -> Config {
    let (mut source, target) = ends;
    source.extra += &schemas.lines();
    let mut config = Config::new(LINK, source, target, &[TOPIC]);
    config.topics_extra = format!("value_schema = \"registry:{{topic}}-value\"\n{lines}");
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\nlanes = 4\n".to_owned();
    config
}

fn is_poisoned(batch: i64) -> bool {
    batch % ROUND_BATCHES == 1
}

/// Writes the events of a round to all partitions, and adds what is poison.
fn write(client: &mut RawClient, id: i32, round: i64, poisoned: &mut Poisoned) -> Result<()> {
    for partition in 0..PARTITIONS {
        let codec = Codec::ALL[if partition == UNCOMPRESSED { 0 } else { 1 + partition as usize }];
        for batch in round * ROUND_BATCHES..(round + 1) * ROUND_BATCHES {
            let mut records = Vec::new();
            let first = batch * BATCH_RECORDS;
            for number in first..first + BATCH_RECORDS {
                let kind = &POISON[(number as usize / 3) % POISON.len()];
                let is_poison = is_poisoned(batch) && number % 3 == 0;
                if is_poison {
                    poisoned.insert((TOPIC.to_owned(), partition, number), kind.1);
                }
                // A record that deletes its key has nothing to be checked.
                let is_tombstone = !is_poison && number % 50 == 7;
                let poison = is_poison.then_some(kind.0);
                records.push(if is_tombstone { record(number, None) } else { event(id, number, poison) });
            }
            client.write(TOPIC, partition, codec, records)?;
        }
    }
    Ok(())
}

/// Each kill comes when the bridge has filed dead letters and more are on their way to it, so that it always comes between two
/// transactions that have some, or within one.
fn poison(clients: (RawClient, RawClient), ends: (End, End), folder: &Path, kills: i64) -> Result<()> {
    let (mut source, mut target) = clients;
    let schemas = Schemas::start()?;
    let id = schemas.register("events-value", SCHEMA)?;
    source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    let mut config = config(ends, &schemas, RULES);
    config.delivery += "transaction_bytes_max = 65536\n";
    let config = config.write(folder, "bridge")?;
    let mut poisoned = Poisoned::new();
    // Committed ones: markers of what a kill left open would be no progress.
    let filed = |target: &mut RawClient| letters(target, DEAD_LETTERS).map_or(0, |it| it.len());
    let (mut before, mut within) = (0, 0);
    for kill in 0..kills {
        let mut bridge = Bridge::run(&config)?;
        write(&mut source, id, 2 * kill, &mut poisoned)?;
        let start = Instant::now();
        while filed(&mut target) <= before {
            ensure!(start.elapsed() < LIMIT, "nothing is filed:\n{}", bridge.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        write(&mut source, id, 2 * kill + 1, &mut poisoned)?;
        // Another moment each time.
        std::thread::sleep(Duration::from_millis(7 * kill.unsigned_abs()));
        bridge.kill();
        before = filed(&mut target);
        within += usize::from(before < poisoned.len());
    }
    println!("{within} of {kills} kills left dead letters to be filed");
    ensure!(within > 0, "none of {kills} kills came between two transactions with dead letters");
    // After each kill comes more, after the last one this.
    write(&mut source, id, 2 * kills, &mut poisoned)?;
    let kinds: BTreeSet<_> = poisoned.values().collect();
    ensure!(kinds.len() == POISON.len(), "not all kinds of poison were written: {kinds:?}");
    let mut bridge = Bridge::run(&config)?;
    until_judged((&mut source, &mut target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    target.no_transaction_hangs(&[TOPIC.to_owned(), DEAD_LETTERS.to_owned()])?;
    let batches = (2 * kills + 1) * ROUND_BATCHES;
    let whole = i64::from(PARTITIONS) * batches * BATCH_RECORDS;
    is_clean(&config, &[], whole as usize - poisoned.len(), poisoned.len())?;
    passed_as_they_came(&mut source, &mut target, batches)
}

/// The body of each batch without poison is at the target byte for byte, and of no other.
fn passed_as_they_came(source: &mut RawClient, target: &mut RawClient, batches: i64) -> Result<()> {
    let bodies = |client: &mut RawClient| -> Result<Vec<u64>> {
        let records = client.read(TOPIC, UNCOMPRESSED, Isolation::ReadCommitted)?;
        let mut bodies: Vec<u64> = records.iter().map(|it| it.body_hash).collect();
        bodies.dedup();
        Ok(bodies)
    };
    let at_target: BTreeSet<_> = bodies(target)?.into_iter().collect();
    let passed: Vec<bool> = bodies(source)?.iter().map(|it| at_target.contains(it)).collect();
    let expected: Vec<bool> = (0..batches).map(|batch| !is_poisoned(batch)).collect();
    ensure!(passed == expected, "which batches passed untouched: {passed:?}, and not {expected:?}");
    Ok(())
}
