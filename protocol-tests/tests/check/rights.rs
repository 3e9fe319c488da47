//! Rights: those of the README's table are enough and needed, and the commands that `check` prints grant them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::command::Finished;
use protocol_tests::jars;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::pair::Pair;
use protocol_tests::pki::CertificateFiles;
use protocol_tests::ports;
use protocol_tests::raw::{Acl, Pattern, Resource};
use serde_json::Value;

use super::{LIMIT, array, groups, reading, until, write};
use crate::real;

const README: &str = include_str!("../../../README.md");
/// A subject that a shell and an ACL have to take with care. Java writes its last part first.
const ORGANIZATION: &str = "Orders, Inc";
pub(super) const PRINCIPAL: &str = "User:O=Orders\\, Inc,CN=bridge";
pub(super) const TOPIC: &str = "orders";
const LINK: &str = "orders-dmz";
/// Of the release whose `kafka-acls.sh` is run: its jars hold the class.
const TOOLS: &str = "3.9.2";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("check", "kafka_3_9_2_to_4_4_0_with_the_rights_of_the_readme", &["3.9.2", "4.4.0"], || {
            with_the_rights_of_the_readme(Spec::zookeeper("3.9.2"), Spec::kraft("4.4.0"))
        }),
        real("check", "kafka_4_4_0_to_3_9_2_with_the_rights_that_check_asks_for", &["4.4.0", "3.9.2"], || {
            with_the_rights_that_check_asks_for(Spec::kraft("4.4.0"), Spec::zookeeper("3.9.2"))
        }),
    ]
}

/// Two clusters that let nobody do anything, and a bridge with a certificate of its own at each.
fn start(source: Spec, target: Spec) -> Result<(Pair, Config)> {
    let pair = Pair::start(source.with_tls().with_authorizer(), target.with_tls().with_authorizer())?;
    let mut config = pair.config(LINK, &[TOPIC]);
    config.delivery += "lanes = 2\n";
    // Its records have no value, and so nothing to be checked.
    fs::write(pair.folder().join("any.avsc"), "\"bytes\"")?;
    config.topics_extra += "value_schema = \"any.avsc\"\n";
    for (end, cluster) in [(&mut config.source, &pair.source), (&mut config.target, &pair.target)] {
        let authority = &cluster.pki().context("a cluster with TLS has certificates")?.authority;
        end.tls = Some((authority.ca_file(), Some(authority.issue_member("bridge", ORGANIZATION)?)));
    }
    let mut at_source = pair.source.client();
    at_source.create_topic(TOPIC, 2, 1, &[])?;
    write(&mut at_source, TOPIC, 0, 10)?;
    Ok((pair, config))
}

/// One right of the table, at one end.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) end: &'static str,
    pub(super) acl: Acl,
}

/// The rows of the README's table of rights, for this link.
fn table() -> Result<Vec<Row>> {
    let (_, section) = README.split_once("\n## Rights\n").context("the README has no table of rights")?;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut rights = vec![];
    for row in rows.skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [end, resource, operations] = cells[..] else { anyhow::bail!("not a row of the table: {row}") };
        let end = if end == "source" { "source" } else { "target" };
        let (resource, name, pattern) = match resource {
            "each copied topic" | "each topic that is copied to" => (Resource::Topic, TOPIC, Pattern::Literal),
            "topic `<link>.ledger`" => (Resource::Topic, "orders-dmz.ledger", Pattern::Literal),
            "topic `<link>.dead-letters`, where topics are checked" => {
                (Resource::Topic, "orders-dmz.dead-letters", Pattern::Literal)
            }
            "transactional ids with the prefix `<link>.`" => {
                (Resource::TransactionalId, "orders-dmz.", Pattern::Prefixed)
            }
            "group `<link>`" => (Resource::Group, LINK, Pattern::Literal),
            other => anyhow::bail!("a resource that the trial does not know: {other}"),
        };
        // Behind the semicolon stands what is needed only at times.
        for operation in operations.split([',', ';']) {
            let operation = operation.split_whitespace().next().unwrap_or_default();
            let code = code(operation).with_context(|| format!("{operation:?} in {row}"))?;
            let acl =
                Acl { principal: PRINCIPAL.to_owned(), resource, name: name.to_owned(), pattern, operation: code };
            rights.push(Row { end, acl });
        }
    }
    Ok(rights)
}

const OPERATIONS: [(&str, i8); 6] =
    [("READ", 3), ("WRITE", 4), ("CREATE", 5), ("ALTER", 7), ("DESCRIBE", 8), ("DESCRIBE_CONFIGS", 10)];

fn code(operation: &str) -> Option<i8> {
    OPERATIONS.iter().find(|(name, _)| *name == operation).map(|(_, code)| *code)
}

pub(super) fn grant(pair: &Pair, rows: &[Row]) -> Result<()> {
    for (end, cluster) in [("source", &pair.source), ("target", &pair.target)] {
        let acls: Vec<_> = rows.iter().filter(|it| it.end == end).map(|it| it.acl.clone()).collect();
        let mut client = cluster.client();
        client.revoke_all()?;
        client.grant(&acls)?;
    }
    Ok(())
}

fn with_the_rights_of_the_readme(source: Spec, target: Spec) -> Result<()> {
    let (pair, config) = start(source, target)?;
    let rows = table()?;
    let at_source: Vec<_> = rows.iter().filter(|it| it.end == "source").map(|it| it.acl.operation).collect();
    ensure!(at_source == [8, 3], "the source is only read: {at_source:?}");

    // Each is needed: without it, and what implies it, check names it, and run refuses, both with 77.
    let file = config.write(pair.folder(), "bridge")?;
    for (index, row) in rows.iter().enumerate() {
        let operation = OPERATIONS.iter().find(|(_, code)| *code == row.acl.operation).map(|(name, _)| *name);
        let operation = operation.context("an operation")?;
        let implies = |other: &Row| {
            let same = (other.end, other.acl.resource, &other.acl.name) == (row.end, row.acl.resource, &row.acl.name);
            operation == "DESCRIBE" && same && [3, 4, 7].contains(&other.acl.operation)
        };
        // To grow, a topic must be there.
        if operation == "ALTER" {
            continue;
        }
        let is_left = |(at, other): &(usize, &Row)| *at != index && !implies(other);
        let left: Vec<_> = rows.iter().enumerate().filter(is_left).map(|(_, it)| it.clone()).collect();
        grant(&pair, &left)?;
        let is_named = |report: &Value| {
            let missing = report["missing_rights"].as_array().map(Vec::as_slice).unwrap_or_default();
            missing.iter().any(|it| {
                it["end"] == row.end
                    && it["name"] == row.acl.name.as_str()
                    && it["is_required"] == true
                    && it["operations"].as_array().is_some_and(|all| all.iter().any(|it| it == operation))
            })
        };
        let report =
            until(&file, |code, report| code == 77 && is_named(report)).with_context(|| format!("without {row:?}"))?;
        let lacking = array(&report, "/missing_rights")?.iter().filter(|it| it["is_required"] == true).count();
        ensure!(lacking == 1, "without {row:?} one right is missing: {report:#}");
        if ["READ", "WRITE"].contains(&operation) {
            let run = Finished::run(pair.folder(), &["run", "--config", &file.to_string_lossy()], LIMIT)?;
            ensure!(run.code == 77, "without {row:?} run ends with {}:\n{}", run.code, run.stderr);
            let named =
                run.stderr.contains(operation) && run.stderr.contains(&row.acl.name) && run.stderr.contains(row.end);
            ensure!(named && run.stderr.contains("kafka-acls.sh"), "right and remedy are named: {}", run.stderr);
        }
    }

    // All of them are enough: also to grow, which ALTER is for.
    grant(&pair, &rows)?;
    until(&file, |code, _| code == 0)?;
    let port = ports::free()?;
    let running = Config { tables: format!("[console]\nlisten = \"127.0.0.1:{port}\"\n"), ..config };
    let mut bridge = Bridge::run(&running.write(pair.folder(), "running")?)?;
    pair.until_equal(&[TOPIC.to_owned()], LIMIT).with_context(|| bridge.log())?;
    groups::are_hidden_until_granted(&pair, port).with_context(|| bridge.log())?;
    pair.source.client().grow_topic(TOPIC, 3)?;
    write(&mut pair.source.client(), TOPIC, 2, 7)?;
    pair.until_equal(&[TOPIC.to_owned()], LIMIT).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    reading::with_the_rights_of_the_readme(&pair, &file, &rows)?;

    // ALTER, where a topic that is there is to grow.
    pair.source.client().grow_topic(TOPIC, 4)?;
    grant(&pair, &rows.iter().filter(|it| it.acl.operation != 7).cloned().collect::<Vec<_>>())?;
    let report = until(&file, |code, _| code == 77)?;
    ensure!(report["missing_rights"].to_string().contains("ALTER"), "{report:#}");
    Ok(())
}

fn with_the_rights_that_check_asks_for(source: Spec, target: Spec) -> Result<()> {
    let (pair, config) = start(source, target)?;
    let (source, target) = (admin(&pair, &pair.source, "source")?, admin(&pair, &pair.target, "target")?);
    let file = config.write(pair.folder(), "bridge")?;
    // What cannot be seen cannot be asked for: the topic's rights at the target come up when it is visible at the source.
    let mut granted = vec![];
    for round in 0..4 {
        let (code, report) = Finished::check(&file, LIMIT)?;
        let missing = array(&report, "/missing_rights")?;
        let required: Vec<_> = missing.iter().filter(|it| it["is_required"] == true).collect();
        if required.is_empty() {
            ensure!(code == 0 && round > 0, "exit code {code} in round {round}: {report:#}");
            break;
        }
        ensure!(code == 77 && round < 3, "exit code {code} in round {round}: {report:#}");
        for right in required {
            let folder = if right["end"] == "source" { &source } else { &target };
            let command = right["command"].as_str().context("a command")?;
            ensure!(command.contains(PRINCIPAL), "another principal than Kafka's: {command}");
            administer(&pair, folder, command)?;
            granted.push(command.to_owned());
        }
        // Told to all brokers, and to the next check.
        until(&file, |_, report| report["missing_rights"].as_array().is_some_and(|now| now != missing))?;
    }
    let mut bridge = Bridge::run(&config.write(pair.folder(), "running")?)?;
    pair.until_equal(&[TOPIC.to_owned()], LIMIT).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let at_source: Vec<_> = granted.iter().filter(|it| it.contains(&pair.source.bootstrap()[0])).collect();
    ensure!(
        at_source.len() == 1 && at_source[0].contains("--operation Describe --operation Read --topic orders"),
        "{granted:#?}"
    );
    println!("{}", granted.join("\n"));
    Ok(())
}

/// A folder with the administrator's `admin.properties`, who is the cluster's super user.
fn admin(pair: &Pair, cluster: &KafkaCluster, name: &str) -> Result<std::path::PathBuf> {
    let folder = pair.folder().join(name);
    fs::create_dir_all(&folder)?;
    let pki = cluster.pki().context("a cluster with TLS has certificates")?;
    let CertificateFiles { keystore, .. } = &pki.client;
    let text = format!(
        "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n",
        keystore.display(),
        pki.authority.ca_file().display()
    );
    fs::write(folder.join("admin.properties"), text)?;
    Ok(folder)
}

/// The command as it was printed, by a shell that finds `kafka-acls.sh`.
fn administer(pair: &Pair, folder: &Path, command: &str) -> Result<()> {
    let script = pair.folder().join("kafka-acls.sh");
    let class = format!(
        "#!/bin/sh\nexec java -cp '{}' kafka.admin.AclCommand \"$@\"\n",
        jars::classpath(&jars::broker(TOOLS)?)
    );
    fs::write(&script, class)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", pair.folder().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", command]).env("PATH", path).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("Adding ACLs"), "{command}\n{said}");
    Ok(())
}
