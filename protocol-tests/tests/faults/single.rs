//! One topic of one partition through one lane, and a proxy at the target that knows Kafka's requests: what a trial needs to
//! stop a transaction at a certain step.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::compare::Kind;
use protocol_tests::kafka::Spec;
use protocol_tests::ledger;
use protocol_tests::pair::{Pair, differences, shown};
use protocol_tests::proxy::{Action, Proxy, Taken};
use protocol_tests::raw::{Codec, Isolation, NewRecord};

use super::stage::{LIMIT, target};

pub(super) const PRODUCE: i16 = 0;
pub(super) const INIT_PRODUCER_ID: i16 = 22;
pub(super) const END_TXN: i16 = 26;
/// A request that was held so long is given up by the bridge.
const REQUEST_TIMEOUT_MS: u64 = 1_500;
const TRANSACTION_TIMEOUT_MS: u64 = 20_000;
const RECORDS: usize = 10;
/// With it no other batch fits into the 1 MiB of a request, and a broker still takes it by default (`max.message.bytes`).
const LARGE_BYTES: usize = (1 << 20) - 350;

/// Plaintext, because a request can be told apart only there.
pub(super) fn pair(source: Spec, to: Spec) -> Result<Pair> {
    Pair::start_behind_proxies(source, target(to))
}

/// A link of its own with a topic of its own, on a pair that several of them share.
pub(super) struct Single<'a> {
    pub(super) pair: &'a Pair,
    pub(super) topics: Vec<String>,
    link: String,
    bug: Option<&'static str>,
    config: Config,
    runs: usize,
    written: usize,
}

impl<'a> Single<'a> {
    /// `bug`: one of `src/planted.rs`.
    pub(super) fn new(pair: &'a Pair, name: &str, bug: Option<&'static str>, delivery: &str) -> Result<Single<'a>> {
        Single::with_timeout(pair, name, bug, delivery, REQUEST_TIMEOUT_MS)
    }

    /// With another request timeout.
    pub(super) fn with_timeout(
        pair: &'a Pair,
        name: &str,
        bug: Option<&'static str>,
        delivery: &str,
        timeout_ms: u64,
    ) -> Result<Single<'a>> {
        // The data's name sorts before the ledger's, so that its Produce is the first.
        let (topic, link) = (format!("a-{name}"), format!("l-{name}"));
        // The records are old.
        pair.source.client().create_topic(&topic, 1, 1, &[("retention.ms", "-1")])?;
        let mut config = pair.config(&link, &[&topic]);
        config.delivery += &format!(
            "lanes = 1\nrequest_timeout_ms = {timeout_ms}\ntransaction_timeout_ms = {TRANSACTION_TIMEOUT_MS}\n{delivery}\n"
        );
        // One transaction is a handful of lines, and where one goes another way than it should, they say which.
        config.tables = "[log]\nlevel = \"debug\"\n".to_owned();
        Ok(Single { pair, topics: vec![topic], link, bug, config, runs: 0, written: 0 })
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.pair.target_proxies[0]
    }

    pub(super) fn ledger(&self) -> String {
        ledger::topic(&self.link)
    }

    pub(super) fn bridge(&mut self) -> Result<Bridge> {
        self.runs += 1;
        let file = self.config.write(self.pair.folder(), &format!("{}-{}", self.link, self.runs))?;
        match self.bug {
            None => Bridge::run(&file),
            Some(bug) => Bridge::run_with_bug(bug, &file),
        }
    }

    /// Ten more records at the source, in one plain batch.
    pub(super) fn write(&mut self) -> Result<()> {
        let records = self.records();
        self.pair.source.client().write(&self.topics[0], 0, Codec::Lz4, records)?;
        Ok(())
    }

    /// Ten more, in a batch so large that the transaction's position goes to the target in a request of its own.
    pub(super) fn write_large(&mut self) -> Result<()> {
        let mut records = self.records();
        if let Some(value) = records.first_mut().and_then(|it| it.value.as_mut()) {
            value.resize(LARGE_BYTES, b'x');
        }
        self.pair.source.client().write(&self.topics[0], 0, Codec::None, records)?;
        Ok(())
    }

    /// Ten more that no reader of the source sees.
    pub(super) fn write_aborted(&mut self) -> Result<()> {
        let records = self.records();
        let mut client = self.pair.source.client();
        let mut producer = client.producer(Some(&self.link))?;
        producer.send(&mut client, &self.topics[0], 0, Codec::Lz4, records)?;
        producer.abort(&mut client)
    }

    fn records(&mut self) -> Vec<NewRecord> {
        let first = self.written;
        self.written += RECORDS;
        let record = |number| NewRecord {
            timestamp: 1_750_000_000_000,
            value: Some(format!("id={number}\n").into_bytes()),
            ..NewRecord::default()
        };
        (first..self.written).map(record).collect()
    }

    pub(super) fn until_equal(&self) -> Result<()> {
        self.pair.until_equal(&self.topics, LIMIT)
    }

    /// The next request of this kind waits until it is released.
    pub(super) fn hold(&self, api_key: i16, text: &str) -> Result<Taken> {
        self.proxy().take_request_with(api_key, text, 1, Action::Hold)
    }

    pub(super) fn until_held(&self, taken: Taken) -> Result<()> {
        self.proxy().wait_held(taken, LIMIT)
    }

    /// How many records the source holds.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Waits until the target's log has so many records, whether they are committed or not; false where it does not come to that.
    pub(super) fn is_written(&self, count: usize, limit: Duration) -> Result<bool> {
        let (mut client, start) = (self.pair.target.client(), Instant::now());
        while client.read(&self.topics[0], 0, Isolation::ReadUncommitted)?.len() < count {
            if start.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Waits until the last record that was written is visible at the target.
    pub(super) fn until_copied(&self) -> Result<()> {
        let last = format!("id={}\n", self.written - 1).into_bytes();
        let (mut client, start) = (self.pair.target.client(), Instant::now());
        loop {
            let found = client.read(&self.topics[0], 0, Isolation::ReadCommitted)?;
            if found.iter().any(|record| record.value.as_ref() == Some(&last)) {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "{}: the last of {} records is not copied", self.link, self.written);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn has_bug(&self) -> bool {
        self.bug.is_some()
    }

    /// Once the last record is copied. Without a bug: the copy is equal, and the ledger proves it. With one: it differs,
    /// and in this way.
    pub(super) fn judge(&self, kind: Kind) -> Result<()> {
        self.until_copied()?;
        if self.bug.is_none() {
            return self.pair.audit(&self.link, &self.topics, LIMIT).map(|_| ());
        }
        let (start, mut source, mut target) = (Instant::now(), self.pair.source.client(), self.pair.target.client());
        loop {
            let found = differences(&mut source, &mut target, &self.topics)?;
            if found.iter().any(|it| it.kind == kind) {
                println!("{}: {}", self.link, shown(&found));
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "{}: the checks do not see the bug: {}", self.link, shown(&found));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The orderly end.
pub(super) fn finish(mut bridge: Bridge) -> Result<()> {
    let code = bridge.terminate(LIMIT)?;
    ensure!(code == 0, "the bridge ended with {code}:\n{}", bridge.log());
    Ok(())
}
