//! `kafka-bridge verify` and `positions translate` where records went to the dead letters: each that is wrong there is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::plant::{new_record, replant};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient, Rec};
use serde_json::Value;
use tempfile::TempDir;

use super::events::{Poison, SCHEMA, event};
use super::judge::{Poisoned, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, LINK, Schemas, TOPIC, config};
use crate::trial;

/// The partition that is left as it is, and one for each difference.
const PARTITIONS: i32 = 5;
const RECORDS: i64 = 400;
/// One record in so many is poison.
const POISONED: i64 = 7;
/// The poison that something is done to.
const AT: i64 = 147;
const SEED: u64 = 20_261_128;
const OFFSETS: usize = 200;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "verify_names_what_is_wrong_with_a_dead_letter", names_each),
        trial("validation", "verify_and_proofs_of_a_mapped_topic", mapped),
        trial("validation", "translates_offsets_of_a_poisoned_topic", translates),
    ]
}

/// A poisoned topic, copied.
pub(super) struct Copied {
    pub(super) source: EmbeddedCluster,
    pub(super) target: EmbeddedCluster,
    _schemas: Schemas,
    _folder: TempDir,
    pub(super) file: PathBuf,
    pub(super) poisoned: Poisoned,
    /// Of the schema.
    pub(super) id: i32,
}

impl Copied {
    /// Records that are copied, and dead letters.
    pub(super) fn counts(&self) -> (usize, usize) {
        ((RECORDS * i64::from(PARTITIONS)) as usize - self.poisoned.len(), self.poisoned.len())
    }
}

fn is_poison(number: i64) -> bool {
    number % POISONED == 0
}

/// `letters`: partitions of the dead letters' topic, where somebody has made it before.
pub(super) fn copied(letters: Option<i32>) -> Result<Copied> {
    let cluster = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
    let (source, target) = (cluster()?, cluster()?);
    let (schemas, folder) = (Schemas::start()?, tempfile::tempdir()?);
    let id = schemas.register("events-value", SCHEMA)?;
    let (mut at_source, mut at_target) = (source.client(), target.client());
    at_source.create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    if let Some(count) = letters {
        at_target.create_topic(DEAD_LETTERS, count, 1, &[("retention.ms", "-1")])?;
    }
    let mut poisoned = Poisoned::new();
    let mut producer = at_source.producer(Some("writer"))?;
    for partition in 0..PARTITIONS {
        for (first, codec) in (0..RECORDS).step_by(20).zip(Codec::ALL.into_iter().cycle()) {
            let of = |it: i64| event(id, it, is_poison(it).then_some(Poison::Symbol));
            let records: Vec<_> = (first..first + 20).map(of).collect();
            if first % 60 == 0 {
                // Aborted records and markers make the two ends' offsets differ; poison among them is nobody's.
                producer.send(&mut at_source, TOPIC, partition, codec, records.clone())?;
                producer.abort(&mut at_source)?;
            }
            at_source.write(TOPIC, partition, codec, records)?;
        }
        // A marker comes after the answer to its request: until then, what is behind it would not be read.
        at_source.quiet(&[TOPIC.to_owned()])?;
        for record in at_source.read(TOPIC, partition, Isolation::ReadCommitted)? {
            if is_poison(record.timestamp - super::events::TIME_MS) {
                poisoned.insert((TOPIC.to_owned(), partition, record.offset), "enum_index");
            }
        }
    }
    let file = config((source.end(), target.end()), &schemas, "").write(folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    until_judged((&mut at_source, &mut at_target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(Copied { source, target, _schemas: schemas, _folder: folder, file, poisoned, id })
}

/// Exit code and report.
pub(super) fn verify(file: &Path, more: &[&str]) -> Result<(i32, Value)> {
    let folder = file.parent().context("a config is in a folder")?;
    let name = file.to_string_lossy();
    let done = Finished::run(folder, &[&["verify", "--json", "--config", &name], more].concat(), LIMIT)?;
    let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
    Ok((done.code, report))
}

/// Clean, with this many records and dead letters.
pub(super) fn is_clean(file: &Path, more: &[&str], records: usize, dead_lettered: usize) -> Result<()> {
    let (code, report) = verify(file, more)?;
    let total = &report["total"];
    let found = (total["records"].as_u64(), total["dead_lettered"].as_u64());
    let expected = (Some(records as u64), Some(dead_lettered as u64));
    ensure!(code == 0 && found == expected, "exit code {code}, not {expected:?}: {report:#}");
    Ok(())
}

fn source_offset(source: &mut RawClient, partition: i32) -> Result<i64> {
    let records = source.read(TOPIC, partition, Isolation::ReadCommitted)?;
    let wanted = super::events::TIME_MS + AT;
    Ok(records.iter().find(|it| it.timestamp == wanted).context("no such record")?.offset)
}

/// A record's dead letter, with the partition it stands in.
fn letter_of(target: &mut RawClient, partition: i32, offset: i64) -> Result<(i32, Rec)> {
    let (partition, offset) = (partition.to_string(), offset.to_string());
    let says = |it: &Rec, name: &str, text: &str| {
        it.headers.iter().any(|it| it.0 == name.as_bytes() && it.1.as_deref() == Some(text.as_bytes()))
    };
    for number in 0..target.partition_count(DEAD_LETTERS)? {
        for record in target.read(DEAD_LETTERS, number, Isolation::ReadCommitted)? {
            if says(&record, "dead-letter.partition", &partition) && says(&record, "dead-letter.offset", &offset) {
                return Ok((number, record));
            }
        }
    }
    anyhow::bail!("no dead letter of {partition} at {offset}")
}

/// The dead letters written anew, as somebody else would have left them.
fn rewritten(target: &mut RawClient, mut edit: impl FnMut(i32, &mut Vec<NewRecord>) -> Result<()>) -> Result<()> {
    let mut all = Vec::new();
    for partition in 0..target.partition_count(DEAD_LETTERS)? {
        let records = target.read(DEAD_LETTERS, partition, Isolation::ReadCommitted)?;
        let mut records: Vec<_> = records.iter().map(new_record).collect();
        edit(partition, &mut records)?;
        all.push(records);
    }
    target.delete_topic(DEAD_LETTERS)?;
    target.create_topic(DEAD_LETTERS, i32::try_from(all.len())?, 1, &[("retention.ms", "-1")])?;
    for (partition, records) in (0..).zip(all) {
        for records in records.chunks(7) {
            target.write(DEAD_LETTERS, partition, Codec::Lz4, records.to_vec())?;
        }
    }
    Ok(())
}

/// Partition, kind, the source's offset, and whether a dead letter is named.
type Named = BTreeSet<(i64, String, i64, bool)>;

fn named(report: &Value) -> Result<Named> {
    let mut named = Named::new();
    for partition in report["partitions"].as_array().context("no partitions")? {
        for it in partition["differences"].as_array().context("no differences")? {
            named.insert((
                partition["partition"].as_i64().context("no number")?,
                it["kind"].as_str().context("no kind")?.to_owned(),
                it["source_offset"].as_i64().context("no offset")?,
                it["dead_letter"].is_string(),
            ));
        }
    }
    Ok(named)
}

fn names_each() -> Result<()> {
    let scene = copied(None)?;
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    let (records, dead) = scene.counts();
    is_clean(&scene.file, &[], records, dead)?;
    is_clean(&scene.file, &["--record"], records, dead)?;
    is_clean(&scene.file, &["--since-last"], 0, 0)?;

    let mut offsets = Vec::new();
    let mut letters = Vec::new();
    for partition in 0..PARTITIONS {
        let offset = source_offset(&mut source, partition)?;
        offsets.push(offset);
        letters.push(letter_of(&mut target, partition, offset)?);
    }
    // Of a record that is copied too: where it stands at the source, at the target as well.
    replant(&mut target, LINK, TOPIC, |partition, copy| {
        if partition == 4 {
            let (_, letter) = &letters[4];
            let count = letter.headers.iter().position(|it| it.0.starts_with(b"dead-letter.")).unwrap_or(0);
            let mut record = new_record(letter);
            record.headers.truncate(count);
            let at = copy.iter().position(|it| it.timestamp > record.timestamp).context("nothing comes behind it")?;
            copy.insert(at, record);
        }
        Ok(())
    })?;
    rewritten(&mut target, |partition, all| {
        for (of, (at, letter)) in letters.iter().enumerate().filter(|it| it.1.0 == partition) {
            let wanted = new_record(letter);
            let found = all.iter().position(|it| it.headers == wanted.headers).context("it is not there")?;
            match of {
                1 => drop(all.remove(found)),
                2 => all.push(wanted),
                3 => all[found].value.as_mut().context("no value")?[6] ^= 1,
                _ => {}
            }
            ensure!(*at == partition);
        }
        Ok(())
    })?;
    let expected: Named = [(1, "missing", false), (2, "doubled", true), (3, "altered", true), (4, "doubled", true)]
        .map(|(partition, kind, letter)| (partition, kind.to_owned(), offsets[partition as usize], letter))
        .into();
    let (code, report) = verify(&scene.file, &[])?;
    ensure!(code == 1 && named(&report)? == expected, "exit code {code}: {report:#}");
    ensure!(report["partitions"][0]["differences"] == serde_json::json!([]), "{report:#}");
    Ok(())
}

fn mapped() -> Result<()> {
    let cluster = || EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) });
    let (source, target) = (cluster()?, cluster()?);
    let (schemas, at_target, folder) = (Schemas::start()?, Schemas::start()?, tempfile::tempdir()?);
    at_target.register("something-else", "\"int\"")?;
    let id = schemas.register("events-value", SCHEMA)?;
    source.client().create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let mut config = config((source.end(), target.end()), &schemas, "schema_ids = \"map\"\n");
    config.target.extra += &at_target.lines();
    let file = config.write(folder.path(), "bridge")?;
    let records = (0..100).map(|it| event(id, it, is_poison(it).then_some(Poison::Cut)));
    let records: Vec<_> = records.collect();
    source.client().write(TOPIC, 0, Codec::Lz4, records)?;
    let mut bridge = Bridge::run(&file)?;
    let start = std::time::Instant::now();
    while target.client().read(TOPIC, 0, Isolation::ReadCommitted).map_or(0, |it| it.len()) < 85 {
        ensure!(start.elapsed() < LIMIT, "not all is copied:\n{}", bridge.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    is_clean(&file, &[], 85, 15)?;
    is_clean(&file, &["--record"], 85, 15)?;
    // Any other byte counts.
    replant(&mut target.client(), LINK, TOPIC, |_, copy| {
        copy[30].value.as_mut().context("no value")?[7] ^= 1;
        Ok(())
    })?;
    let (code, report) = verify(&file, &[])?;
    let found = &report["partitions"][0]["differences"];
    ensure!(code == 1 && found.as_array().is_some_and(|it| it.len() == 1), "exit code {code}: {report:#}");
    ensure!(found[0]["kind"] == "altered" && found[0]["target_offset"] == 30, "{found:#}");
    Ok(())
}

fn translates() -> Result<()> {
    translates_exactly(&copied(None)?, &BTreeSet::new())
}

/// What a reader reads next at the target is the copy of what it would read next at the source, of what is copied.
/// `replayed`: places at the target that hold no copies.
pub(super) fn translates_exactly(scene: &Copied, replayed: &BTreeSet<(i32, i64)>) -> Result<()> {
    let (mut source, mut target) = (scene.source.client(), scene.target.client());
    let mut random = fastrand::Rng::with_seed(SEED);
    let folder = scene.file.parent().context("a config is in a folder")?;
    let name = scene.file.to_string_lossy();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for partition in 0..PARTITIONS {
        let records = source.read(TOPIC, partition, Isolation::ReadCommitted)?;
        let is_copied = |it: &Rec| !scene.poisoned.contains_key(&(TOPIC.to_owned(), partition, it.offset));
        let end = source.offsets(TOPIC, partition)?.last_stable;
        ours.push((records.into_iter().filter(is_copied).collect::<Vec<_>>(), end));
        let mut copies = target.read(TOPIC, partition, Isolation::ReadCommitted)?;
        copies.retain(|it| !replayed.contains(&(partition, it.offset)));
        theirs.push(copies);
    }
    for number in 0..OFFSETS / PARTITIONS as usize {
        let (group, mut wanted) = (format!("group-{number}"), Vec::new());
        for (partition, (_, end)) in (0..).zip(&ours) {
            let offset = if number == 0 { *end } else { random.i64(0..=*end) };
            source.set_group_offset(&group, TOPIC, partition, offset)?;
            wanted.push(offset);
        }
        let arguments = ["positions", "translate", "--group", &group, "--apply", "--json", "--config", &name];
        let done = Finished::run(folder, &arguments, LIMIT)?;
        ensure!(done.code == 0, "{done:?}");
        for (partition, offset) in (0..).zip(wanted) {
            let translated = target.group_offset(&group, TOPIC, partition)?.context("nothing was committed")?;
            let next =
                |records: &[Rec], offset: i64| records.iter().find(|it| it.offset >= offset).map(|it| it.timestamp);
            let (expected, found) =
                (next(&ours[partition as usize].0, offset), next(&theirs[partition as usize], translated));
            ensure!(expected == found, "{partition}: {offset} became {translated}: {found:?}, not {expected:?}");
        }
    }
    Ok(())
}
