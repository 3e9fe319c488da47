//! Dead letters, taken apart by another hand than the bridge's.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::network::End;
use crate::ledger::Place;
use crate::raw::records::ReadRecord;

const PREFIX: &str = "dead-letter.";

/// What a letter says of its record.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) offset: i64,
    pub(super) reason: String,
}

/// The record as it was, where it comes from, and what is told of it.
pub(super) fn opened(mut letter: ReadRecord) -> Result<(Place, ReadRecord, Told)> {
    let count = letter.headers.last().filter(|it| it.0 == b"dead-letter.headers").context("no dead letter")?;
    let count: usize = std::str::from_utf8(count.1.as_deref().unwrap_or_default())?.parse()?;
    ensure!(count < letter.headers.len(), "of {} headers {count} are the record's own", letter.headers.len());
    let mut headers = BTreeMap::new();
    for (name, value) in letter.headers.split_off(count) {
        let name = String::from_utf8(name)?;
        let name = name.strip_prefix(PREFIX).with_context(|| format!("header {name}"))?.to_owned();
        headers.insert(name, String::from_utf8(value.unwrap_or_default())?);
    }
    let text = |name: &str| headers.get(name).with_context(|| format!("no {PREFIX}{name}"));
    ensure!(*text("cluster")? == format!("{}-cluster", End::Source.name()), "{headers:?}");
    ensure!(text("part")? == "value" && !text("error")?.is_empty() && text("path").is_ok(), "{headers:?}");
    text("time-ms")?.parse::<u64>()?;
    let place = (text("topic")?.clone(), text("partition")?.parse()?);
    let told = Told { offset: text("offset")?.parse()?, reason: text("reason")?.clone() };
    Ok((place, letter, told))
}
