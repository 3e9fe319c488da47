//! Rights of the commands that read the copy and move readers: what the README asks for beyond the bridge's own is enough and
//! needed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use protocol_tests::command::Finished;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Acl, Pattern, Resource};

use super::rights::{PRINCIPAL, Row, TOPIC, grant};
use super::{LIMIT, POLL};

const GROUP: &str = "billing";
const READ: i8 = 3;
const DESCRIBE: i8 = 8;

/// A command that reads, and what it needs beyond the bridge's own rights.
struct Reader<'a> {
    arguments: &'a [&'a str],
    needs: &'a [(&'static str, Resource, &'a str, i8)],
}

/// The bridge has run with the rights of `rows`, and all is copied.
pub(super) fn with_the_rights_of_the_readme(pair: &Pair, file: &Path, rows: &[Row]) -> Result<()> {
    let copy = ("target", Resource::Topic, TOPIC, READ);
    let readers = [
        Reader { arguments: &["verify"], needs: &[copy] },
        Reader {
            arguments: &["positions", "translate", "--topic", TOPIC, "--partition", "0", "--offset", "5"],
            needs: &[copy],
        },
        Reader {
            arguments: &["positions", "translate", "--group", GROUP, "--apply"],
            needs: &[copy, ("source", Resource::Group, GROUP, DESCRIBE), ("target", Resource::Group, GROUP, READ)],
        },
    ];
    pair.source.client().set_group_offset(GROUP, TOPIC, 0, 5)?;
    for Reader { arguments, needs } in readers {
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
        until(file, arguments, 0)?;
    }
    ensure!(pair.target.client().group_offset(GROUP, TOPIC, 0)?.is_some(), "the group was not moved");
    Ok(())
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
