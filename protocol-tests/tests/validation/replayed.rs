//! `kafka-bridge dead-letters replay`: what passes now comes to where it belongs, once, and everybody who compares knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::plant::{new_record, reword};
use protocol_tests::raw::{Codec, Isolation, RawClient, Rec};
use serde_json::{Value, json};

use super::events::{Poison, RULES, SCHEMA, TIME_MS, event};
use super::judge::{Poisoned, until_judged};
use super::poison::{DEAD_LETTERS, LIMIT, LINK, Schemas, TOPIC, config};
use super::verified::{Copied, copied, translates_exactly, verify};
use crate::trial;

/// What `RULES` refuses passes by these.
pub(super) const MENDED: &str = "rules = [{ field = \"quantity\", min = 1, max = 1000 }]\n";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("validation", "letters_that_pass_mended_rules_are_replayed_once", mended),
        trial("validation", "corrected_letters_are_replayed_and_everybody_knows_them", corrected),
        trial("validation", "mapped_letters_are_replayed_with_the_ids_of_the_target", mapped),
        trial("validation", "letters_are_held_where_a_replay_would_do_harm", held),
    ]
}

pub(super) fn command(file: &Path, arguments: &[&str], input: &str) -> Result<Finished> {
    let folder = file.parent().context("a config is in a folder")?;
    let name = file.to_string_lossy();
    Finished::fed(folder, &[&["dead-letters"], arguments, &["--config", &name]].concat(), input, LIMIT)
}

/// Exit code and report.
pub(super) fn replay(file: &Path, arguments: &[&str], input: &str) -> Result<(i32, Value)> {
    let done = command(file, &[&["replay", "--json"], arguments].concat(), input)?;
    let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
    Ok((done.code, report))
}

/// Clean, with this many records that were copied, that are in the dead letters, and of these that were replayed.
pub(super) fn is_clean(file: &Path, more: &[&str], expected: [usize; 3]) -> Result<()> {
    let (code, report) = verify(file, more)?;
    let total = &report["total"];
    let found = ["records", "dead_lettered", "replayed"].map(|it| total[it].as_u64().unwrap_or(u64::MAX) as usize);
    ensure!(code == 0 && found == expected, "exit code {code}, {found:?}, not {expected:?}: {report:#}");
    Ok(())
}

type Contents = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn contents(it: &Rec) -> Contents {
    (it.timestamp, it.key.clone(), it.value.clone(), it.headers.clone())
}

fn all(client: &mut RawClient, topic: &str) -> Result<BTreeMap<(i32, i64), Rec>> {
    let mut found = BTreeMap::new();
    for partition in 0..client.partition_count(topic)? {
        let records = client.read(topic, partition, Isolation::ReadCommitted)?;
        found.extend(records.into_iter().map(|it| ((partition, it.offset), it)));
    }
    Ok(found)
}

/// Of the rows of a report with this outcome: where each stands at the source, and at the target.
fn moved(report: &Value, outcome: &str) -> Result<BTreeMap<(i32, i64), (i32, i64)>> {
    let rows = report["letters"].as_array().context("no letters")?.iter().filter(|it| it["outcome"] == outcome);
    let number = |it: &Value| it.as_i64().context("no number");
    let place = |partition: &Value, offset: &Value| -> Result<(i32, i64)> {
        Ok((i32::try_from(number(partition)?)?, number(offset)?))
    };
    rows.map(|it| {
        let to = &it["to"];
        Ok((place(&it["partition"], &it["offset"])?, place(&to["target_partition"], &to["target_offset"])?))
    })
    .collect()
}

fn cluster() -> Result<EmbeddedCluster> {
    EmbeddedCluster::start(Settings { upkeep_interval_ms: None, ..Settings::nodes(1) })
}

/// A good one, one that a rule refuses, one that is no event.
fn kind(number: i64) -> Option<Poison> {
    match number {
        it if it % 5 == 0 => Some(Poison::Quantity),
        it if it % 7 == 0 => Some(Poison::Symbol),
        _ => None,
    }
}

fn mended() -> Result<()> {
    const RECORDS: i64 = 210;
    let (source, target) = (cluster()?, cluster()?);
    let (schemas, folder) = (Schemas::start()?, tempfile::tempdir()?);
    let id = schemas.register("events-value", SCHEMA)?;
    let (mut at_source, mut at_target) = (source.client(), target.client());
    at_source.create_topic(TOPIC, 2, 1, &[("retention.ms", "-1")])?;
    let mut poisoned = Poisoned::new();
    for partition in 0..2 {
        at_source.write(TOPIC, partition, Codec::Lz4, (0..RECORDS).map(|it| event(id, it, kind(it))).collect())?;
        for (number, kind) in (0..RECORDS).filter_map(|it| Some((it, kind(it)?))) {
            let reason = if kind == Poison::Quantity { "rule_range" } else { "enum_index" };
            poisoned.insert((TOPIC.to_owned(), partition, number), reason);
        }
    }
    let of = |reason: &str| poisoned.values().filter(|it| **it == reason).count();
    let (ranges, symbols) = (of("rule_range"), of("enum_index"));
    let ends = || (source.end(), target.end());
    let strict = config(ends(), &schemas, RULES).write(folder.path(), "strict")?;
    let mut bridge = Bridge::run(&strict)?;
    until_judged((&mut at_source, &mut at_target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let before = all(&mut at_target, TOPIC)?;
    let copied = before.len();

    let unselected = command(&strict, &["replay"], "")?;
    ensure!(unselected.code == 2 && unselected.stderr.contains("--all"), "{unselected:?}");
    let (code, report) = replay(&strict, &["--all"], "")?;
    ensure!(code == 1 && report["invalid"] == ranges + symbols && report["replayed"] == 0, "{report:#}");
    ensure!(report["by_reason"] == json!({ "rule_range": ranges, "enum_index": symbols }), "{report:#}");
    let mild = config(ends(), &schemas, MENDED).write(folder.path(), "mild")?;
    let (code, report) = replay(&mild, &["--all", "--dry-run"], "")?;
    ensure!(code == 1 && report["would_be_replayed"] == ranges && report["invalid"] == symbols, "{report:#}");
    ensure!(all(&mut at_target, TOPIC)?.len() == copied, "a dry run has written something");
    let (code, report) = replay(&mild, &["999-0", "0-999999"], "")?;
    ensure!(code == 1 && report["missing"] == json!(["0-999999", "999-0"]), "{report:#}");

    // By id, by partition, then what is left.
    let letters =
        serde_json::from_str::<Value>(&command(&mild, &["list", "--json", "--reason", "rule_range"], "")?.stdout)?;
    let first = letters["letters"][0]["id"].as_str().context("no id")?.to_owned();
    let (code, report) = replay(&mild, &[&first], "")?;
    ensure!(code == 0 && report["selected"] == 1 && report["replayed"] == 1, "{report:#}");
    let mut places = moved(&report, "replayed")?;
    let (code, report) = replay(&mild, &["--topic", TOPIC, "--partition", "1", "--reason", "rule_range"], "")?;
    ensure!(code == 0 && report["selected"] == ranges / 2, "{report:#}");
    places.extend(moved(&report, "replayed")?);
    let (code, report) = replay(&mild, &["--reason", "rule_range"], "")?;
    ensure!(code == 0 && report["already_replayed"] == places.len(), "{report:#}");
    places.extend(moved(&report, "replayed")?);
    ensure!(places.len() == ranges, "{} of {ranges} were replayed", places.len());
    let (code, report) = replay(&mild, &["--all"], "")?;
    ensure!(code == 1 && report["already_replayed"] == ranges && report["replayed"] == 0, "{report:#}");

    let (at, there) = (all(&mut at_source, TOPIC)?, all(&mut at_target, TOPIC)?);
    ensure!(there.len() == copied + ranges, "{} records, not {}", there.len(), copied + ranges);
    for (from, to) in &places {
        ensure!(from.0 == to.0 && contents(&at[from]) == contents(&there[to]), "{from:?} is not what is at {to:?}");
        ensure!(!before.contains_key(to), "{to:?} was there before");
    }
    let listed = serde_json::from_str::<Value>(&command(&mild, &["list", "--json"], "")?.stdout)?;
    ensure!(listed["replayed"] == ranges && listed["total"] == ranges + symbols, "{listed:#}");
    let shown = command(&mild, &["show", &first], "")?.stdout;
    ensure!(shown.contains("replayed   to events-"), "{shown}");
    is_clean(&mild, &[], [copied, ranges + symbols, ranges])?;
    target.client().no_transaction_hangs(&[TOPIC.to_owned(), format!("{LINK}.ledger")])?;

    // A bridge goes on behind them, and reads the ledger that holds them.
    let more: Vec<_> = (RECORDS..RECORDS + 40).map(|it| event(id, it, kind(it))).collect();
    let passed = (RECORDS..RECORDS + 40).filter(|it| kind(*it) != Some(Poison::Symbol)).count();
    at_source.write(TOPIC, 0, Codec::None, more)?;
    let mut bridge = Bridge::run(&mild)?;
    let start = std::time::Instant::now();
    while at_target.read(TOPIC, 0, Isolation::ReadCommitted)?.len()
        + at_target.read(TOPIC, 1, Isolation::ReadCommitted)?.len()
        < there.len() + passed
    {
        ensure!(start.elapsed() < LIMIT, "not all is copied:\n{}", bridge.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    is_clean(&mild, &[], [copied + passed, ranges + symbols + 40 - passed, ranges])
}

/// A line that makes a good event of the poison at `AT` and everywhere else.
fn correction(id: &str, number: i64) -> String {
    let value = json!({ "number": number, "name": format!("mended {number}"), "kind": "GOOD", "note": null, "urgent": true,
        "quantity": 5 });
    format!("{}\n", json!({ "id": id, "value": value }))
}

/// Of every letter.
fn corrections(file: &Path) -> Result<(String, usize)> {
    let listed = serde_json::from_str::<Value>(&command(file, &["list", "--json", "--count", "10000"], "")?.stdout)?;
    let letters = listed["letters"].as_array().context("no letters")?;
    let line = |it: &Value| Some(correction(it["id"].as_str()?, it["offset"].as_i64()?));
    let lines: Vec<_> = letters.iter().map(|it| line(it).context("no letter")).collect::<Result<_>>()?;
    Ok((lines.concat(), lines.len()))
}

fn corrected() -> Result<()> {
    let scene = copied(None)?;
    let (records, dead) = scene.counts();
    let mut target = scene.target.client();
    let before = all(&mut target, TOPIC)?;
    let (lines, count) = corrections(&scene.file)?;
    ensure!(count == dead, "{count} of {dead}");

    // A wrong line is told before anything is written.
    let wrong = lines.replacen("\"quantity\":5", "\"quantity\":\"five\"", 3);
    let (first, rest) = wrong.split_once('\n').context("one line")?;
    let wrong = format!("{}\n{rest}", first.replace("\"five\"", "5"));
    let done = command(&scene.file, &["replay", "--corrected", "-"], &wrong)?;
    ensure!(
        done.code == 1 && done.stderr.contains("line 2 letter ") && done.stderr.contains("value.quantity"),
        "{done:?}"
    );
    ensure!(all(&mut target, TOPIC)?.len() == before.len(), "something was written");

    let file = scene.file.with_file_name("mended.jsonl");
    std::fs::write(&file, &lines)?;
    let (code, report) = replay(&scene.file, &["--corrected", &file.to_string_lossy()], "")?;
    ensure!(code == 0 && report["replayed"] == dead && report["corrected"] == dead, "exit code {code}: {report:#}");
    let places = moved(&report, "replayed")?;
    let (at, there) = (all(&mut scene.source.client(), TOPIC)?, all(&mut target, TOPIC)?);
    for (from, to) in &places {
        let (ours, theirs) = (contents(&at[from]), contents(&there[to]));
        ensure!((ours.0, &ours.1, &ours.3) == (theirs.0, &theirs.1, &theirs.3), "{from:?}: key, headers or timestamp");
        let value = theirs.2.context("no value")?;
        ensure!(value[..5] == [&[0][..], &scene.id.to_be_bytes()].concat(), "{from:?}: not the schema that it names");
        ensure!(value.windows(7).any(|it| it == b"mended "), "{from:?} is not corrected");
    }
    let (code, report) = replay(&scene.file, &["--corrected", "-"], &lines)?;
    ensure!(code == 0 && report["already_replayed"] == dead && report["replayed"] == 0, "{report:#}");
    is_clean(&scene.file, &[], [records, dead, dead])?;
    is_clean(&scene.file, &["--record"], [records, dead, dead])?;
    is_clean(&scene.file, &["--since-last"], [0, 0, 0])?;
    let replayed: BTreeSet<_> = places.values().copied().collect();
    translates_exactly(&scene, &replayed)?;
    told(&scene, &places, records, dead)
}

/// Of what is wrong with replayed records, each is named.
fn told(scene: &Copied, places: &BTreeMap<(i32, i64), (i32, i64)>, records: usize, dead: usize) -> Result<()> {
    let mut target = scene.target.client();
    let named = |report: &Value| -> Vec<(Value, Value, bool)> {
        let partitions = report["partitions"].as_array().into_iter().flatten();
        let all = partitions.flat_map(|it| it["differences"].as_array().into_iter().flatten());
        all.map(|it| (it["kind"].clone(), it["source_offset"].clone(), it["dead_letter"].is_string())).collect()
    };
    let (from, to) = places.iter().next().context("nothing was replayed")?;
    let record = all(&mut target, TOPIC)?.remove(to).context("it is not there")?;
    // The ledger does not name it any more: it is another record then, that nobody copied.
    let mut taken = None;
    reword(&mut target, LINK, TOPIC, |key, value| {
        let is_it = key["kind"] == "delivered" && key["partition"] == from.0 && key["offset"] == from.1;
        if is_it {
            taken = Some(value);
            return None;
        }
        Some(value)
    })?;
    let taken = taken.context("the ledger does not name it")?;
    let (code, report) = verify(&scene.file, &[])?;
    let found = named(&report);
    ensure!(code == 1 && found.len() == 1 && found[0].0 == "phantom", "exit code {code}: {report:#}");
    ensure!(report["total"]["replayed"] == dead - 1 && report["total"]["records"] == records, "{report:#}");
    // It names a place where something else is.
    let put_back = |target: &mut RawClient, value: &Value| -> Result<()> {
        let mut keys = Vec::new();
        for lane in 0..target.partition_count(&format!("{LINK}.ledger"))? {
            for it in target.read(&format!("{LINK}.ledger"), lane, Isolation::ReadCommitted)? {
                let key: Value = serde_json::from_slice(it.key.as_deref().unwrap_or_default())?;
                if key["kind"] == "delivered" && key["partition"] == from.0 && key["offset"] == from.1 {
                    keys.push((lane, it.key.clone()));
                }
            }
        }
        let (lane, key) = keys.pop().context("no such key")?;
        let mut restored = new_record(&record);
        (restored.key, restored.value, restored.headers) = (key, Some(serde_json::to_vec(value)?), Vec::new());
        target.write(&format!("{LINK}.ledger"), lane, Codec::None, vec![restored])?;
        Ok(())
    };
    let mut elsewhere = taken.clone();
    elsewhere["sha256"] = json!("0".repeat(64));
    put_back(&mut target, &elsewhere)?;
    let (code, report) = verify(&scene.file, &[])?;
    ensure!(code == 1 && named(&report) == [(json!("altered"), json!(from.1), true)], "exit code {code}: {report:#}");
    put_back(&mut target, &taken)?;
    let is_clean_again = is_clean(&scene.file, &[], [records, dead, dead]);
    is_clean_again.context("put back as it was")?;
    // Once more, as nobody replayed it.
    target.write(TOPIC, to.0, Codec::None, vec![new_record(&record)])?;
    let (code, report) = verify(&scene.file, &[])?;
    ensure!(code == 1 && named(&report) == [(json!("doubled"), json!(from.1), true)], "exit code {code}: {report:#}");
    Ok(())
}

fn mapped() -> Result<()> {
    let (source, target) = (cluster()?, cluster()?);
    let (schemas, at_target, folder) = (Schemas::start()?, Schemas::start()?, tempfile::tempdir()?);
    at_target.register("something-else", "\"int\"")?;
    let id = schemas.register("events-value", SCHEMA)?;
    source.client().create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let file = |rules: &str, name: &str| -> Result<PathBuf> {
        let mut config = config((source.end(), target.end()), &schemas, &format!("schema_ids = \"map\"\n{rules}"));
        config.target.extra += &at_target.lines();
        config.write(folder.path(), name)
    };
    let (strict, mild) = (file(RULES, "strict")?, file(MENDED, "mild")?);
    let poison = |it: i64| (it % 10 == 3).then_some(Poison::Quantity);
    source.client().write(TOPIC, 0, Codec::Lz4, (0..100).map(|it| event(id, it, poison(it))).collect())?;
    let mut bridge = Bridge::run(&strict)?;
    let start = std::time::Instant::now();
    while target.client().read(TOPIC, 0, Isolation::ReadCommitted).map_or(0, |it| it.len()) < 90 {
        ensure!(start.elapsed() < LIMIT, "not all is copied:\n{}", bridge.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let (code, report) = replay(&mild, &["--all"], "")?;
    ensure!(code == 0 && report["replayed"] == 10, "{report:#}");
    let there = target.client().read(TOPIC, 0, Isolation::ReadCommitted)?;
    let ids: BTreeSet<_> = there.iter().filter_map(|it| Some(it.value.as_ref()?[1..5].to_vec())).collect();
    ensure!(ids.len() == 1 && !ids.contains(id.to_be_bytes().as_slice()), "{ids:?}");
    is_clean(&mild, &[], [90, 10, 10])
}

/// Of a compacted topic a letter would take newer records away; what the plan does not take any more has no place.
fn held() -> Result<()> {
    let (source, target) = (cluster()?, cluster()?);
    let (schemas, folder) = (Schemas::start()?, tempfile::tempdir()?);
    let id = schemas.register("events-value", SCHEMA)?;
    let (mut at_source, mut at_target) = (source.client(), target.client());
    at_source.create_topic(TOPIC, 1, 1, &[("cleanup.policy", "compact")])?;
    at_source.write(
        TOPIC,
        0,
        Codec::None,
        (0..5).map(|it| event(id, it, (it == 2).then_some(Poison::Quantity))).collect(),
    )?;
    let ends = || (source.end(), target.end());
    let strict = config(ends(), &schemas, RULES).write(folder.path(), "strict")?;
    let poisoned = Poisoned::from([((TOPIC.to_owned(), 0, 2), "rule_range")]);
    let mut bridge = Bridge::run(&strict)?;
    until_judged((&mut at_source, &mut at_target), &[TOPIC], DEAD_LETTERS, &poisoned, LIMIT)
        .with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    let mild = config(ends(), &schemas, MENDED).write(folder.path(), "mild")?;
    let (code, report) = replay(&mild, &["--all"], "")?;
    ensure!(code == 1 && report["held"] == 1 && report["letters"][0]["reason"] == "compacted", "{report:#}");
    let mut other = config(ends(), &schemas, MENDED);
    other.include = vec!["others".to_owned()];
    let other = other.write(folder.path(), "other")?;
    let (code, report) = replay(&other, &["--all", "--into-compacted"], "")?;
    ensure!(code == 1 && report["letters"][0]["reason"] == "not_in_plan", "{report:#}");
    let (code, report) = replay(&mild, &["--all", "--into-compacted"], "")?;
    ensure!(code == 0 && report["replayed"] == 1, "{report:#}");
    let last = at_target.read(TOPIC, 0, Isolation::ReadCommitted)?.pop().context("nothing is there")?;
    ensure!(last.timestamp == TIME_MS + 2, "{}", last.timestamp);
    is_clean(&mild, &[], [4, 1, 1])
}
