//! What each step does, and what undoes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use kafka_bridge::broker::{Coordinator, Fault, Rule};

use super::bridges::LINK;
use super::datums::Datums;
use super::network::{Direction, End, Route, Trouble};
use super::producer::{Records, Transacting, Writing, transact, write};
use super::schedule::{At, Step};
use super::world::{Action, Checked, START_MS, TOPICS_MAX, World};
use crate::ledger::topic as ledger_topic;
use crate::raw::records::decode;

impl World {
    pub(super) async fn act(&mut self, action: Action) -> Checked {
        match action {
            Action::Step(index, step) => return self.step(index, step).await,
            Action::Heal(trouble) => self.network.heal(trouble),
            Action::NodeUp(end, node) => self.server(end).with(|cluster, now_ms| cluster.restart_node(now_ms, node)),
            Action::Release(end, rule) => self.server(end).with(|cluster, now_ms| {
                cluster.end_rule(rule);
                cluster.release(now_ms, rule);
            }),
            Action::Markers(end) => self.server(end).with(|cluster, now_ms| cluster.hold_markers(now_ms, false)),
            Action::Replication(end, (topic, partition)) => {
                let _ = self.server(end).with(|cluster, _| cluster.hold_replication(&topic, partition, false));
            }
            Action::Mend(end) => self.registries.iter().for_each(|it| it.mend(end)),
            Action::Start if self.bridges.running.is_empty() => self.bridges.start()?,
            Action::Start => {}
        }
        Ok(Ok(()))
    }

    pub(super) fn trouble(&mut self, route: Route, trouble: Trouble, ms: u64) {
        let id = self.network.begin(route, trouble);
        self.later(ms, Action::Heal(id));
    }

    fn records(&self, step: usize) -> Records {
        let random = fastrand::Rng::with_seed(self.seed ^ (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let now_ms = START_MS + i64::try_from(self.now_ms()).unwrap_or(0);
        let datums = self.registries.as_ref().zip(self.setup.validation.clone()).map(|(registries, validation)| {
            Datums { topics: self.checked_topics().collect(), validation, is_evolved: registries.is_evolved }
        });
        Records { step, random, now_ms, next: 0, datums }
    }

    async fn step(&mut self, index: usize, step: Step) -> Checked {
        match step {
            Step::Write { at, producer, codec, batches, records, bytes } => {
                if let Some(place) = self.place(at) {
                    let what = Writing { place, producer, codec, batches, records, bytes };
                    let (server, nodes, records) =
                        (Arc::clone(&self.source), self.setup.source_nodes, self.records(index));
                    // Whether it succeeded is of no account: the reference reads the log.
                    self.producers.spawn(async move {
                        let _ = write(server, nodes, what, records).await;
                    });
                }
            }
            Step::Transact { at, codec, records, verdict, pause_ms } => {
                let places = at.into_iter().filter_map(|it| self.place(it)).collect();
                let what = Transacting { places, codec, records, verdict, pause: Duration::from_millis(pause_ms) };
                let (server, nodes, records) = (Arc::clone(&self.source), self.setup.source_nodes, self.records(index));
                self.producers.spawn(async move {
                    let _ = transact(server, nodes, what, records).await;
                });
            }
            Step::Kill { down_ms } => {
                if let Err(violation) = self.bridges.kill().await {
                    return Ok(Err(violation));
                }
                self.later(down_ms, Action::Start);
            }
            Step::PowerOff { down_ms } => {
                if let Some(bridge) = self.bridges.running.last() {
                    self.network.power_off(bridge.host);
                }
                if let Err(violation) = self.bridges.kill().await {
                    return Ok(Err(violation));
                }
                self.later(down_ms, Action::Start);
            }
            Step::Stop { down_ms } => self.bridges.stop(down_ms),
            Step::Second => self.bridges.start()?,
            Step::Zombie { ms } => {
                if let Some(bridge) = self.bridges.running.last() {
                    let route = Route { host: Some(bridge.host), end: None, node: None };
                    self.trouble(route, Trouble::Stall(Direction::Both), ms);
                    self.bridges.start()?;
                }
            }
            Step::ForgetGroup => self.forget_group().await?,
            Step::Clock { ms } => self.bridges.clock_ms.store(ms, Ordering::Relaxed),
            Step::Grow { topic } => self.grow(topic).await?,
            Step::Recreate { topic } => self.recreate(topic).await?,
            Step::Evolve => self.evolve().await?,
            Step::Registry { end, fault, ms } => self.fail_registry(end, fault, ms),
            other => self.disturb(other)?,
        }
        Ok(Ok(()))
    }

    fn disturb(&mut self, step: Step) -> Result<()> {
        let nodes = |end| if end == End::Source { self.setup.source_nodes } else { self.setup.target_nodes };
        match step {
            Step::NodeDown { end, node, ms } => {
                let node = node % nodes(end);
                self.server(end).with(|cluster, now_ms| cluster.kill_node(now_ms, node));
                self.later(ms, Action::NodeUp(end, node));
            }
            Step::Move { end, at, node } => {
                if let Some((topic, partition)) = self.place(at) {
                    let node = node % nodes(end);
                    // It may not exist at the target yet, and the node may be down.
                    let _ = self.server(end).with(|it, now_ms| it.move_partition(now_ms, &topic, partition, node));
                }
            }
            Step::MoveLedger { lane, node } => {
                let (topic, lane, node) = (ledger_topic(LINK), i32::try_from(lane)?, node % nodes(End::Target));
                let _ = self.target.with(|cluster, now_ms| cluster.move_partition(now_ms, &topic, lane, node));
            }
            Step::MoveCoordinator { kind, lane, node } => {
                let key = if kind == Coordinator::Group { LINK.to_owned() } else { format!("{LINK}.{lane}") };
                let node = node % nodes(End::Target);
                let _ = self.target.with(|cluster, now_ms| cluster.move_coordinator(now_ms, kind, &key, node));
            }
            Step::Strike { end, api, fault, skip, times } => {
                let rule = Rule::new(api, fault).client_id("kafka-bridge").skip(skip).times(times);
                let id = self.server(end).with(|cluster, _| cluster.add_rule(rule));
                self.rules.push((end, id));
            }
            Step::Hold { end, api, skip, ms } => {
                let fault = Fault::HoldRequest;
                let rule = Rule::new(api, fault).client_id("kafka-bridge").skip(skip);
                let id = self.server(end).with(|cluster, _| cluster.add_rule(rule));
                self.rules.push((end, id));
                self.later(ms, Action::Release(end, id));
            }
            Step::Stall { end, node, direction, ms } => {
                self.trouble(Route { host: None, end, node }, Trouble::Stall(direction), ms);
            }
            Step::Refuse { end, node, ms } => {
                self.trouble(Route { host: None, end: Some(end), node }, Trouble::Refuse, ms);
            }
            Step::Slow { end, delay_ms, ms } => {
                self.trouble(Route { host: None, end, node: None }, Trouble::Slow(delay_ms), ms);
            }
            Step::Cut { end, node, direction, after_bytes } => {
                self.network.cut(Route { host: None, end: Some(end), node }, direction, after_bytes);
            }
            Step::HoldMarkers { end, ms } => {
                self.server(end).with(|cluster, now_ms| cluster.hold_markers(now_ms, true));
                self.later(ms, Action::Markers(end));
            }
            Step::HoldReplication { end, at, ms } => {
                if let Some(place) = self.place(at) {
                    let held = self.server(end).with(|cluster, _| cluster.hold_replication(&place.0, place.1, true));
                    if held.is_ok() {
                        self.later(ms, Action::Replication(end, place));
                    }
                }
            }
            Step::Retain { at, percent } => {
                if let Some(place) = self.place(at) {
                    self.observe_source(&place)?;
                    let (topic, partition) = &place;
                    let view = self.view(End::Source, topic, *partition, i64::MAX).context("no log")?;
                    let to = view.start + (view.high_watermark - view.start) * percent / 100;
                    let _ = self.source.with(|cluster, _| cluster.advance_retention(topic, *partition, to));
                    self.disturbed.insert(place);
                }
            }
            Step::Truncate { at, batches } => self.truncate(at, batches)?,
            Step::Compact => {
                for place in self.places() {
                    self.observe_source(&place)?;
                }
                self.source.with(|cluster, now_ms| cluster.run_upkeep(now_ms));
                for place in self.places() {
                    // A marker that was due in this very instant has decided what was cleaned with it.
                    self.observe_source(&place)?;
                    if let Some(view) = self.view(End::Source, &place.0, place.1, 0) {
                        self.reference.source(&place).compacted(&view)?;
                    }
                }
            }
            Step::NewTopic { partitions } if self.topics.len() < TOPICS_MAX => self.create_topic(partitions, false)?,
            Step::FinalizeV2 if self.setup.begins_with_v1 => {
                self.target.with(|cluster, _| cluster.set_transaction_version(2));
                self.upgrades += u64::from(!self.bridges.running.is_empty());
            }
            _ => {}
        }
        Ok(())
    }

    /// Only where no transaction is cut: what becomes of such a one nobody can say.
    fn truncate(&mut self, at: At, batches: usize) -> Result<()> {
        let Some(place) = self.place(at) else { return Ok(()) };
        self.observe_source(&place)?;
        let (topic, partition) = &place;
        let Some(view) = self.view(End::Source, topic, *partition, 0) else { return Ok(()) };
        let all = decode(&view.batches)?;
        let mut open = BTreeSet::new();
        let mut ends = Vec::new();
        for batch in &all {
            if open.is_empty() {
                ends.push(batch.base_offset);
            }
            match (batch.control, batch.transactional) {
                (true, _) => drop(open.remove(&batch.producer_id)),
                (false, true) => drop(open.insert(batch.producer_id)),
                (false, false) => {}
            }
        }
        let Some(end) = ends.iter().rev().nth(batches).or(ends.first()).copied() else { return Ok(()) };
        if self.source.with(|cluster, _| cluster.truncate(topic, *partition, end)).is_ok() {
            let view = self.view(End::Source, topic, *partition, 0).context("no log")?;
            self.reference.source(&place).truncated(&view)?;
            self.disturbed.insert(place);
        }
        Ok(())
    }
}
