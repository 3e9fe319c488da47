//! One suite, two targets: what the embedded cluster answers is what Kafka answers.
//!
//! Each part asks a cluster questions through the tests' own client and notes the answers. The notes of the embedded cluster
//! must equal the recorded ones line by line, without Java; the real trials prove that the recorded ones are Kafka's. To
//! record them anew, run a real trial with `KAFKA_BRIDGE_RECORD=1`.

mod admin;
mod groups;
mod idempotence;
mod lookups;
mod mover;
mod moves;
mod offsets;
mod probe;
mod produce;
mod requests;
mod transactions;
mod transactions_v2;

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use mover::{Cluster, Mover};
use probe::Probe;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::{KafkaCluster, Spec};

use crate::{real, trial};

const RECORD: &str = "KAFKA_BRIDGE_RECORD";
/// Enough to see what is wrong, little enough to read.
const DIFFERENCES_SHOWN: usize = 20;
const REAP_INTERVAL_MS: i64 = 200;

type Part = (&'static str, fn(&mut Probe) -> Result<()>);

const PARTS: [Part; 8] = [
    ("admin", admin::ask),
    ("groups", groups::ask),
    ("idempotence", idempotence::ask),
    ("lookups", lookups::ask),
    ("offsets", offsets::ask),
    ("produce", produce::ask),
    ("transactions", transactions::ask),
    ("transactions_v2", transactions_v2::ask),
];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        real("conformance", "kafka_4_4_0", &["4.4.0"], || against_kafka(Spec::kraft("4.4.0"), "4.4.0")),
        real("conformance", "kafka_4_4_0_moves", &[MOVES_VERSION], moves_on_kafka),
        trial("conformance", "embedded_like_4_4_0_moves", || {
            let notes = moves_of(Cluster::Embedded(EmbeddedCluster::start(Settings::nodes(3))?))?;
            compare("moves", &recorded(MOVES_VERSION, "moves")?, &notes)
        }),
        real("conformance", "kafka_3_9_2", &["3.9.2"], || against_kafka(Spec::kraft("3.9.2"), "3.9.2")),
        trial("conformance", "a_different_answer_is_seen", || {
            let notes = vec!["a: 1".to_owned(), "b: 2".to_owned()];
            ensure!(compare("self", &notes, &notes).is_ok(), "equal notes differ");
            ensure!(compare("self", &notes, &["a: 1".to_owned(), "b: 3".to_owned()]).is_err(), "a difference passed");
            ensure!(compare("self", &notes, &notes[..1]).is_err(), "a missing answer passed");
            Ok(())
        }),
    ];
    for version in ["4.4.0", "3.9.2"] {
        for (name, ask) in PARTS {
            let case = format!("embedded_like_{}_{name}", version.replace('.', "_"));
            trials.push(trial("conformance", &case, move || embedded(version, name, ask)));
        }
    }
    trials
}

fn settings(version: &str) -> Settings {
    let settings = Settings { reap_interval_ms: REAP_INTERVAL_MS, upkeep_interval_ms: None, ..Settings::nodes(1) };
    if version.starts_with('3') { settings.like_3_9() } else { settings }
}

fn embedded(version: &str, name: &str, ask: fn(&mut Probe) -> Result<()>) -> Result<()> {
    let cluster = EmbeddedCluster::start(settings(version))?;
    let notes = Probe::run(cluster.plaintext_bootstrap(), version, ask)?;
    compare(name, &recorded(version, name)?, &notes)
}

fn against_kafka(spec: Spec, version: &str) -> Result<()> {
    let interval = REAP_INTERVAL_MS.to_string();
    let spec = spec
        .property("transaction.abort.timed.out.transaction.cleanup.interval.ms", &interval)
        .property("log.retention.check.interval.ms", "3600000");
    let cluster = KafkaCluster::start(spec)?;
    let mut wrong = vec![];
    for (name, ask) in PARTS {
        let notes = Probe::run(cluster.plaintext_bootstrap(), version, ask).with_context(|| name.to_owned())?;
        if env::var_os(RECORD).is_some() {
            fs::write(file(version, name), notes.join("\n") + "\n")?;
        }
        if let Err(error) = compare(name, &recorded(version, name)?, &notes) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "Kafka {version} does not answer as recorded:\n{}", wrong.join("\n"));
    Ok(())
}

/// Leaders move on three nodes, which one release is enough for.
const MOVES_VERSION: &str = "4.4.0";

fn moves_of(cluster: Cluster) -> Result<Vec<String>> {
    let mut mover = Mover::new(cluster);
    Probe::run(mover.bootstrap(), MOVES_VERSION, |probe| moves::ask(probe, &mut mover))
}

fn moves_on_kafka() -> Result<()> {
    // Leaders move when the trial says so.
    let spec = Spec::kraft(MOVES_VERSION).nodes(3).property("auto.leader.rebalance.enable", "false");
    let notes = moves_of(Cluster::Kafka(KafkaCluster::start(spec)?))?;
    if env::var_os(RECORD).is_some() {
        fs::write(file(MOVES_VERSION, "moves"), notes.join("\n") + "\n")?;
    }
    compare("moves", &recorded(MOVES_VERSION, "moves")?, &notes)
}

fn file(version: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/conformance/{version}/{name}.txt"))
}

fn recorded(version: &str, name: &str) -> Result<Vec<String>> {
    let path = file(version, name);
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn compare(name: &str, kafka: &[String], found: &[String]) -> Result<()> {
    let differs = |index: &usize| kafka.get(*index) != found.get(*index);
    let lines: Vec<String> = (0..kafka.len().max(found.len()))
        .filter(differs)
        .take(DIFFERENCES_SHOWN)
        .map(|index| {
            let line = |notes: &[String]| notes.get(index).cloned().unwrap_or_else(|| "nothing".to_owned());
            format!("  Kafka  {}\n  here   {}", line(kafka), line(found))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    bail!("{name}: {} answers differ\n{}", lines.len(), lines.join("\n"))
}
