//! Where every record of the source has to be: at the target, or in the dead letters, and nowhere twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use protocol_tests::raw::{Isolation, RawClient, Rec, records};

const POLL: Duration = Duration::from_millis(250);
const PREFIX: &[u8] = b"dead-letter.";

/// The reason each record of a partition has to be in the dead letters for, by source offset.
pub(super) type Poisoned = BTreeMap<(String, i32, i64), &'static str>;

/// A dead letter, taken apart by another hand than the bridge's.
pub(super) struct Letter {
    pub(super) record: Rec,
    headers: BTreeMap<String, String>,
}

impl Letter {
    fn of(mut record: Rec) -> Result<Letter> {
        let first =
            record.headers.iter().position(|it| it.0.starts_with(PREFIX)).context("no dead letter's headers")?;
        let mut headers = BTreeMap::new();
        for (name, value) in record.headers.split_off(first) {
            let name = String::from_utf8(name)?;
            headers.insert(name["dead-letter.".len()..].to_owned(), String::from_utf8(value.unwrap_or_default())?);
        }
        ensure!(headers["headers"] == record.headers.len().to_string(), "{headers:?}");
        Ok(Letter { record, headers })
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn place(&self) -> Result<(String, i32, i64)> {
        Ok((self.header("topic").to_owned(), self.header("partition").parse()?, self.header("offset").parse()?))
    }
}

pub(super) fn letters(target: &mut RawClient, topic: &str) -> Result<Vec<Letter>> {
    let mut all = Vec::new();
    for partition in 0..target.partition_count(topic)? {
        let records = target.read(topic, partition, Isolation::ReadCommitted)?;
        all.extend(records.into_iter().map(Letter::of).collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}

type Contents<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a [records::Header]);

fn contents(record: &Rec) -> Contents<'_> {
    (record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers)
}

/// Waits until it is so.
pub(super) fn until_judged(
    clients: (&mut RawClient, &mut RawClient),
    topics: &[&str],
    dead_letters: &str,
    poisoned: &Poisoned,
    limit: Duration,
) -> Result<()> {
    let (source, target) = clients;
    let start = Instant::now();
    loop {
        match judge(source, target, topics, dead_letters, poisoned) {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > limit => bail!("after {limit:?}: {error:#}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

pub(super) fn judge(
    source: &mut RawClient,
    target: &mut RawClient,
    topics: &[&str],
    dead_letters: &str,
    poisoned: &Poisoned,
) -> Result<()> {
    let mut letters: BTreeMap<_, Letter> = {
        let all = letters(target, dead_letters)?;
        let count = all.len();
        let by_place: BTreeMap<_, _> = all.into_iter().map(|it| Ok((it.place()?, it))).collect::<Result<_>>()?;
        ensure!(by_place.len() == count, "a record is in the dead letters twice");
        by_place
    };
    for topic in topics {
        for partition in 0..source.partition_count(topic)? {
            let written = source.read(topic, partition, Isolation::ReadCommitted)?;
            let mut copied = target.read(topic, partition, Isolation::ReadCommitted)?.into_iter();
            for record in &written {
                let place = ((*topic).to_owned(), partition, record.offset);
                let Some(reason) = poisoned.get(&place) else {
                    let copy = copied.next().with_context(|| format!("{place:?} is not copied"))?;
                    ensure!(contents(&copy) == contents(record), "{place:?} is not what comes next at the target");
                    continue;
                };
                let letter = letters.remove(&place).with_context(|| format!("{place:?} is not in the dead letters"))?;
                ensure!(letter.header("reason") == *reason, "{place:?}: {:?}, not {reason}", letter.headers);
                ensure!(
                    contents(&letter.record) == contents(record),
                    "{place:?} is not what it was: {:?}",
                    letter.record
                );
                ensure!(
                    !letter.header("error").is_empty() && !letter.header("time-ms").is_empty(),
                    "{:?}",
                    letter.headers
                );
            }
            ensure!(copied.next().is_none(), "{topic}-{partition} has more records at the target");
        }
    }
    ensure!(letters.is_empty(), "dead letters of no poison: {:?}", letters.keys().collect::<Vec<_>>());
    Ok(())
}
