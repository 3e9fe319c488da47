//! Bad input, clusters and registries: exit codes and remedies.

use std::fs::OpenOptions;
use std::process::Stdio;

use anyhow::{Result, ensure};
use kafka_bridge::demo::registry::Fault;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::command::Finished;
use protocol_tests::raw::Isolation;

use super::{LIMIT, PARTITIONS, Stage, TOPIC, schema};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("events", "a_wrong_line_is_named_with_its_field", lines),
        trial("events", "each_failure_has_its_exit_code", codes),
        trial("events", "plain_addresses_do", addresses),
        trial("events", "a_full_disk_is_told_and_a_reader_that_leaves_is_not", outputs),
        trial("events", "no_answer_is_lost_to_a_full_disk", answers),
    ]
}

const GOOD: &str = r#"{"name":"Ana","street":"s","city":"c","country":"PT"}"#;

fn lines() -> Result<()> {
    let stage = Stage::without_registry()?;
    let address = schema("address.avsc");
    let mut written = 0;
    for (line, told) in [
        (r#"{"name":7,"street":"s","city":"c","country":"PT"}"#, "line 3: name: 7 is no string"),
        (r#"{"name":"A","street":"s","city":"c","country":"PT","colour":"red"}"#, "line 3: colour: "),
        (r#"{"name":"A","street":"s","country":"PT"}"#, "line 3: city: it is missing"),
        (r#"{"name":"A","street":"s","city":"c","country":"Portugal"}"#, "line 3: country: 8 bytes are not the 2"),
        ("{\"name\":", "line 3: is no JSON"),
    ] {
        let input = format!("{GOOD}\n{GOOD}\n{line}\n{GOOD}\n");
        let done = stage.run("produce", &["--schema", &address, "--json"], &input)?;
        ensure!(done.code == 1 && done.stderr.contains(told), "{line}: {done:?}");
        written += 2;
        let mut client = stage.source.client();
        let all: Result<Vec<_>> =
            (0..PARTITIONS).map(|it| client.read(TOPIC, it, Isolation::ReadUncommitted)).collect();
        let all: usize = all?.iter().map(Vec::len).sum();
        ensure!(all == written, "{line}: {all} are there");
    }
    let done = stage.run("produce", &["--schema", &address, "--key", "postal_code"], &format!("{GOOD}\n"))?;
    ensure!(done.code == 1 && done.stderr.contains("line 1: postal_code: the key must be a string"), "{done:?}");
    Ok(())
}

fn codes() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let good = ["--schema", order.as_str(), "--generate", "--count", "1"];
    let file = stage.file.to_string_lossy().into_owned();
    let run = |arguments: &[&str]| Finished::run(stage.folder.path(), arguments, LIMIT);
    let done = run(&[&["produce", "--config", &file, "--topic", "nowhere"][..], &good].concat())?;
    ensure!(done.code == 2 && done.stderr.contains("there is no topic nowhere"), "{done:?}");
    let done = run(&["consume", "--config", &file, "--end", "source", "--topic", "nowhere"])?;
    ensure!(done.code == 2 && done.stderr.contains("there is no topic nowhere"), "{done:?}");
    let done = stage.run("produce", &["--schema", "nowhere.avsc", "--generate"], "")?;
    ensure!(done.code == 1 && done.stderr.contains("nowhere.avsc: cannot read it"), "{done:?}");
    let done =
        run(&[&["produce", "--bootstrap", "localhost:1", "--framing", "confluent", "--topic", TOPIC][..], &good]
            .concat())?;
    ensure!(done.code == 2 && done.stderr.contains("needs a registry"), "{done:?}");
    let done = run(&["produce", "--topic", TOPIC, "--schema", &order])?;
    ensure!(done.code == 2 && done.stderr.contains("--config"), "{done:?}");
    let done = run(&["produce", "--help"])?;
    ensure!(done.code == 0 && done.stdout.contains("Examples:"), "{done:?}");
    for (fault, code) in
        [(Fault::Status(503, 50_001), 69), (Fault::Status(403, 403), 77), (Fault::Body(b"<html>".to_vec()), 78)]
    {
        stage.registry.server().fail("", fault);
        let done = stage.run("produce", &good, "")?;
        ensure!(done.code == code && done.stderr.contains(&stage.registry.server().url()), "{done:?}");
        ensure!(!done.stderr.contains("hunter2"), "{done:?}");
        stage.registry.server().mend();
    }
    ensure!(stage.run("produce", &good, "")?.code == 0, "it is mended");
    stage.registry.server().fail("", Fault::Down);
    let done = stage.run("consume", &["--quiet"], "")?;
    ensure!(done.code == 69, "{done:?}");
    Ok(())
}

fn addresses() -> Result<()> {
    let stage = Stage::new()?;
    let order = schema("order.avsc");
    let end = stage.source.end();
    let bootstrap = end.bootstrap.join(",");
    let Some((ca, Some(client))) = &end.tls else { anyhow::bail!("the cluster has no TLS") };
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let (ca, cert, key) = (text(ca), text(&client.chain), text(&client.key));
    let tls = ["--bootstrap", &bootstrap, "--ca-file", &ca, "--cert-file", &cert, "--key-file", &key, "--topic", TOPIC];
    let folder = stage.folder.path();
    let more = ["--schema", &order, "--generate", "--count", "100", "--transactional"];
    let done = Finished::run(folder, &[&["produce"][..], &tls, &more].concat(), LIMIT)?;
    ensure!(done.code == 0, "{done:?}");
    let plain = stage.source.plaintext_bootstrap().join(",");
    let more = ["consume", "--bootstrap", &plain, "--topic", TOPIC, "--schema", &order, "--quiet", "--expect", "100"];
    let done = Finished::run(folder, &more, LIMIT)?;
    ensure!(done.code == 0 && done.stdout.contains("verdict    clean"), "{done:?}");
    Ok(())
}

fn outputs() -> Result<()> {
    let stage = Stage::without_registry()?;
    let order = schema("order.avsc");
    let done = stage.run("produce", &["--schema", &order, "--generate", "--count", "2000"], "")?;
    ensure!(done.code == 0, "{done:?}");
    let file = stage.file.to_string_lossy();
    let all = ["consume", "--config", &file, "--topic", TOPIC, "--end", "source", "--schema", &order];
    let run = |more: &[&str], output: Stdio| {
        Finished::writing_to(stage.folder.path(), &[&all[..], more].concat(), output, LIMIT)
    };
    // Each event by itself, all of them, the last ones alone, and the summary: whatever is written, its loss is told.
    for more in [&["--follow"][..], &[], &["--count", "1"], &["--quiet"], &["--quiet", "--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full")?;
        let done = run(more, Stdio::from(full))?;
        ensure!(
            done.code == 1 && done.stderr.contains("kafka-bridge: standard output: No space left"),
            "{more:?}: {done:?}"
        );
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let done = run(more, Stdio::from(writer))?;
        ensure!(done.code == 0 && !done.stderr.contains("standard output"), "{more:?}: {done:?}");
    }
    Ok(())
}

fn answers() -> Result<()> {
    let stage = Stage::without_registry()?;
    let mut config = Config::new("orders-dmz", stage.source.end(), stage.target.end(), &[TOPIC]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\n".to_owned();
    let file = config.write(stage.folder.path(), "accepted")?;
    let mut bridge = Bridge::run(&file)?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let (file, order) = (file.to_string_lossy(), schema("order.avsc"));
    let produce =
        ["produce", "--topic", TOPIC, "--end", "source", "--schema", &order, "--generate", "--count", "1", "--config"];
    let commands: [&[&str]; 5] = [
        &["check", "--config"],
        &["verify", "--config"],
        &["positions", "--config"],
        &["incidents", "--config"],
        &produce,
    ];
    for command in commands {
        let run =
            |output: Stdio| Finished::writing_to(stage.folder.path(), &[command, &[&file]].concat(), output, LIMIT);
        let whole = run(Stdio::null())?;
        ensure!(whole.code == 0, "{command:?}: {whole:?}");
        let done = run(Stdio::from(OpenOptions::new().write(true).open("/dev/full")?))?;
        ensure!(
            done.code == 1 && done.stderr.contains("kafka-bridge: standard output: No space left"),
            "{command:?}: {done:?}"
        );
    }
    Ok(())
}
