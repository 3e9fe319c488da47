//! Two clusters, the network between, the bridges, and the time in which a schedule happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use kafka_bridge::broker::{Cluster, Coordinator, LogView, RuleId, Server, Settings};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Statistics;
use super::bridges::{Bridges, LINK};
use super::network::{End, Network, Route, Trouble, TroubleId};
use super::producer::{Records, Transacting, Writing, transact, write};
use super::reference::{Reference, Verdict, Violation};
use super::schedule::{At, Schedule, Setup, Step};
use crate::audit::whole;
use crate::ledger::{Place, topic as ledger_topic};
use crate::raw::records::decode;

pub(super) const START_MS: i64 = 1_700_000_000_000;
/// Between two looks at everything.
const TICK: Duration = Duration::from_millis(100);
/// ProgressAfterHeal: everything is copied so long after the last trouble. Start-up patience, transaction timeouts and the
/// discovery of topics all lie within.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// A partition whose source was disturbed either goes on or is told to be stopped, which only the end of the bridge shows.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
const DRAINED_WITHIN: Duration = Duration::from_secs(15);
const TOPICS_MAX: usize = 6;
pub(super) const PARTITIONS_MAX: i32 = 4;
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "300"),
    ("min.compaction.lag.ms", "0"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

/// What is undone after a while, whatever happens meanwhile.
enum Action {
    Step(usize, Step),
    Heal(TroubleId),
    NodeUp(End, i32),
    Release(End, RuleId),
    Markers(End),
    Replication(End, Place),
    Start,
}

pub(super) struct World {
    pub(super) setup: Setup,
    seed: u64,
    network: Network,
    pub(super) source: Arc<Server>,
    pub(super) target: Arc<Server>,
    bridges: Bridges,
    pub(super) reference: Reference,
    pub(super) topics: Vec<String>,
    /// Of those, the compacted ones.
    pub(super) compacted: BTreeSet<String>,
    producers: JoinSet<()>,
    agenda: BTreeMap<(u64, u64), Action>,
    next_number: u64,
    began: Instant,
    rules: Vec<(End, RuleId)>,
    /// Partitions of which something was taken: they may be stopped by an incident.
    pub(super) disturbed: BTreeSet<Place>,
}

type Checked = Result<Result<(), Violation>>;

fn server(setup: &Setup, end: End, seed: u64) -> Arc<Server> {
    let nodes = if end == End::Source { setup.source_nodes } else { setup.target_nodes };
    let base = Settings::nodes(nodes);
    let base = if end == End::Target && !setup.is_v2 { base.like_3_9() } else { base };
    let settings = Settings {
        cluster_id: format!("{}-cluster", end.name()),
        seed: seed.rotate_left(end as u32),
        fetch_bytes_max: if end == End::Source { setup.fetch_bytes_max } else { 1 << 20 },
        marker_delay_ms: setup.marker_delay_ms,
        reap_interval_ms: 500,
        upkeep_interval_ms: None,
        topic_defaults: [("retention.ms".to_owned(), "-1".to_owned())].into(),
        ..base
    };
    let mut cluster = Cluster::new(settings, START_MS);
    for node in 0..nodes {
        cluster.advertise(node, 0, format!("node-{node}"), 9_092);
    }
    Arc::new(Server::start(cluster, START_MS))
}

impl World {
    pub(super) fn new(schedule: &Schedule) -> Result<World> {
        let setup = schedule.setup.clone();
        let network = Network::new(schedule.seed, setup.delay_ms_max);
        let (source, target) = (server(&setup, End::Source, schedule.seed), server(&setup, End::Target, schedule.seed));
        network.serve(End::Source, Arc::clone(&source));
        network.serve(End::Target, Arc::clone(&target));
        let mut world = World {
            bridges: Bridges::new(&setup, network.clone(), START_MS)?,
            seed: schedule.seed,
            network,
            source,
            target,
            reference: Reference::default(),
            topics: Vec::new(),
            compacted: BTreeSet::new(),
            producers: JoinSet::new(),
            agenda: BTreeMap::new(),
            next_number: 0,
            began: Instant::now(),
            rules: Vec::new(),
            disturbed: BTreeSet::new(),
            setup,
        };
        let topics = world.setup.topics.clone();
        for (index, partitions) in topics.iter().enumerate() {
            world.create_topic(*partitions, index > 0 && index + 1 == topics.len())?;
        }
        for (index, (at_ms, step)) in schedule.steps.iter().enumerate() {
            world.plan(*at_ms, Action::Step(index, step.clone()));
        }
        world.plan(5, Action::Start);
        Ok(world)
    }

    fn create_topic(&mut self, partitions: i32, is_compacted: bool) -> Result<()> {
        let name = format!("t{}", self.topics.len());
        let replicas = i16::try_from(self.setup.source_nodes)?;
        if is_compacted {
            self.compacted.insert(name.clone());
        }
        let configs = self.configs(&name);
        let created = self.source.with(|cluster, _| {
            let alive = (0..self.setup.source_nodes).filter(|it| cluster.is_node_alive(*it)).count();
            let replicas = replicas.min(i16::try_from(alive).unwrap_or(1));
            cluster.create_topic(&name, partitions, replicas, configs)
        });
        if created.is_ok() {
            self.topics.push(name);
        }
        Ok(())
    }

    pub(super) fn configs(&self, topic: &str) -> &'static [(&'static str, &'static str)] {
        if self.compacted.contains(topic) { &COMPACTED } else { &[] }
    }

    fn plan(&mut self, at_ms: u64, action: Action) {
        self.agenda.insert((at_ms, self.next_number), action);
        self.next_number += 1;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn later(&mut self, ms: u64, action: Action) {
        self.plan(self.now_ms() + ms, action);
    }

    fn server(&self, end: End) -> Arc<Server> {
        Arc::clone(if end == End::Source { &self.source } else { &self.target })
    }

    /// A place that exists, if any does.
    fn place(&self, at: At) -> Option<Place> {
        let topic = self.topics.get(at.topic % self.topics.len().max(1))?;
        let partitions = self.source.with(|cluster, _| cluster.partitions(topic)).filter(|it| *it > 0)?;
        Some((topic.clone(), at.partition % partitions))
    }

    fn places(&self) -> Vec<Place> {
        let partitions = |topic: &String| self.source.with(|cluster, _| cluster.partitions(topic)).unwrap_or(0);
        self.topics.iter().flat_map(|topic| (0..partitions(topic)).map(move |it| (topic.clone(), it))).collect()
    }

    pub(super) fn statistics(&self) -> Statistics {
        let total = &self.bridges.summary;
        let struck = self.rules.iter().map(|(end, rule)| self.server(*end).with(|it, _| it.struck(*rule))).sum();
        Statistics {
            virtual_ms: self.now_ms(),
            transactions: total.transactions,
            aborted: total.aborted,
            starts: total.starts,
            struck,
            incidents: total.incidents.len() as u64,
            records: self.reference.copied(),
            trace: self.network.trace(),
        }
    }

    /// Everything to the end: the schedule, the healing, and what must hold then.
    pub(super) async fn run(&mut self) -> Checked {
        while let Some(((at_ms, _), _)) = self.agenda.first_key_value() {
            let due = self.began + Duration::from_millis(*at_ms);
            let tick = Instant::now() + TICK;
            if due > Instant::now() {
                tokio::time::sleep_until(due.min(tick)).await;
                if let Err(violation) = self.look().await? {
                    return Ok(Err(violation));
                }
                continue;
            }
            let Some((_, action)) = self.agenda.pop_first() else { break };
            if let Err(violation) = self.act(action).await? {
                return Ok(Err(violation));
            }
            let is_over = self.now_ms() >= self.setup.duration_ms;
            if is_over && !self.agenda.values().any(|it| matches!(it, Action::Step(..))) {
                break;
            }
        }
        if let Err(violation) = self.heal().await? {
            return Ok(Err(violation));
        }
        self.conclude().await
    }

    /// All troubles end.
    async fn heal(&mut self) -> Checked {
        while let Some((_, action)) = self.agenda.pop_first() {
            if !matches!(action, Action::Start)
                && let Err(violation) = self.act(action).await?
            {
                return Ok(Err(violation));
            }
        }
        for (end, rule) in self.rules.clone() {
            self.server(end).with(|cluster, now_ms| {
                cluster.end_rule(rule);
                cluster.release(now_ms, rule);
            });
        }
        Ok(Ok(()))
    }

    async fn conclude(&mut self) -> Checked {
        let healed = Instant::now();
        loop {
            if self.bridges.running.is_empty() {
                self.bridges.start()?;
            }
            tokio::time::sleep(TICK).await;
            if let Err(violation) = self.look().await? {
                return Ok(Err(violation));
            }
            let behind: Vec<_> = self.places().into_iter().filter(|it| !self.reference.is_done(it)).collect();
            let is_settled = healed.elapsed() > SETTLED_WITHIN;
            let waits = behind.iter().any(|it| !is_settled || !self.disturbed.contains(it));
            if self.producers.is_empty() && !waits {
                break;
            }
            if healed.elapsed() > HEALED_WITHIN {
                let place = behind.first().map_or("its source", |it| &it.0);
                let what = format!("{place} and {} partitions are not copied {HEALED_WITHIN:?} later", behind.len());
                return Ok(Err(Violation::new("ProgressAfterHeal", what)));
            }
        }
        while !self.bridges.running.is_empty() {
            self.bridges.stop(0);
            let asked = Instant::now();
            let count = self.bridges.running.len();
            while self.bridges.running.len() == count {
                tokio::time::sleep(TICK).await;
                if let Err(violation) = self.look().await? {
                    return Ok(Err(violation));
                }
                if asked.elapsed() > DRAINED_WITHIN {
                    return Ok(Err(Violation::new("ProgressAfterHeal", "the bridge does not drain")));
                }
            }
        }
        // Markers of the last transactions are on their way.
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Err(violation) = self.look().await? {
            return Ok(Err(violation));
        }
        self.judge()
    }

    fn judge(&self) -> Checked {
        let incidents = &self.bridges.summary.incidents;
        for incident in incidents {
            let place = (incident.partition.topic.to_string(), incident.partition.partition);
            if !self.disturbed.contains(&place) {
                return Ok(Err(Violation::new("NoFalseIncident", incident.to_string())));
            }
        }
        let mut logs = BTreeMap::new();
        for place in self.places() {
            let of_place = |topic: &str, partition: i32| topic == place.0.as_str() && partition == place.1;
            let stopped_at = incidents
                .iter()
                .find(|it| of_place(&it.partition.topic, it.partition.partition))
                .map(|it| it.next_offset);
            if let Some(violation) = self.reference.judge(&Verdict { stopped_at, place: &place }) {
                return Ok(Err(violation));
            }
            let Some(view) = self.view(End::Target, &place.0, place.1, 0) else { continue };
            if view.last_stable_offset < view.end {
                let what = format!("{}-{} at the target has an open transaction", place.0, place.1);
                return Ok(Err(Violation::new("NothingHangs", what)));
            }
            logs.insert(place, decode(&view.batches)?);
        }
        Ok(match whole(&self.reference.ledger, &logs) {
            Ok(_) => Ok(()),
            Err(error) => Err(Violation::new("AllOrNothing", format!("{error:#}"))),
        })
    }

    fn view(&self, end: End, topic: &str, partition: i32, from: i64) -> Option<LogView> {
        self.server(end).with(|cluster, _| cluster.log(topic, partition, from))
    }

    /// The cheap invariants, and bridges that have ended.
    async fn look(&mut self) -> Checked {
        while self.producers.try_join_next().is_some() {}
        match self.bridges.reap().await {
            Err(violation) => return Ok(Err(violation)),
            Ok(Some(down_ms)) => self.later(down_ms, Action::Start),
            Ok(None) => {}
        }
        for place in self.places() {
            self.observe_source(&place)?;
            let view = self.view(End::Target, &place.0, place.1, self.reference.next_at_target(&place));
            if let Some(view) = view
                && let Some(violation) = self.reference.observe_copy(&place, &view)?
            {
                return Ok(Err(violation));
            }
        }
        let ledger = ledger_topic(LINK);
        for lane in 0..i32::try_from(self.setup.lanes)? {
            let view = self.view(End::Target, &ledger, lane, self.reference.next_in_ledger(lane));
            if let Some(view) = view
                && let Some(violation) = self.reference.observe_ledger(lane, &view)?
            {
                return Ok(Err(violation));
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn observe_source(&mut self, place: &Place) -> Result<()> {
        let view = self.view(End::Source, &place.0, place.1, self.reference.next_at_source(place));
        view.map_or(Ok(()), |view| self.reference.source(place).observe(&view))
    }

    async fn act(&mut self, action: Action) -> Checked {
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
            Action::Start if self.bridges.running.is_empty() => self.bridges.start()?,
            Action::Start => {}
        }
        Ok(Ok(()))
    }

    fn trouble(&mut self, route: Route, trouble: Trouble, ms: u64) {
        let id = self.network.begin(route, trouble);
        self.later(ms, Action::Heal(id));
    }

    fn records(&self, step: usize) -> Records {
        let random = fastrand::Rng::with_seed(self.seed ^ (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let now_ms = START_MS + i64::try_from(self.now_ms()).unwrap_or(0);
        Records { step, random, now_ms, next: 0 }
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
                    self.trouble(route, Trouble::Stall(super::network::Direction::Both), ms);
                    self.bridges.start()?;
                }
            }
            Step::ForgetGroup => self.forget_group().await?,
            Step::Clock { ms } => self.bridges.clock_ms.store(ms, Ordering::Relaxed),
            Step::Grow { topic } => self.grow(topic).await?,
            Step::Recreate { topic } => self.recreate(topic).await?,
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
                let rule =
                    kafka_bridge::broker::Rule::new(api, fault).client_id("kafka-bridge").skip(skip).times(times);
                let id = self.server(end).with(|cluster, _| cluster.add_rule(rule));
                self.rules.push((end, id));
            }
            Step::Hold { end, api, skip, ms } => {
                let fault = kafka_bridge::broker::Fault::HoldRequest;
                let rule = kafka_bridge::broker::Rule::new(api, fault).client_id("kafka-bridge").skip(skip);
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
                    if let Some(view) = self.view(End::Source, &place.0, place.1, 0) {
                        self.reference.source(&place).compacted(&view)?;
                    }
                }
            }
            Step::NewTopic { partitions } if self.topics.len() < TOPICS_MAX => self.create_topic(partitions, false)?,
            Step::FinalizeV2 if self.setup.is_v2 => {
                self.target.with(|cluster, _| cluster.set_transaction_version(2));
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
