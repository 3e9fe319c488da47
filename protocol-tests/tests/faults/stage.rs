//! What the trials share: a link that copies a load while a fault comes and goes, and the audit behind it.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol_tests::audit::Audited;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::kafka::Spec;
use protocol_tests::ledger::{self, Entry, Ledger};
use protocol_tests::load::{Load, Loaded, create_topics};
use protocol_tests::pair::Pair;

/// For anything that must come about on a slow and noisy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
/// Short, so that outages beyond them fit into a trial.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_000);
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(4_000);
/// The coordinator looks for expired transactions at this interval; its default is 10 s.
const REAPER_INTERVAL_MS: &str = "500";
/// Fewer than partitions, so that transactions span several.
const LANES: u32 = 3;
/// As long as a load needs to be in full swing.
const WARM_UP_RECORDS: usize = 100;

/// How often something is done that is done in rounds.
pub(super) fn rounds(count: usize) -> usize {
    let factor = env::var("KAFKA_BRIDGE_ROUNDS").ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    count * factor
}

/// A target that aborts what its bridge has left soon after the transaction timeout.
pub(super) fn target(spec: Spec) -> Spec {
    spec.property("transaction.abort.timed.out.transaction.cleanup.interval.ms", REAPER_INTERVAL_MS)
}

/// Two clusters, one link and its topics.
pub(super) struct Trial {
    pub(super) pair: Pair,
    pub(super) link: &'static str,
    pub(super) topics: Vec<String>,
    pub(super) random: fastrand::Rng,
    config: Config,
    runs: usize,
    audited: Audited,
}

impl Trial {
    pub(super) fn new(pair: Pair, link: &'static str, delivery: &str) -> Result<Trial> {
        let seed = env::var("KAFKA_BRIDGE_SEED").ok().and_then(|value| value.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        println!("KAFKA_BRIDGE_SEED={seed}");
        let topics = create_topics(&mut pair.source.client(), link, pair.source.replication_factor())?;
        let mut config = pair.config(link, &[&format!("{link}-*")]);
        config.delivery += &format!(
            "lanes = {LANES}\nrequest_timeout_ms = {}\ntransaction_timeout_ms = {}\n{delivery}\n",
            REQUEST_TIMEOUT.as_millis(),
            TRANSACTION_TIMEOUT.as_millis()
        );
        let random = fastrand::Rng::with_seed(seed);
        Ok(Trial { pair, link, topics, random, config, runs: 0, audited: Audited::default() })
    }

    /// Another process of the link, with a log of its own.
    pub(super) fn bridge(&mut self) -> Result<Bridge> {
        self.runs += 1;
        self.pair.run(&self.config, &format!("{}-{}", self.link, self.runs))
    }

    /// Starts a load that is there when this returns.
    pub(super) fn load(&mut self) -> Result<Load> {
        let load = Load::start(self.pair.source.client(), &self.topics, self.random.u64(..));
        load.until_more(WARM_UP_RECORDS, LIMIT)?;
        Ok(load)
    }

    /// A load, the fault in its midst, the flow after it, and the audit.
    pub(super) fn stage(
        &mut self,
        name: &str,
        bridge: &mut Bridge,
        fault: impl FnOnce(&mut Trial, &Load) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let load = self.load()?;
        let before = self.committed()?;
        self.until_committed(before + 1).with_context(|| format!("{name}: nothing flows before the fault"))?;
        fault(self, &load).with_context(|| name.to_owned())?;
        println!("{name}: over after {:.1?}", start.elapsed());
        let before = self.committed()?;
        self.until_committed(before + 1)
            .with_context(|| format!("{name}: nothing flows after the fault\n{}", bridge.process().log_tail(40)))?;
        self.audit(name, load).with_context(|| format!("{name}\n{}", bridge.process().log_tail(40)))?;
        let code = bridge.process().exit_code()?;
        ensure!(code.is_none(), "{name}: the bridge ended with {code:?}:\n{}", bridge.log());
        println!("{name}: {:.1?}", start.elapsed());
        Ok(())
    }

    /// Ends the load and audits the copy.
    pub(super) fn audit(&mut self, name: &str, load: Load) -> Result<(Loaded, Audited)> {
        let loaded = load.stop().context("the load failed")?;
        ensure!(loaded.aborted_records > 0, "the load aborted nothing: {loaded:?}");
        let audited = self.pair.audit(self.link, &self.topics, LIMIT)?;
        println!("{name}: {loaded:?}, {:?}", difference(audited, self.audited));
        self.audited = audited;
        Ok((loaded, audited))
    }

    /// The orderly end: exit code 0, nothing hangs, nothing more is written.
    pub(super) fn finish(&mut self, mut bridge: Bridge) -> Result<()> {
        let mut target = self.pair.target.client();
        let code = bridge.terminate(LIMIT)?;
        ensure!(code == 0, "the bridge ended with {code}:\n{}", bridge.log());
        let mut topics = self.topics.clone();
        topics.push(ledger::topic(self.link));
        target.no_transaction_hangs(&topics)?;
        self.pair.audit(self.link, &self.topics, LIMIT)?;
        Ok(())
    }

    /// How many transactions of the link that copied records are committed. Last stable offsets would not do: an abort moves them too.
    pub(super) fn committed(&self) -> Result<usize> {
        self.transactions(|entry| entry.changes.iter().any(|change| change.records > 0))
    }

    /// Those too whose positions only passed markers: these are written also while nothing comes.
    pub(super) fn committed_at_all(&self) -> Result<usize> {
        self.transactions(|_| true)
    }

    fn transactions(&self, count: impl Fn(&Entry) -> bool) -> Result<usize> {
        let ledger = Ledger::read(&mut self.pair.target.client(), self.link)?;
        Ok(ledger.entries.iter().filter(|entry| entry.committed == Some(true) && count(entry)).count())
    }

    pub(super) fn until_committed(&self, goal: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            let found = self.committed()?;
            if found >= goal {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "{found} transactions are committed after {LIMIT:?}, {goal} were due");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn difference(now: Audited, before: Audited) -> Audited {
    Audited {
        records: now.records - before.records,
        transactions: now.transactions - before.transactions,
        aborted_transactions: now.aborted_transactions - before.aborted_transactions,
        aborted_records: now.aborted_records - before.aborted_records,
    }
}
