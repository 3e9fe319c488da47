//! The bridges of one simulation: processes that are started, killed and stopped, each on a host of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use kafka_bridge::bridge::{self, Ends, Incident, RunError, Summary, Surroundings, Watcher};
use kafka_bridge::clock::WallClock;
use kafka_bridge::config::Config;
use kafka_bridge::ledger::LedgerError;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::datums::N_MAX;
use super::network::{End, Network};
use super::reference::Violation;
use super::registries::url;
use super::schedule::{Setup, Sharing, Validation};
use super::world::topic_name;

/// Deeper than tasks own tasks: so many turns, and what was dropped is gone.
const TURNS: usize = 50;

/// A running process.
pub(super) struct Bridge {
    pub(super) host: u32,
    /// By which its instance id is made.
    slot: u32,
    task: JoinHandle<Result<Summary, RunError>>,
    stop: Option<oneshot::Sender<()>>,
    /// Whether somebody asked it to end.
    pub(super) down_ms: Option<u64>,
}

pub(super) struct Bridges {
    config: Config,
    sharing: Sharing,
    network: Network,
    began: Instant,
    start_ms: i64,
    /// How far the wall clock is off, for all hosts.
    pub(super) clock_ms: Arc<AtomicI64>,
    next_host: u32,
    pub(super) running: Vec<Bridge>,
    /// Two have run at once.
    were_two: bool,
    pub(super) summary: Total,
}

/// What the bridges told at their ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    pub(super) transactions: u64,
    pub(super) aborted: u64,
    pub(super) superseded: u64,
    pub(super) starts: u64,
    pub(super) incidents: Vec<Incident>,
}

/// What a bridge tells at its end is enough.
struct Nobody;

impl Watcher for Nobody {
    fn interval(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn tell(&mut self, _: &Summary) {}
}

pub(super) const LINK: &str = "sim";

/// The tables of what is checked; nothing where nothing is.
fn checks(validation: &Validation) -> String {
    let Validation { topics, stops, maps_ids, waits_for_schema } = validation;
    let names = topics.iter().map(|it| format!("{:?}", topic_name(*it))).collect::<Vec<_>>().join(", ");
    let on_unknown = if *waits_for_schema { "on_unknown_schema = \"wait\"\n" } else { "" };
    format!(
        "include = [{names}]\nvalue_schema = \"registry:{{topic}}-value\"\n{on_unknown}on_registry_down = \"wait\"\n\
         rules = [{{ field = \"n\", max = {N_MAX} }}]\non_invalid = \"{}\"\nschema_ids = \"{}\"\n\
         [[topics]]\nexclude = [{names}]\n",
        if *stops { "stop" } else { "dead_letter" },
        if *maps_ids { "map" } else { "keep" }
    )
}

fn text(setup: &Setup) -> String {
    let servers = |nodes: i32| (0..nodes).map(|node| format!("\"node-{node}:9092\"")).collect::<Vec<_>>().join(", ");
    let (source, target) = (servers(setup.source_nodes), servers(setup.target_nodes));
    let registry = match setup.validation {
        Some(_) => format!("registry = {{ urls = [{:?}] }}\n", url()),
        None => String::new(),
    };
    let checks = setup.validation.as_ref().map(checks).unwrap_or_default();
    format!(
        "link = \"{LINK}\"\n[source]\nbootstrap_servers = [{source}]\n{registry}\
         [target]\nbootstrap_servers = [{target}]\n{registry}\
         [[topics]]\n{checks}include = [\"t*\"]\n[delivery]\nlanes = {}\ncommit_interval_ms = {}\nrequest_timeout_ms = {}\n\
         transaction_timeout_ms = {}\ntransaction_bytes_max = 65536\nmemory_bytes_max = 8388608\n\
         accept_weak = [\"target_min_insync_replicas\", \"target_retention\"]\nsharing = \"{}\"\n",
        setup.lanes,
        setup.commit_interval_ms,
        setup.request_timeout_ms,
        setup.transaction_timeout_ms,
        if setup.sharing == Sharing::Off { "off" } else { "group" }
    )
}

impl Bridges {
    pub(super) fn new(setup: &Setup, network: Network, start_ms: i64) -> Result<Bridges> {
        Ok(Bridges {
            config: Config::parse(Path::new("sim.toml"), &text(setup), &|_| None)?,
            sharing: setup.sharing,
            network,
            began: Instant::now(),
            start_ms,
            clock_ms: Arc::default(),
            next_host: 0,
            running: Vec::new(),
            were_two: false,
            summary: Total::default(),
        })
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let host = self.next_host;
        self.next_host += 1;
        let (began, start_ms, off_ms) = (self.began, self.start_ms, Arc::clone(&self.clock_ms));
        let wall = WallClock::new(move || {
            let now_ms = start_ms + began.elapsed().as_millis() as i64 + off_ms.load(Ordering::Relaxed);
            UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs())
        });
        let surroundings = Surroundings {
            source: self.network.of_host(host, End::Source),
            target: self.network.of_host(host, End::Target),
            wall,
            host: format!("host-{host}"),
            pid: host,
        };
        let ends = Ends::within(&self.config, surroundings)?;
        let (stop, stopped) = oneshot::channel();
        let is_free = |slot: &u32| self.running.iter().all(|it| it.slot != *slot);
        let slot = if self.sharing == Sharing::Twins { 0 } else { (0..).find(is_free).unwrap_or(host) };
        let mut config = self.config.clone();
        config.delivery.instance_id = Some(format!("instance-{slot}"));
        let mut watcher = Nobody;
        let task = tokio::spawn(async move {
            let stopped = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            bridge::run(&config, ends, &mut watcher, stopped).await
        });
        self.summary.starts += 1;
        self.running.push(Bridge { host, slot, task, stop: Some(stop), down_ms: None });
        self.were_two |= self.running.len() > 1;
        Ok(())
    }

    /// The newest dies at once. Nothing that it started may be left.
    pub(super) async fn kill(&mut self) -> Result<(), Violation> {
        let Some(bridge) = self.running.pop() else { return Ok(()) };
        bridge.task.abort();
        let _ = bridge.task.await;
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        match self.network.open_at(bridge.host) {
            0 => Ok(()),
            open => Err(Violation::new("NothingOutlives", format!("{open} connections of a bridge that is gone"))),
        }
    }

    pub(super) fn stop(&mut self, down_ms: u64) {
        if let Some(bridge) = self.running.last_mut() {
            bridge.down_ms = Some(down_ms);
            if let Some(stop) = bridge.stop.take() {
                let _ = stop.send(());
            }
        }
    }

    /// Looks for bridges that have ended. Gives when to start another one, where that is due.
    pub(super) async fn reap(&mut self) -> Result<Option<u64>, Violation> {
        let mut restart_ms = None;
        for bridge in std::mem::take(&mut self.running) {
            if !bridge.task.is_finished() {
                self.running.push(bridge);
                continue;
            }
            let ended = bridge.task.await.map_err(|error| Violation::new("NoPanic", error.to_string()))?;
            match ended {
                Ok(summary) => {
                    if let Some((lane, reason)) = summary.failed_lanes.first_key_value() {
                        return Err(Violation::new("LanesLive", format!("lane {lane} stopped: {reason}")));
                    }
                    self.summary.transactions += summary.transactions;
                    self.summary.aborted += summary.aborted;
                    self.summary.incidents.extend(summary.incidents);
                    restart_ms = bridge.down_ms;
                }
                Err(RunError::TakenOver { .. }) if self.were_two => {}
                Err(RunError::Superseded { .. }) if self.were_two && self.sharing == Sharing::Twins => {
                    self.summary.superseded += 1;
                }
                // It could not begin for so long; whoever watches over it starts it again.
                Err(RunError::Cluster(_) | RunError::Ledger(LedgerError::Cluster(_)) | RunError::DeadLetters(_)) => {
                    restart_ms = Some(500)
                }
                Err(error) => return Err(Violation::new("LanesLive", format!("the bridge ended: {error}"))),
            }
        }
        Ok(restart_ms)
    }
}
