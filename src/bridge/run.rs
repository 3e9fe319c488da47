//! Starts a link, listens to its lanes, and ends it.

use super::certificates;
use super::ends::{Ends, PATIENCE, Surroundings};
use super::error::RunError;
use super::event::Beginning;
use super::lane::{DeadLetterBox, LaneSettings};
use super::link::Link;
use super::planner::{DISCOVERY_INTERVAL, Planner};
use super::report::{Summary, Watcher};
use super::roster::{self, Roster};
use super::survey::Survey;
use super::worker::{self, Shared};
use super::working::Working;
use crate::batch::LogAppendTimePolicy;
use crate::clock;
use crate::cluster::{Backoff, Keeper, Metadata};
use crate::config::{Config, LogAppendTime};
use crate::dead_letters;
use crate::latest;
use crate::ledger::{self, Owner};
use crate::planted::{Bug, planted};
use crate::source::FetcherSettings;
use crate::target::{TransactionProtocol, TransactorSettings};
use crate::types::{TopicName, TopicPartition};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

const EVENTS_MAX: usize = 1_024;
/// Of one answer: several lanes and brokers share the memory.
const FETCH_BYTES_MAX: i32 = 1 << 20;
/// Metadata of the target is asked for when somebody is sent to the wrong broker; this is for what nobody notices: a topic
/// that was deleted and created again takes records as if nothing had happened.
const TARGET_INTERVAL: Duration = Duration::from_secs(5);
/// Per partition: what a leader recognises (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const IN_FLIGHT_MAX: usize = 5;

/// For a better message, at the end.
const NAMING_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until `stop` is ready, then drains. An error means that nothing runs any more; and nothing outlives the future
/// when it is dropped.
pub async fn run(
    config: &Config,
    ends: Ends,
    watcher: &mut (dyn Watcher + Send),
    stop: impl Future<Output = ()>,
) -> Result<Summary, RunError> {
    let mut renewing = JoinSet::new();
    // A simulation has none, and must not meet a timer that it did not plan.
    if !ends.watched.is_empty() {
        let wall = ends.surroundings.wall.clone();
        renewing.spawn(certificates::watch(ends.watched.clone(), ends.reload(), wall));
    }
    let mut planner = Planner::new(config, &ends);
    let Begun { source, target, dead_letters } = prepared(config, &ends, &mut planner).await?;

    let source_metadata = Keeper::start(ends.source.clone(), None, DISCOVERY_INTERVAL).await?;
    let target_metadata = Keeper::start(ends.target.clone(), Some(planner.target_topics()), TARGET_INTERVAL).await?;
    let (publish, routes) = latest::channel(Arc::new(planner.routes(&source)));
    let (publish_membership, membership) = latest::channel(None);
    let (events, happened) = mpsc::channel(EVENTS_MAX);
    let budget_bytes = config.delivery.memory_bytes_max.min(Semaphore::MAX_PERMITS);
    let shared = Shared {
        source: ends.source.clone(),
        target: ends.target.clone(),
        source_metadata: source_metadata.clone(),
        target_metadata: target_metadata.clone(),
        budget: Arc::new(Semaphore::new(budget_bytes)),
        budget_bytes,
        routes,
        membership,
        events,
        schemas: ends.schemas.clone(),
        request_timeout: config.delivery.request_timeout,
        protocol: config.delivery.transaction_protocol,
    };
    introduce(config, &planner, &source.cluster_id, &target.cluster_id, &ends);
    let free = Arc::clone(&shared.budget);
    watcher.begins(Beginning {
        source: &source_metadata,
        target: &target_metadata,
        protocol: worker::protocol(&ends.target, config.delivery.transaction_protocol).0,
        free_bytes: Box::new(move || free.available_permits()),
        budget_bytes,
    });
    let mut planning = JoinSet::new();
    let answers = source_metadata.watch();
    planning.spawn(planner.follow(source_metadata, target_metadata, publish));
    let owner = owner(&ends.surroundings);
    let host = &ends.surroundings.host;
    let roster = Roster::new(config, host, &ends.target, answers, publish_membership);
    let names = (config.link.as_str().to_owned(), roster::instance_id(config, host).unwrap_or_default());
    let size = (config.delivery.lanes.get(), config.delivery.session_timeout);
    let of_lane = |lane| LaneSettings {
        dead_letters: dead_letters.as_ref().map(|it| it.of(lane)),
        ..settings(config, &source.cluster_id, &owner, lane, &ends.surroundings)
    };
    let mut link = Link::new(names, size, watcher, Working::new(happened), roster, shared, of_lane);
    let mut ticks = tokio::time::interval(link.watcher.interval());
    ticks.tick().await;
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = ticks.tick() => link.watcher.tell(&link.summary),
            news = link.news() => if let Err(error) = link.learn(news) {
                return Err(told(error, config, &ends).await);
            },
        }
    }
    link.drain();
    let finished = tokio::time::timeout(config.delivery.drain_timeout, link.drained()).await;
    if let Ok(ended) = finished {
        ended?;
        link.summary.is_drained = true;
    }
    link.leave().await;
    Ok(link.summary)
}

/// Whoever gives way to a newer process of its name can say where that is, if the target still answers.
async fn told(error: RunError, config: &Config, ends: &Ends) -> RunError {
    let RunError::Superseded { link, instance_id, .. } = error else { return error };
    let asked = ends.target.group_members(config.link.group_id());
    let members = tokio::time::timeout(NAMING_PATIENCE, asked).await;
    let all = members.ok().and_then(Result::ok).unwrap_or_default();
    let newer = all.into_iter().find(|it| it.instance_id.as_ref() == Some(&instance_id)).map(Box::new);
    RunError::Superseded { link, instance_id, newer }
}

/// Ledger and topics as the link needs them. What clusters answer that are just coming up, and topics that were just made,
/// passes: a start does not die of it.
async fn prepared(config: &Config, ends: &Ends, planner: &mut Planner) -> Result<Begun, RunError> {
    let began = clock::now();
    let mut backoff = Backoff::default();
    loop {
        match begun(config, ends, planner).await {
            Ok(begun) => return Ok(begun),
            Err(error) if error.may_pass() && clock::now() - began < PATIENCE => {
                tracing::debug!(%error, "the clusters are not ready yet");
                tokio::time::sleep(backoff.failed()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a link begins with.
struct Begun {
    source: Metadata,
    target: Metadata,
    dead_letters: Option<DeadLetterTopic>,
}

struct DeadLetterTopic {
    name: TopicName,
    partitions: i32,
    max_message_bytes: usize,
}

impl DeadLetterTopic {
    fn of(&self, lane: u32) -> DeadLetterBox {
        let partition = dead_letters::partition_of(lane, self.partitions);
        let partition = TopicPartition::new(Arc::clone(&self.name), partition);
        DeadLetterBox { partition, max_message_bytes: self.max_message_bytes }
    }

    async fn ensure(config: &Config, ends: &Ends, planner: &Planner) -> Result<Option<Self>, RunError> {
        if ends.checks.is_empty() {
            return Ok(None);
        }
        let name = config.dead_letter_topic();
        let topic = dead_letters::new_topic(&name, config.delivery.lanes, config.target.replication_factor);
        let partitions = ends.target.ensure_topic(&topic).await.map_err(RunError::DeadLetters)?;
        let mut described = planner.sync().describe(std::slice::from_ref(&topic.name)).await?;
        let described = described.remove(&topic.name).transpose()?;
        let max_message_bytes = described.map_or(dead_letters::MAX_MESSAGE_BYTES, |it| it.max_message_bytes);
        Ok(Some(Self { name: topic.name, partitions, max_message_bytes }))
    }
}

async fn begun(config: &Config, ends: &Ends, planner: &mut Planner) -> Result<Begun, RunError> {
    let (source, target) = ends.connect().await?;
    let survey = Survey::take(config, ends, planner.sync(), &source, &target).await?;
    if let Some(refusal) = survey.refusal(&config.delivery.accept_weak) {
        return Err(refusal);
    }
    let ledger_topic = config.link.ledger_topic();
    ledger::ensure(&ends.target, &ledger_topic, config.delivery.lanes, config.target.replication_factor).await?;
    let dead_letters = DeadLetterTopic::ensure(config, ends, planner).await?;
    planner.begin(&source, &target).await?;
    Ok(Begun { source, target, dead_letters })
}

fn settings(config: &Config, cluster_id: &str, owner: &Owner, lane: u32, around: &Surroundings) -> LaneSettings {
    let delivery = &config.delivery;
    let partition = i32::try_from(lane).unwrap_or(i32::MAX);
    let ledger_partition = TopicPartition::new(config.link.ledger_topic().as_str(), partition);
    let mut transactional_id = config.link.transactional_id(lane);
    if planted(Bug::NoFence) {
        transactional_id += &format!(".{}", owner.pid);
    }
    LaneSettings {
        lane,
        source_cluster_id: cluster_id.into(),
        ledger_partition: ledger_partition.clone(),
        owner: owner.clone(),
        commit_interval: delivery.commit_interval,
        transaction_bytes_max: delivery.transaction_bytes_max,
        log_append_time: match delivery.log_append_time {
            LogAppendTime::Keep => LogAppendTimePolicy::KeepAppendTime,
            LogAppendTime::CreateTime => LogAppendTimePolicy::KeepCreateTime,
        },
        dead_letters: None,
        transactor: TransactorSettings {
            transactional_id: transactional_id.as_str().into(),
            group_id: config.link.group_id().into(),
            ledger_partition: Some(ledger_partition),
            transaction_timeout: Duration::from_millis(u64::from(delivery.transaction_timeout_ms.unsigned_abs())),
            abort_margin: delivery.request_timeout,
            max_in_flight: IN_FLIGHT_MAX,
            harden_v1: !planted(Bug::NoBump),
        },
        fetcher: FetcherSettings { max_bytes: FETCH_BYTES_MAX, ..FetcherSettings::default() },
        started: clock::now(),
        started_ms: now_ms(around),
    }
}

fn now_ms(around: &Surroundings) -> u64 {
    let since = around.wall.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn owner(around: &Surroundings) -> Owner {
    Owner {
        instance: Uuid::from_u128(fastrand::u128(..)),
        host: around.host.clone(),
        pid: around.pid,
        started_ms: now_ms(around),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The five lines that say what runs.
fn introduce(config: &Config, planner: &Planner, source: &str, target: &str, ends: &Ends) {
    let addresses = |end: &crate::config::EndConfig| {
        let all: Vec<_> = end.bootstrap_servers.iter().map(ToString::to_string).collect();
        let security = match &end.tls {
            None => "plaintext",
            Some(tls) if tls.client.is_some() => "mutual TLS",
            Some(_) => "TLS",
        };
        format!("{} ({security})", all.join(", "))
    };
    let plan = planner.plan();
    let partitions: i32 = plan.entries.values().map(|it| it.partitions).sum();
    let delivery = &config.delivery;
    let (protocol, reason) = worker::protocol(&ends.target, delivery.transaction_protocol);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!("kafka-bridge {version}, link {}, config {}", config.link, config.file().display());
    tracing::info!("source: cluster {source} at {}", addresses(&config.source));
    tracing::info!(
        "target: cluster {target} at {}, transaction protocol v{}: {reason}",
        addresses(&config.target.end),
        if protocol == TransactionProtocol::V2 { 2 } else { 1 }
    );
    tracing::info!("plan: {} topics, {partitions} partitions", plan.entries.len());
    tracing::info!(
        "delivery: {} lanes, commit every {} ms or {} bytes, memory for records {} bytes",
        delivery.lanes,
        delivery.commit_interval.as_millis(),
        delivery.transaction_bytes_max,
        delivery.memory_bytes_max
    );
}
