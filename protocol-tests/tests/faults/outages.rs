//! Brokers that are killed and come back, and a network that cuts, stalls and swallows: one after the other on one pair.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::Bridge;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::load::Load;
use protocol_tests::pair::Pair;
use protocol_tests::proxy::{Direction, Proxy};

use super::stage::{LIMIT, REQUEST_TIMEOUT, TRANSACTION_TIMEOUT, Trial, rounds, target};
use crate::real;

const CUTS: usize = 12;
/// Beyond the transaction timeout, the coordinator's interval and its work.
const BLACK_HOLE: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_millis(2_500));
/// A transaction is open about every other moment; so many attempts to meet one never fail all.
const ATTEMPTS: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_3_9_2_to_4_4_0_outages", &["3.9.2", "4.4.0"], || {
            let target = target(Spec::kraft("4.4.0").with_tls());
            outages(Spec::zookeeper("3.9.2").with_tls(), target)
        }),
        real("faults", "kafka_3_9_2_to_3_9_2_outages", &["3.9.2"], || {
            let target = target(Spec::zookeeper("3.9.2").with_tls());
            outages(Spec::zookeeper("3.9.2").with_tls(), target)
        }),
    ]
}

fn outages(source: Spec, target: Spec) -> Result<()> {
    let mut trial = Trial::new(Pair::start_behind_proxies(source, target)?, "outages", "")?;
    let mut bridge = trial.bridge()?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    for round in 0..rounds(1) {
        println!("round {round}");
        for side in [Side::Source, Side::Target] {
            killed(&mut trial, &mut bridge, side)?;
            trial.stage(&format!("{side:?}: every connection cut"), &mut bridge, |trial, _| cut(trial, side))?;
            for direction in [Direction::ToBroker, Direction::ToClient] {
                let stalled = REQUEST_TIMEOUT * 2;
                let name = format!("{side:?}: {direction:?} stalled");
                trial.stage(&name, &mut bridge, |trial, load| stall(trial, load, side, direction, stalled))?;
            }
            let name = format!("{side:?}: a black hole");
            trial.stage(&name, &mut bridge, |trial, load| stall(trial, load, side, Direction::Both, BLACK_HOLE))?;
        }
    }
    trial.finish(bridge)
}

impl Side {
    fn cluster(self, trial: &mut Trial) -> &mut KafkaCluster {
        match self {
            Side::Source => &mut trial.pair.source,
            Side::Target => &mut trial.pair.target,
        }
    }

    fn proxy(self, trial: &Trial) -> Result<&Proxy> {
        let proxies = match self {
            Side::Source => &trial.pair.source_proxies,
            Side::Target => &trial.pair.target_proxies,
        };
        proxies.first().context("the pair has no proxies")
    }
}

fn killed(trial: &mut Trial, bridge: &mut Bridge, side: Side) -> Result<()> {
    trial.stage(&format!("{side:?}: the broker killed"), bridge, |trial, _| {
        let away = Duration::from_millis(trial.random.u64(100..3_000));
        let cluster = side.cluster(trial);
        cluster.kill(0);
        ensure!(cluster.client().brokers_once().is_err(), "a killed broker answers");
        thread::sleep(away);
        cluster.restart(0)
    })
}

fn cut(trial: &mut Trial, side: Side) -> Result<()> {
    for _ in 0..CUTS {
        let pause = Duration::from_millis(trial.random.u64(20..500));
        let proxy = side.proxy(trial)?;
        let before = proxy.connections();
        proxy.cut_all();
        thread::sleep(pause);
        let start = std::time::Instant::now();
        while proxy.connections() == before {
            ensure!(start.elapsed() < LIMIT, "no connection came back after a cut");
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn stall(trial: &mut Trial, load: &Load, side: Side, direction: Direction, length: Duration) -> Result<()> {
    let is_beyond = length > TRANSACTION_TIMEOUT && side == Side::Target;
    let timed_out = timeouts(&trial.pair.target);
    stall_at_work(trial, side, direction, is_beyond)?;
    // What the broker had already is still finished.
    thread::sleep(length / 2);
    let through = |trial: &Trial| match side {
        Side::Source => trial.committed(),
        Side::Target => trial.committed_at_all(),
    };
    let (committed, written) = (through(trial)?, load.records());
    thread::sleep(length / 2);
    let stood_still = through(trial)? == committed;
    side.proxy(trial)?.resume(direction);
    ensure!(stood_still, "something was committed through a stalled network");
    ensure!(load.records() > written, "the source stood still too");
    ensure!(!is_beyond || timeouts(&trial.pair.target) > timed_out, "no transaction timed out");
    Ok(())
}

/// With `open` at a moment at which the link has a transaction open.
fn stall_at_work(trial: &Trial, side: Side, direction: Direction, open: bool) -> Result<()> {
    let mut client = trial.pair.target.client();
    for _ in 0..ATTEMPTS {
        side.proxy(trial)?.stall(direction);
        // What is on its way arrives.
        thread::sleep(Duration::from_millis(50));
        if !open || !client.hanging_transactions(&[])?.is_empty() {
            return Ok(());
        }
        side.proxy(trial)?.resume(direction);
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("no transaction was open in {ATTEMPTS} moments")
}

/// How many transactions the target's coordinator has ended for their age.
fn timeouts(cluster: &KafkaCluster) -> usize {
    cluster.log(0).matches("due to timeout").count()
}
