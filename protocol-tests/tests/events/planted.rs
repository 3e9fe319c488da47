//! One event that is lost, doubled, swapped or damaged: named as what it is, where it is.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::plant::new_record;
use protocol_tests::raw::{Codec, Isolation, NewRecord};
use serde_json::Value;

use super::{Stage, TOPIC, schema};
use crate::trial;

const EVENTS: u64 = 100;
const AT: usize = 40;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("events", "each_planted_difference_is_named", differences),
        trial("events", "invalid_events_are_named_by_kind", poison),
    ]
}

/// A topic's name, what the reading says of it, and what is done to its records.
type Planted = (&'static str, &'static [(&'static str, u64)], fn(&mut Vec<NewRecord>));

fn differences() -> Result<()> {
    let changes: [Planted; 6] = [
        ("lost", &[("lost", AT as u64)], |it| drop(it.remove(AT))),
        ("doubled", &[("doubled", AT as u64 + 1)], |it| it.insert(AT + 1, it[AT].clone())),
        ("swapped", &[("reordered", AT as u64 + 1)], |it| it.swap(AT, AT + 1)),
        ("cut", &[("truncated", AT as u64)], |it| it[AT].value.iter_mut().for_each(|it| it.truncate(20))),
        ("first", &[("lost", 0)], |it| drop(it.remove(0))),
        ("whole", &[], |_| {}),
    ];
    let stage = Stage::without_registry()?;
    let (order, count) = (schema("order.avsc"), EVENTS.to_string());
    let mut client = stage.source.client();
    for (name, expected, change) in changes {
        client.create_topic(name, 1, 1, &[("retention.ms", "-1")])?;
        client.create_topic(&format!("{name}-planted"), 1, 1, &[("retention.ms", "-1")])?;
        let run = |command: &str, topic: &str, more: &[&str]| {
            let file = stage.file.to_string_lossy();
            let all = [
                &[command, "--config", &file, "--end", "source", "--schema", &order, "--topic", topic, "--json"],
                more,
            ];
            protocol_tests::command::Finished::run(stage.folder.path(), &all.concat(), super::LIMIT)
        };
        let done = run("produce", name, &["--generate", "--count", &count])?;
        ensure!(done.code == 0, "{done:?}");
        let mut records: Vec<_> = client.read(name, 0, Isolation::ReadCommitted)?.iter().map(new_record).collect();
        change(&mut records);
        client.write(&format!("{name}-planted"), 0, Codec::Lz4, records)?;
        let (code, report) = super::report(run("consume", &format!("{name}-planted"), &["--quiet"])?)?;
        let named = named(&report)?;
        let expected: Vec<_> = expected.iter().map(|(kind, at)| ((*kind).to_owned(), *at)).collect();
        ensure!(named == expected, "{name}: {report:#}");
        ensure!(code == i32::from(!expected.is_empty()), "{name}: exit code {code}");
        let lost = u64::from(name == "lost" || name == "first");
        ensure!(report["lost"] == lost, "{name}: what comes late is not lost: {report:#}");
    }
    Ok(())
}

fn named(report: &Value) -> Result<Vec<(String, u64)>> {
    let of = |it: &Value| {
        let kind = it["kind"].as_str().context("no kind")?.to_owned();
        Ok((kind, it["offset"].as_u64().context("no offset")?))
    };
    report["problems"].as_array().context("no problems")?.iter().map(of).collect()
}

fn poison() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let more = ["--schema", &order, "--generate", "--count", "2000", "--poison", "0.2", "--seed", "7"];
    let (code, written) = stage.produce(&more, "")?;
    ensure!(code == 0, "exit code {code}: {written:#}");
    let planted = |kind: &str| written["poison"][kind].as_u64().unwrap_or(0);
    for kind in ["truncated", "trailing_bytes", "empty", "json", "magic", "unknown_schema"] {
        ensure!(planted(kind) > 0, "no {kind}: {written:#}");
    }
    let (code, report) = stage.consume(&[])?;
    let found = |kind: &str| report["invalid"][kind].as_u64().unwrap_or(0);
    ensure!(code == 1 && report["lost"] == 0 && report["events"] == 2_000, "exit code {code}: {report:#}");
    ensure!(found("framing_too_short") == planted("empty"), "{report:#}");
    ensure!(found("framing_magic") == planted("json") + planted("magic"), "{report:#}");
    ensure!(found("unknown_schema") == planted("unknown_schema"), "{report:#}");
    ensure!(found("trailing_bytes") == planted("trailing_bytes"), "{report:#}");
    let all: u64 = written["poison"].as_object().context("no kinds")?.values().filter_map(Value::as_u64).sum();
    let invalid: u64 = report["invalid"].as_object().context("no kinds")?.values().filter_map(Value::as_u64).sum();
    ensure!(all == invalid && report["unnumbered"] == all, "{all} were made invalid: {report:#}");
    // An unknown id is asked for once.
    let server = stage.registry.server();
    ensure!(server.requests(&format!("/schemas/ids/{}", i32::MAX)) == 1, "{TOPIC}");
    Ok(())
}
