//! A link's ledger as it stands at the target, read from its documented JSON and not by the bridge's own types.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::raw::records::ReadRecord;
use crate::raw::{RawClient, ReadBatch, outcomes};

/// How the keys of anchors, decisions and proofs begin: nothing that a lane goes on from.
const BESIDE: &[u8] = b"{\"kind\":";

/// A source partition.
pub type Place = (String, i32);

/// One position record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub place: Place,
    pub target: Place,
    pub from: i64,
    pub next_offset: i64,
    /// Copied since the link began.
    pub records: u64,
    /// Sent to the dead letters instead, since the link began.
    pub dead_letters: u64,
    /// The lane's number of the transaction that made it.
    pub transaction: u64,
    /// Set by an operator.
    pub decided: bool,
}

/// The ledger's part of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub lane: i32,
    pub offset: i64,
    pub producer_id: i64,
    pub epoch: i16,
    /// None: its transaction is open.
    pub committed: Option<bool>,
    /// What it changes; a snapshot's unchanged positions are left out.
    pub changes: Vec<Change>,
    /// Host and pid of whoever signed, where somebody did.
    pub owner: Option<(String, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub position: Position,
    /// Records that this transaction copied.
    pub records: u64,
    pub dead_letters: u64,
}

/// What is wrong with a chain of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    pub place: Place,
    /// Where the chain stood.
    pub before: i64,
    /// Of the record that does not fit.
    pub position: Position,
}

impl fmt::Display for Break {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Break { place: (topic, partition), before, position } = self;
        let Position { from, next_offset, transaction, .. } = position;
        write!(
            formatter,
            "{topic}-{partition}: from {from} to {next_offset} in transaction {transaction} after {before}"
        )
    }
}

/// All of a link's ledger, lane by lane, in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    /// The last committed position of every source partition.
    pub positions: BTreeMap<Place, Position>,
    pub breaks: Vec<Break>,
}

pub fn topic(link: &str) -> String {
    format!("{link}.ledger")
}

impl Ledger {
    /// Reads every partition of the ledger's topic, aborted and open transactions included.
    pub fn read(client: &mut RawClient, link: &str) -> Result<Ledger> {
        let topic = topic(link);
        let lanes = (0..client.partition_count(&topic)?).map(|lane| client.read_batches(&topic, lane));
        Ledger::of(&lanes.collect::<Result<Vec<_>>>()?).context(topic)
    }

    /// The logs of its partitions, lane by lane.
    pub fn of(lanes: &[Vec<ReadBatch>]) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        for (lane, batches) in (0..).zip(lanes) {
            for (batch, committed) in batches.iter().zip(outcomes(batches)).filter(|(batch, _)| !batch.control) {
                ledger.feed(lane, batch, committed)?;
            }
        }
        Ok(ledger)
    }

    /// The next batch of a lane, in the order of the log.
    pub fn feed(&mut self, lane: i32, batch: &ReadBatch, committed: Option<bool>) -> Result<()> {
        let is_beside = |record: &ReadRecord| record.key.as_deref().is_some_and(|it| it.starts_with(BESIDE));
        if !batch.transactional && batch.records.iter().all(is_beside) {
            return Ok(());
        }
        ensure!(batch.transactional, "lane {lane}: the batch at {} is in no transaction", batch.base_offset);
        let mut entry = Entry {
            lane,
            offset: batch.base_offset,
            producer_id: batch.producer_id,
            epoch: batch.producer_epoch,
            committed,
            changes: vec![],
            owner: None,
        };
        for record in batch.records.iter().filter(|it| !is_beside(it)) {
            let place = format!("lane {lane}, offset {}", record.offset);
            let parsed = parse(record.key.as_deref(), record.value.as_deref()).context(place)?;
            match parsed {
                Parsed::Owner(owner) => entry.owner = Some(owner),
                Parsed::Position(position) => self.add(&mut entry, position),
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    fn add(&mut self, entry: &mut Entry, position: Position) {
        let known = self.positions.get(&position.place);
        // A snapshot says again what an earlier transaction said.
        if known == Some(&position) {
            return;
        }
        let copied = position.records.saturating_sub(known.map_or(0, |known| known.records));
        let dead_letters = position.dead_letters.saturating_sub(known.map_or(0, |known| known.dead_letters));
        // An aborted one too: it was made from the same position.
        // An operator's decision may go back: to the beginning of a topic that was made anew.
        if position.decided {
            if entry.committed == Some(true) {
                self.positions.insert(position.place.clone(), position);
            }
            return;
        }
        let continues =
            known.is_none_or(|known| position.from == known.next_offset && position.transaction > known.transaction);
        if !continues || position.next_offset < position.from {
            let before = known.map_or(-1, |known| known.next_offset);
            self.breaks.push(Break { place: position.place.clone(), before, position: position.clone() });
        }
        entry.changes.push(Change { position: position.clone(), records: copied, dead_letters });
        if entry.committed == Some(true) {
            self.positions.insert(position.place.clone(), position);
        }
    }
}

enum Parsed {
    Owner((String, u32)),
    Position(Position),
}

fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Parsed> {
    let key: Value = serde_json::from_slice(key.context("no key")?)?;
    let value: Value = serde_json::from_slice(value.context("no value")?)?;
    ensure!(value["v"] == 1, "version {}", value["v"]);
    let number = |of: &Value, name: &str| of[name].as_i64().with_context(|| format!("{name} is {}", of[name]));
    let text = |of: &Value, name: &str| {
        of[name].as_str().map(str::to_owned).with_context(|| format!("{name} is {}", of[name]))
    };
    let partition = |of: &Value, name: &str| anyhow::Ok(i32::try_from(number(of, name)?)?);
    if key.get("owner").is_some() {
        return Ok(Parsed::Owner((text(&value, "host")?, u32::try_from(number(&value, "pid")?)?)));
    }
    Ok(Parsed::Position(Position {
        place: (text(&key, "topic")?, partition(&key, "partition")?),
        target: (text(&value, "target_topic")?, partition(&value, "target_partition")?),
        from: number(&value, "from")?,
        next_offset: number(&value, "next_offset")?,
        records: u64::try_from(number(&value, "records")?)?,
        dead_letters: match value.get("dead_letters") {
            Some(letters) => u64::try_from(number(letters, "records")?)?,
            None => 0,
        },
        transaction: u64::try_from(number(&value, "transaction")?)?,
        decided: value.get("decision").is_some(),
    }))
}
