//! Two clusters, the bridges of one link between them, a steady feed, and the eye on the target.
//!
//! The first bridge is the victim: it alone goes through the proxies, so a cut hits nobody else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::fault::{Cut, Fault, is_gone, is_stopped};
use super::feed::Feed;
use super::judge::{Outcome, STILL};
use super::watch::Watch;
use crate::audit::Audited;
use crate::bridge::{Bridge, End};
use crate::command::Finished;
use crate::kafka::{KafkaCluster, Spec};
use crate::pair::Pair;
use crate::shares::until_shared;

const LINK: &str = "takeover";
const TOPIC: &str = "takeover";
/// Each has one of the topic's partitions.
const LANES: u32 = 16;
const PARTITIONS: i32 = 16;
const SEED: u64 = 20_261_125;
/// For whatever must come about at all.
const LIMIT: Duration = Duration::from_secs(120);
/// A partition that has not moved by then never will.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// Before a fault and behind a recovery: so long, everything must move.
const STEADY: Duration = Duration::from_secs(1);
/// A heartbeat's interval: a fault meets its session at any age.
const PHASE_MAX_MS: u64 = 500;
const NAMES: [&str; 3] = ["one", "two", "three"];

pub(super) struct Stage {
    // First: what runs ends before what it runs on.
    bridges: Vec<Bridge>,
    feed: Feed,
    watch: Watch,
    pair: Pair,
    /// Of the bridges so far: each has its own log.
    starts: usize,
    runs: usize,
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) took: Duration,
    pub(super) victims_lanes: usize,
    pub(super) stood_still: usize,
    /// Compared by `verify` since the run before.
    pub(super) records: u64,
}

impl Stage {
    pub(super) fn start(version: &str) -> Result<Stage> {
        let spec = Spec::kraft(version);
        let pair = Pair::start_behind_proxies(spec.clone(), spec)?;
        for cluster in [&pair.source, &pair.target] {
            cluster.client().create_topic(TOPIC, PARTITIONS, 1, &[("retention.ms", "-1")])?;
        }
        let feed = Feed::start(pair.source.client(), TOPIC, PARTITIONS, SEED);
        let watch = Watch::start(pair.target.client(), TOPIC, PARTITIONS);
        Ok(Stage { bridges: vec![], feed, watch, pair, starts: 0, runs: 0 })
    }

    /// So many bridges, which share the lanes.
    pub(super) fn bridges(&mut self, count: usize) -> Result<()> {
        while self.bridges.len() > count
            && let Some(mut spare) = self.bridges.pop()
        {
            ensure!(spare.terminate(LIMIT)? == 0, "{}", spare.log());
        }
        while self.bridges.len() < count {
            let config = self.config(self.bridges.len())?;
            self.bridges.push(Bridge::run(&config)?);
        }
        self.shared().map(drop)
    }

    fn shared(&mut self) -> Result<Vec<BTreeSet<u32>>> {
        let mut all: Vec<_> = self.bridges.iter_mut().collect();
        until_shared(&mut all, LANES, LIMIT)
    }

    /// A file of its own for each start: what is looked for in its log must not be another process's.
    fn config(&mut self, bridge: usize) -> Result<PathBuf> {
        let name = NAMES.get(bridge).context("so many bridges have no names")?;
        self.starts += 1;
        let mut config = self.pair.config(LINK, &[TOPIC]);
        if bridge > 0 {
            (config.source, config.target) = (direct(&self.pair.source), direct(&self.pair.target));
        }
        config.delivery +=
            &format!("lanes = {LANES}\nsharing = \"group\"\ninstance_id = {name:?}\nsession_timeout_ms = 6000\n");
        config.write(self.pair.folder(), &format!("{name}-{}", self.starts))
    }

    pub(super) fn run(&mut self, fault: Fault) -> Result<Run> {
        self.runs += 1;
        let told = format!("{} run {}", fault.name(), self.runs);
        self.run_of(fault).with_context(|| {
            let logs: Vec<_> = self.bridges.iter().map(Bridge::log).collect();
            format!("{told}; the bridges said:\n{}", logs.join("\n--\n"))
        })
    }

    fn run_of(&mut self, fault: Fault) -> Result<Run> {
        let shares = self.shared()?;
        self.watch.forget();
        self.watch.until("every partition moves", LIMIT, |moves| moves.is_steady(STEADY).then_some(()))?;
        thread::sleep(Duration::from_millis(fastrand::u64(..PHASE_MAX_MS)));
        let (took, outcomes) = match fault {
            Fault::KillOneOfTwo | Fault::KillOneOfThree => self.kill()?,
            Fault::Freeze => self.freeze()?,
            Fault::CutFromTarget | Fault::CutFromSource => self.cut(fault, Cut::of_run(self.runs))?,
            Fault::Restart => self.restart()?,
        };
        let victims_lanes = shares.first().map_or(0, BTreeSet::len);
        let stood_still = outcomes.iter().filter(|it| it.stood_still).count();
        ensure!(victims_lanes > 0, "the victim had no lanes");
        // A restart that nobody notices is what is hoped for.
        ensure!(
            stood_still >= victims_lanes || fault == Fault::Restart,
            "the victim had {victims_lanes} lanes, and only {stood_still} partitions stood still for {STILL:?}"
        );
        ensure!(self.feed.is_running(), "the source is not fed any more");
        self.shared()?;
        let records = self.verify()?;
        Ok(Run { took, victims_lanes, stood_still, records })
    }

    /// Until every partition moves again and goes on.
    fn recovery(&mut self, fault: Duration) -> Result<(Duration, Vec<Outcome>)> {
        let took = self.watch.until("every partition moves again", RECOVERY_LIMIT, |moves| {
            let took = moves.recovered(fault)?;
            (moves.seen() >= fault + took + STEADY).then_some(took)
        })?;
        Ok((took, self.watch.outcomes(fault)))
    }

    fn victim(&mut self) -> Result<&mut Bridge> {
        self.bridges.first_mut().context("there is no bridge")
    }

    fn kill(&mut self) -> Result<(Duration, Vec<Outcome>)> {
        let fault = self.watch.now();
        let victim = self.victim()?;
        victim.kill();
        ensure!(is_gone(victim.id()), "the victim lives");
        let found = self.recovery(fault)?;
        let config = self.config(0)?;
        *self.victim()? = Bridge::run(&config)?;
        Ok(found)
    }

    /// Woken, it must give way: what it still holds is another's by now.
    fn freeze(&mut self) -> Result<(Duration, Vec<Outcome>)> {
        let fault = self.watch.now();
        self.victim()?.pause()?;
        is_stopped(self.victim()?)?;
        let found = self.recovery(fault)?;
        let victim = self.victim()?;
        is_stopped(victim)?;
        let before = lost(victim);
        victim.resume()?;
        self.gave_up(before)?;
        Ok(found)
    }

    fn cut(&mut self, fault: Fault, cut: Cut) -> Result<(Duration, Vec<Outcome>)> {
        let is_source = fault == Fault::CutFromSource;
        let proxies = if is_source { &self.pair.source_proxies } else { &self.pair.target_proxies };
        let before = cut.count(proxies);
        let at = self.watch.now();
        cut.make(proxies);
        let lost = self.bridges.first().map_or(0, lost);
        let found = self.recovery(at);
        let proxies = if is_source { &self.pair.source_proxies } else { &self.pair.target_proxies };
        let kept = cut.count(proxies) - before;
        cut.heal(proxies);
        ensure!(kept > 0, "the proxies kept nothing from passing: {cut:?}");
        let found = found?;
        if !is_source {
            self.gave_up(lost)?;
        }
        Ok(found)
    }

    /// The victim says that the session ended without it.
    fn gave_up(&mut self, before: usize) -> Result<()> {
        let start = self.watch.now();
        while lost(self.victim()?) <= before {
            ensure!(self.watch.now() < start + LIMIT, "the victim never gave its lanes up:\n{}", self.victim()?.log());
            thread::sleep(STILL);
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(Duration, Vec<Outcome>)> {
        let config = self.config(0)?;
        let fault = self.watch.now();
        let victim = self.victim()?;
        let code = victim.terminate(LIMIT)?;
        ensure!(code == 0 && is_gone(victim.id()), "it ended with {code}:\n{}", victim.log());
        *self.victim()? = Bridge::run(&config)?;
        let found = self.recovery(fault)?;
        Ok(found)
    }

    /// What was copied since the run before, by the product's own proof.
    fn verify(&mut self) -> Result<u64> {
        let mut config = self.pair.config(LINK, &[TOPIC]);
        (config.source, config.target) = (direct(&self.pair.source), direct(&self.pair.target));
        config.delivery += &format!("lanes = {LANES}\n");
        let config = config.write(self.pair.folder(), "verify")?;
        let arguments = ["verify", "--since-last", "--record", "--json", "--config", &config.to_string_lossy()];
        let done = Finished::run(self.pair.folder(), &arguments, LIMIT)?;
        let report: Value = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
        if done.code != 0 {
            bail!("the copy differs: {}", report["total"]);
        }
        let records = report["total"]["records"].as_u64().unwrap_or(0);
        ensure!(records > 0 && report["recorded"] == PARTITIONS, "verify compared too little: {}", report["total"]);
        Ok(records)
    }

    /// The whole copy by the harness' own client, record by record and transaction by transaction. Ends everything.
    pub(super) fn audit(self) -> Result<Audited> {
        let Stage { mut bridges, feed, watch, pair, .. } = self;
        feed.stop()?;
        drop(watch);
        let audited = pair.audit(LINK, &[TOPIC.to_owned()], LIMIT)?;
        for bridge in &mut bridges {
            ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
        }
        Ok(audited)
    }
}

/// Past the proxies.
fn direct(cluster: &KafkaCluster) -> End {
    End { bootstrap: cluster.plaintext_bootstrap(), tls: None, extra: String::new() }
}

/// How often it has lost all its lanes.
fn lost(bridge: &Bridge) -> usize {
    bridge.log().matches("all lanes are given up").count()
}
