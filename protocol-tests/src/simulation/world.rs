//! Two clusters, the network between, the bridges, and the time in which a schedule happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kafka_bridge::bridge::{IncidentKind, Objection};
use kafka_bridge::broker::{Cluster, LogView, RuleId, Server, Settings};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Statistics;
use super::bridges::{Bridges, LINK};
use super::datums::MAPPED;
use super::network::{End, Network, TroubleId};
use super::reference::{Checks, Reference, Verdict, Violation};
use super::registries::Registries;
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
pub(super) const TOPICS_MAX: usize = 6;
pub(super) const PARTITIONS_MAX: i32 = 4;
pub(super) const DEAD_LETTERS: &str = "sim.dead-letters";
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "300"),
    ("min.compaction.lag.ms", "0"),
    ("min.cleanable.dirty.ratio", "0.01"),
];

/// What is undone after a while, whatever happens meanwhile.
pub(super) enum Action {
    Step(usize, Step),
    Heal(TroubleId),
    NodeUp(End, i32),
    Release(End, RuleId),
    Markers(End),
    Replication(End, Place),
    /// Of that end's schema registry.
    Mend(End),
    Start,
}

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) seed: u64,
    pub(super) network: Network,
    pub(super) source: Arc<Server>,
    pub(super) target: Arc<Server>,
    /// None: nothing is checked.
    pub(super) registries: Option<Registries>,
    pub(super) bridges: Bridges,
    pub(super) reference: Reference,
    pub(super) topics: Vec<String>,
    /// Of those, the compacted ones.
    pub(super) compacted: BTreeSet<String>,
    pub(super) producers: JoinSet<()>,
    pub(super) agenda: BTreeMap<(u64, u64), Action>,
    pub(super) next_number: u64,
    pub(super) began: Instant,
    pub(super) rules: Vec<(End, RuleId)>,
    /// Partitions of which something was taken: they may be stopped by an incident.
    pub(super) disturbed: BTreeSet<Place>,
    pub(super) upgrades: u64,
}

pub(super) type Checked = Result<Result<(), Violation>>;

fn server(setup: &Setup, end: End, seed: u64) -> Arc<Server> {
    let nodes = if end == End::Source { setup.source_nodes } else { setup.target_nodes };
    let base = Settings::nodes(nodes);
    let base = match end {
        End::Target if !setup.is_v2 => base.like_3_9(),
        End::Target if setup.begins_with_v1 => Settings { transaction_version: 1, ..base },
        _ => base,
    };
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

pub(super) fn topic_name(index: usize) -> String {
    format!("t{index}")
}

fn checks(setup: &Setup) -> Option<Checks> {
    let validation = setup.validation.as_ref()?;
    Some(Checks {
        topics: validation.topics.iter().map(|it| topic_name(*it)).collect(),
        stops: validation.stops,
        mapped: if validation.maps_ids { MAPPED.into() } else { BTreeMap::new() },
    })
}

impl World {
    pub(super) async fn new(schedule: &Schedule) -> Result<World> {
        let setup = schedule.setup.clone();
        let network = Network::new(schedule.seed, setup.delay_ms_max);
        let (source, target) = (server(&setup, End::Source, schedule.seed), server(&setup, End::Target, schedule.seed));
        network.serve(End::Source, Arc::clone(&source));
        network.serve(End::Target, Arc::clone(&target));
        let registries = match &setup.validation {
            Some(validation) => Some(Registries::start(validation, &network).await?),
            None => None,
        };
        let mut world = World {
            bridges: Bridges::new(&setup, network.clone(), START_MS)?,
            seed: schedule.seed,
            network,
            registries,
            source,
            target,
            reference: Reference::new(checks(&setup)),
            topics: Vec::new(),
            compacted: BTreeSet::new(),
            producers: JoinSet::new(),
            agenda: BTreeMap::new(),
            next_number: 0,
            began: Instant::now(),
            rules: Vec::new(),
            disturbed: BTreeSet::new(),
            upgrades: 0,
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

    pub(super) fn create_topic(&mut self, partitions: i32, is_compacted: bool) -> Result<()> {
        let name = topic_name(self.topics.len());
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

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn later(&mut self, ms: u64, action: Action) {
        self.plan(self.now_ms() + ms, action);
    }

    pub(super) fn server(&self, end: End) -> Arc<Server> {
        Arc::clone(if end == End::Source { &self.source } else { &self.target })
    }

    pub(super) fn checked_topics(&self) -> impl Iterator<Item = String> {
        self.setup.validation.iter().flat_map(|it| &it.topics).map(|it| topic_name(*it))
    }

    pub(super) async fn evolve(&mut self) -> Result<()> {
        match &mut self.registries {
            Some(registries) => registries.evolve().await,
            None => Ok(()),
        }
    }

    /// A place that exists, if any does.
    pub(super) fn place(&self, at: At) -> Option<Place> {
        let topic = self.topics.get(at.topic % self.topics.len().max(1))?;
        let partitions = self.source.with(|cluster, _| cluster.partitions(topic)).filter(|it| *it > 0)?;
        Some((topic.clone(), at.partition % partitions))
    }

    pub(super) fn places(&self) -> Vec<Place> {
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
            superseded: total.superseded,
            starts: total.starts,
            struck,
            incidents: total.incidents.len() as u64,
            upgrades: self.upgrades,
            source_aborted: self.reference.source_aborted(),
            generations: self.target.with(|it, _| it.generation(LINK)).unwrap_or(0).unsigned_abs().into(),
            records: self.reference.copied(),
            filed: self.reference.filed(),
            objections: total.incidents.iter().filter(|it| matches!(it.kind, IncidentKind::Invalid(_))).count() as u64,
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
        // Whoever shortens a schedule may have dropped it.
        self.evolve().await?;
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
            let may_stop = |it: &Place| self.disturbed.contains(it) || self.reference.objects(it);
            let waits = behind.iter().any(|it| !is_settled || !may_stop(it));
            if self.producers.is_empty() && !waits {
                break;
            }
            if healed.elapsed() > HEALED_WITHIN {
                let place = behind.first().map_or("its source", |it| &it.0);
                let judged = behind.first().and_then(|place| {
                    let judged = self.reference.judge(&Verdict { stopped_at: None, place })?;
                    Some(judged.to_string())
                });
                let what = format!(
                    "{place} and {} partitions are not copied {HEALED_WITHIN:?} later: {}",
                    behind.len(),
                    judged.unwrap_or_default()
                );
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
            let is_told = match &incident.kind {
                IncidentKind::Invalid(Objection { offset, why }) => {
                    self.reference.expects(&place, *offset, &why.reason)
                }
                _ => self.disturbed.contains(&place),
            };
            if !is_told {
                return Ok(Err(Violation::new("NoFalseIncident", incident.to_string())));
            }
        }
        let mut logs = BTreeMap::new();
        for place in self.places() {
            let of_place = |topic: &str, partition: i32| topic == place.0.as_str() && partition == place.1;
            let told = incidents.iter().filter(|it| of_place(&it.partition.topic, it.partition.partition));
            let mut ends: Vec<_> = told.map(|it| Some(it.next_offset)).collect();
            if !self.reference.objects(&place) {
                ends.truncate(1);
            }
            // What was objected to may be gone from the source by now.
            if ends.is_empty() || self.reference.objects(&place) {
                ends.push(None);
            }
            let judged: Vec<_> = ends
                .into_iter()
                .map(|stopped_at| self.reference.judge(&Verdict { stopped_at, place: &place }))
                .collect();
            if let Some(Some(violation)) = judged.iter().find(|it| it.is_none()).or(judged.first()) {
                return Ok(Err(violation.clone()));
            }
            let Some(view) = self.view(End::Target, &place.0, place.1, 0) else { continue };
            if view.last_stable_offset < view.end {
                let what = format!("{}-{} at the target has an open transaction", place.0, place.1);
                return Ok(Err(Violation::new("NothingHangs", what)));
            }
            logs.insert(place, decode(&view.batches)?);
        }
        for lane in self.letter_lanes()? {
            let Some(view) = self.view(End::Target, DEAD_LETTERS, lane, 0) else { continue };
            if view.last_stable_offset < view.end {
                let what = format!("{DEAD_LETTERS}-{lane} has an open transaction");
                return Ok(Err(Violation::new("NothingHangs", what)));
            }
            logs.insert((DEAD_LETTERS.to_owned(), lane), decode(&view.batches)?);
        }
        Ok(match whole(&self.reference.ledger, &logs, Some(DEAD_LETTERS)) {
            Ok(_) => Ok(()),
            Err(error) => Err(Violation::new("AllOrNothing", format!("{error:#}"))),
        })
    }

    pub(super) fn view(&self, end: End, topic: &str, partition: i32, from: i64) -> Option<LogView> {
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
        for lane in self.letter_lanes()? {
            let next = self.reference.next_at_target(&(DEAD_LETTERS.to_owned(), lane));
            if let Some(view) = self.view(End::Target, DEAD_LETTERS, lane, next)
                && let Some(violation) = self.reference.observe_letters(DEAD_LETTERS, lane, &view)?
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

    /// Partitions of the dead letters' topic: one for each lane, where anything is checked.
    fn letter_lanes(&self) -> Result<std::ops::Range<i32>> {
        Ok(0..if self.setup.validation.is_some() { i32::try_from(self.setup.lanes)? } else { 0 })
    }

    pub(super) fn observe_source(&mut self, place: &Place) -> Result<()> {
        let view = self.view(End::Source, &place.0, place.1, self.reference.next_at_source(place));
        view.map_or(Ok(()), |view| self.reference.source(place).observe(&view))
    }
}
