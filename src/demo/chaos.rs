//! Breaks things while the demo runs, from a seed: nodes, leaders, connections, answers, the registry, and the bridge itself.

use super::registry::{self, RegistryServer};
use super::zone::{NODES, Zone};
use crate::broker::{Fault, Loss, Rule, RuleId};
use crate::types::NodeId;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

pub(super) const BRIDGE_CLIENT_ID: &str = "kafka-bridge";
const FETCH: i16 = 1;
const PRODUCE: i16 = 0;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;
/// A bridge that has something to check asks sooner; one that has nothing must not hold the demo up.
const REGISTRY_ASKED_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Within the bridge's patience with one request.
const REGISTRY_DELAY: Duration = Duration::from_millis(700);
/// As many connections as a bridge has to one zone, more or less.
const CUT_REQUESTS: u64 = 40;

/// How often each thing happened.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Faults {
    fn happened(&self, what: &'static str, times: u64) {
        if times > 0 {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += times;
        }
    }

    pub(super) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) struct Chaos {
    pub(super) zones: [Arc<Zone>; 2],
    pub(super) registry: Arc<RegistryServer>,
    pub(super) topics: Vec<(&'static str, usize)>,
    pub(super) kill_bridge: Arc<Notify>,
    pub(super) faults: Faults,
    pub(super) random: Rng,
}

impl Chaos {
    /// Until `stop`; then everything is whole again.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut rules = Vec::new();
        // First of all, for later every schema may be known.
        self.trouble_registry().await;
        loop {
            let pause = Duration::from_millis(self.random.u64(150..900));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|it| *it) => break,
            }
            let zone = self.random.usize(..2);
            match self.random.u8(..14) {
                0..=2 => self.kill_node(zone).await,
                3..=5 => self.move_leader(zone),
                6..=7 => {
                    let cut = Rule::any(Fault::LoseAnswer(Loss::Close)).client_id(BRIDGE_CLIENT_ID);
                    rules.push((zone, "connections cut", self.rule(zone, cut.times(CUT_REQUESTS))));
                }
                8..=10 => {
                    let (zone, api, what) = match self.random.u8(..4) {
                        0 => (0, FETCH, "Fetch answers lost"),
                        1 => (1, PRODUCE, "Produce answers lost"),
                        2 => (1, TXN_OFFSET_COMMIT, "TxnOffsetCommit answers lost"),
                        _ => (1, END_TXN, "EndTxn answers lost"),
                    };
                    let lost = Rule::new(api, Fault::LoseAnswer(Loss::Close)).client_id(BRIDGE_CLIENT_ID);
                    rules.push((zone, what, self.rule(zone, lost)));
                }
                11..=12 => self.trouble_registry().await,
                _ => self.kill_bridge(),
            }
            self.count(&mut rules);
        }
        for zone in &self.zones {
            zone.server.with(|cluster, now_ms| {
                (0..NODES).for_each(|node| cluster.restart_node(now_ms, node));
            });
        }
        for (zone, _, rule) in &rules {
            self.zones[*zone].server.with(|cluster, _| cluster.end_rule(*rule));
        }
        self.count(&mut rules);
    }

    fn rule(&self, zone: usize, rule: Rule) -> RuleId {
        self.zones[zone].server.with(|cluster, _| cluster.add_rule(rule))
    }

    /// A rule that did not strike was no fault.
    fn count(&self, rules: &mut Vec<(usize, &'static str, RuleId)>) {
        rules.retain(|(zone, what, rule)| {
            let struck = self.zones[*zone].server.with(|cluster, _| cluster.struck(*rule));
            self.faults.happened(what, struck);
            struck == 0
        });
    }

    fn kill_bridge(&self) {
        self.kill_bridge.notify_one();
        self.faults.happened("bridges killed", 1);
    }

    /// A bridge asks for a schema once, so it is killed as well: the next one knows none, and what it has to check must wait.
    async fn trouble_registry(&mut self) {
        let (fault, what) = if self.random.bool() {
            (registry::Fault::Down, "registry requests refused")
        } else {
            (registry::Fault::Slow(REGISTRY_DELAY), "registry answers delayed")
        };
        let (before, down) = (self.registry.struck(), Duration::from_millis(self.random.u64(300..2_000)));
        self.registry.fail("", fault);
        self.kill_bridge();
        // The next bridge needs a moment to begin, and asks only where there is something to check.
        let asked = async {
            while self.registry.struck() == before {
                tokio::time::sleep(POLL).await;
            }
        };
        let _ = tokio::time::timeout(REGISTRY_ASKED_WITHIN, asked).await;
        tokio::time::sleep(down).await;
        self.registry.mend();
        self.faults.happened(what, self.registry.struck() - before);
    }

    async fn kill_node(&mut self, zone: usize) {
        let node = self.random.i32(..NODES);
        let down = Duration::from_millis(self.random.u64(200..1_500));
        let server = &self.zones[zone].server;
        server.with(|cluster, now_ms| cluster.kill_node(now_ms, node));
        self.faults.happened(if zone == 0 { "source nodes killed" } else { "target nodes killed" }, 1);
        tokio::time::sleep(down).await;
        server.with(|cluster, now_ms| cluster.restart_node(now_ms, node));
    }

    fn move_leader(&mut self, zone: usize) {
        let (topic, partitions) = self.topics[self.random.usize(..self.topics.len())];
        let partition = i32::try_from(self.random.usize(..partitions)).unwrap_or(0);
        let to: NodeId = self.random.i32(..NODES);
        let moved = self.zones[zone].server.with(|cluster, now_ms| {
            cluster.leader(topic, partition) != Some(to) && cluster.move_partition(now_ms, topic, partition, to).is_ok()
        });
        self.faults.happened("leaders moved", u64::from(moved));
    }
}
