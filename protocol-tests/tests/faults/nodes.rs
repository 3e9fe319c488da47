//! A target of three nodes that loses those that matter: coordinators and the ledger's leader.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::kafka::Spec;
use protocol_tests::ledger;
use protocol_tests::pair::Pair;

use super::stage::{LIMIT, Trial, rounds, target};
use crate::real;

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_4_4_0_three_nodes_lose_a_coordinator", &["4.4.0"], || nodes("")),
        real("faults", "kafka_4_4_0_three_nodes_lose_a_coordinator_on_v1", &["4.4.0"], || {
            nodes("transaction_protocol = \"v1\"")
        }),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    TransactionCoordinator,
    GroupCoordinator,
    LedgerLeader,
}

impl Victim {
    fn node(self, trial: &Trial) -> Result<usize> {
        let (mut client, link) = (trial.pair.target.client(), trial.link);
        Ok(usize::try_from(match self {
            Victim::TransactionCoordinator => client.transaction_coordinator(&format!("{link}.0"))?,
            Victim::GroupCoordinator => client.group_coordinator(link)?,
            Victim::LedgerLeader => client.retry(|client| client.leader(&ledger::topic(link), 0))?,
        })?)
    }
}

fn nodes(delivery: &str) -> Result<()> {
    let pair = Pair::start(Spec::kraft("4.4.0").with_tls(), target(Spec::kraft("4.4.0").with_tls().nodes(3)))?;
    let mut trial = Trial::new(pair, "nodes", delivery)?;
    let mut bridge = trial.bridge()?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    for _ in 0..rounds(1) {
        for victim in [Victim::TransactionCoordinator, Victim::GroupCoordinator, Victim::LedgerLeader] {
            trial.pair.target.client().until_replicated()?;
            trial.stage(&format!("{victim:?} killed"), &mut bridge, |trial, load| {
                let node = victim.node(trial)?;
                trial.pair.target.kill(node);
                load.until_more(50, LIMIT)?;
                // Two nodes are left: the link must go on while the third is away.
                let successor = until_moved(trial, victim, node)?;
                let before = trial.committed()?;
                trial.until_committed(before + 1)?;
                println!("{victim:?} moved from node {node} to {successor}");
                trial.pair.target.restart(node)
            })?;
        }
    }
    trial.finish(bridge)
}

fn until_moved(trial: &Trial, victim: Victim, node: usize) -> Result<usize> {
    let start = std::time::Instant::now();
    loop {
        match victim.node(trial) {
            Ok(found) if found != node => return Ok(found),
            _ => ensure!(start.elapsed() < LIMIT, "{victim:?} did not move from node {node}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}
