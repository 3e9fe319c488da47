//! Rights of the commands that read the copy and move readers: what the README asks for beyond the bridge's own is enough and
//! needed.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use protocol_tests::bridge::Bridge;
use protocol_tests::command::Finished;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Acl, Codec, Isolation, NewRecord, Pattern, Resource};

use super::rights::{PRINCIPAL, Row, TOPIC, grant};
use super::{LIMIT, POLL};

const GROUP: &str = "billing";
const DEAD_LETTERS: &str = "orders-dmz.dead-letters";
const READ: i8 = 3;
const WRITE: i8 = 4;
const DESCRIBE: i8 = 8;

/// A command that reads, and what it needs beyond the bridge's own rights.
struct Reader<'a> {
    arguments: &'a [&'a str],
    needs: &'a [Need<'a>],
}

type Need<'a> = (&'static str, Resource, &'a str, i8);

const COPY: Need<'_> = ("target", Resource::Topic, TOPIC, READ);
const LETTERS: Need<'_> = ("target", Resource::Topic, DEAD_LETTERS, READ);

impl Reader<'_> {
    /// Without each of them alone the command ends with 77 and names it; with all of them it is done.
    fn needs_each(&self, pair: &Pair, file: &Path, rows: &[Row]) -> Result<Finished> {
        let Reader { arguments, needs } = self;
        let with = |left_out: Option<usize>| {
            let needed = needs.iter().enumerate().filter(|(at, _)| Some(*at) != left_out);
            let granted = needed.map(|(_, (end, resource, name, operation))| Row {
                end,
                acl: Acl {
                    principal: PRINCIPAL.to_owned(),
                    resource: *resource,
                    name: (*name).to_owned(),
                    pattern: Pattern::Literal,
                    operation: *operation,
                },
            });
            grant(pair, &rows.iter().cloned().chain(granted).collect::<Vec<_>>())
        };
        for (index, (end, _, name, operation)) in needs.iter().enumerate() {
            with(Some(index))?;
            let told = until(file, arguments, 77)?;
            // For DESCRIBE, which READ implies, the coordinator's lookup may ask first.
            let rights: &[_] = if *operation == READ { &["READ", "DESCRIBE"] } else { &["DESCRIBE"] };
            let is_asked_for = rights.iter().any(|right| told.stderr.contains(&format!("Grant {right} on it")));
            ensure!(
                is_asked_for && told.stderr.contains(end) && told.stderr.contains(name),
                "without {} on {name} at the {end}, {arguments:?} says: {}",
                rights[0],
                told.stderr
            );
        }
        with(None)?;
        until(file, arguments, 0)
    }
}

/// The bridge has run with the rights of `rows`, and all is copied.
pub(super) fn with_the_rights_of_the_readme(pair: &Pair, file: &Path, rows: &[Row]) -> Result<()> {
    pair.source.client().set_group_offset(GROUP, TOPIC, 0, 5)?;
    let group = [COPY, ("source", Resource::Group, GROUP, DESCRIBE), ("target", Resource::Group, GROUP, READ)];
    let offset = ["positions", "translate", "--topic", TOPIC, "--partition", "0", "--offset", "5"];
    for reader in [
        Reader { arguments: &["verify"], needs: &[COPY] },
        Reader { arguments: &offset, needs: &[COPY] },
        Reader { arguments: &["positions", "translate", "--group", GROUP, "--apply"], needs: &group },
    ] {
        reader.needs_each(pair, file, rows)?;
    }
    ensure!(pair.target.client().group_offset(GROUP, TOPIC, 0)?.is_some(), "the group was not moved");
    of_letters(pair, file, rows)
}

/// The same for those that look into dead letters, once there is one, and for the one that replays it.
fn of_letters(pair: &Pair, file: &Path, rows: &[Row]) -> Result<()> {
    let schema = pair.folder().join("any.avsc");
    let id = filed(pair, file, rows)?;
    let readers = [
        Reader { arguments: &["dead-letters", "list"], needs: &[LETTERS] },
        Reader { arguments: &["dead-letters", "show", &id], needs: &[LETTERS] },
        Reader { arguments: &["verify"], needs: &[COPY, LETTERS] },
    ];
    for reader in readers {
        let done = reader.needs_each(pair, file, rows)?;
        let is_shown = reader.arguments[0] == "verify" || done.stdout.contains(&id);
        ensure!(is_shown, "{:?} does not name {id}: {}", reader.arguments, done.stdout);
    }

    // The schema is mended: what is filed passes now.
    fs::write(schema, "\"int\"")?;
    let replay = ["dead-letters", "replay", "--all"];
    for (resource, name) in
        [(Resource::Topic, TOPIC), (Resource::Topic, "orders-dmz.ledger"), (Resource::TransactionalId, "orders-dmz.")]
    {
        let is_taken = |it: &Row| it.acl.resource == resource && it.acl.name == name && it.acl.operation == WRITE;
        let (end, resource, topic, operation) = LETTERS;
        let acl = Acl {
            principal: PRINCIPAL.to_owned(),
            resource,
            name: topic.to_owned(),
            pattern: Pattern::Literal,
            operation,
        };
        let left: Vec<_> = rows.iter().filter(|it| !is_taken(it)).cloned().chain([Row { end, acl }]).collect();
        ensure!(left.len() == rows.len(), "one right of the table is taken away: WRITE on {name}");
        grant(pair, &left)?;
        // The brokers know it: a replay that still had the right would be the last one.
        super::until(file, |code, _| code == 77)?;
        until(file, &replay, 77).with_context(|| format!("without WRITE on {name}"))?;
    }
    let dry = ["dead-letters", "replay", "--all", "--dry-run"];
    Reader { arguments: &dry, needs: &[LETTERS] }.needs_each(pair, file, rows)?;
    // Nothing was written so far, or this would pass it over.
    let done = Reader { arguments: &replay, needs: &[LETTERS] }.needs_each(pair, file, rows)?;
    ensure!(done.stdout.contains(&id), "{id} was not replayed: {done:?}");
    Reader { arguments: &["verify"], needs: &[COPY, LETTERS] }.needs_each(pair, file, rows)?;
    Ok(())
}

/// A record that is not what the schema says comes to the source, and to the dead letters: its id there.
fn filed(pair: &Pair, file: &Path, rows: &[Row]) -> Result<String> {
    grant(pair, rows)?;
    let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    // Bytes, of which one is announced and none comes.
    let record = NewRecord { timestamp, value: Some(vec![2]), ..NewRecord::default() };
    pair.source.client().write(TOPIC, 0, Codec::Lz4, vec![record])?;
    let running = file.with_file_name("filing.toml");
    fs::copy(file, &running)?;
    let mut bridge = Bridge::run(&running)?;
    let mut client = pair.target.client();
    let start = Instant::now();
    loop {
        for partition in 0..client.partition_count(DEAD_LETTERS)? {
            let letters = client.read(DEAD_LETTERS, partition, Isolation::ReadCommitted)?;
            if let Some(letter) = letters.first() {
                ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
                return Ok(format!("{partition}-{}", letter.offset));
            }
        }
        if start.elapsed() > LIMIT {
            bail!("the record was not filed:\n{}", bridge.log());
        }
        std::thread::sleep(POLL);
    }
}

/// Again and again until it ends with this code: brokers learn of rights a moment later.
fn until(file: &Path, arguments: &[&str], code: i32) -> Result<Finished> {
    let folder = file.parent().context("a config is in a folder")?;
    let config = file.to_string_lossy();
    let arguments = [arguments, &["--config", &config]].concat();
    let start = Instant::now();
    loop {
        let done = Finished::run(folder, &arguments, LIMIT)?;
        if done.code == code {
            return Ok(done);
        }
        if start.elapsed() > LIMIT {
            bail!("{arguments:?} never ended with {code}; at last: {done:?}");
        }
        std::thread::sleep(POLL);
    }
}
