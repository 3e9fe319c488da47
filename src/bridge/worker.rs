//! Drives one lane: connections, timers, the ledger's reader. It decides nothing.

use super::deliveries::Deliveries;
use super::dispatch;
use super::lane::{Event, Input, Lane, LaneSettings, Output, Route};
use super::purse::Purse;
use super::screening::SchemaKey;
use super::working::{Job, Told};
use crate::clock;
use crate::cluster::{Address, At, Backoff, Cluster, Courier, Keeper, Lost, Metadata, Use};
use crate::config::ProtocolChoice;
use crate::group::Membership;
use crate::latest::Latest;
use crate::ledger::{LaneLedger, LedgerError, LedgerReader, Owner, Until};
use crate::schemas::{Finder, SchemaVerdict};
use crate::source::{self, LeaderView, SourceRequest};
use crate::target::TransactionProtocol;
use crate::types::{NodeId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// More than the machines of one lane can have in flight.
const ANSWERS_MAX: usize = 4_096;
/// A fresh target makes its group coordinator on the first question: for a second or two that is nothing to warn of.
const PATIENCE: Duration = Duration::from_secs(3);
/// `transaction.version` from which KIP-890's protocol is finalized.
const TRANSACTION_VERSION_V2: i16 = 2;

/// By lane.
pub(super) type Routes = BTreeMap<u32, BTreeMap<TopicPartition, Route>>;

/// What all lanes share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) source: Cluster,
    pub(super) target: Cluster,
    pub(super) source_metadata: Keeper,
    pub(super) target_metadata: Keeper,
    pub(super) budget: Arc<Semaphore>,
    pub(super) budget_bytes: usize,
    pub(super) routes: Latest<Arc<Routes>>,
    /// None without a group.
    pub(super) membership: Latest<Option<Membership>>,
    pub(super) events: mpsc::Sender<Told>,
    pub(super) schemas: Finder,
    pub(super) request_timeout: Duration,
    pub(super) protocol: ProtocolChoice,
}

/// The end of a question that took a while.
enum Found {
    Ledger(Result<LaneLedger, LedgerError>),
    Owner(Result<Option<Owner>, LedgerError>),
    Decisions(Option<LaneLedger>),
    Schema(SchemaKey, SchemaVerdict),
    TargetEnd(TopicPartition, i64),
    /// A grant that finds no lane any more goes back by being dropped.
    Budget(NodeId, OwnedSemaphorePermit),
}

struct Worker {
    lane: Lane,
    number: u32,
    job: u64,
    shared: Shared,
    reader: Arc<LedgerReader>,
    fetching: BTreeMap<NodeId, Courier<source::RequestId, SourceRequest>>,
    looking_up: BTreeMap<NodeId, Courier<source::RequestId, SourceRequest>>,
    deliveries: Deliveries,
    fetched: mpsc::Sender<(source::RequestId, Result<source::Answer, Lost>)>,
    found: mpsc::Sender<Found>,
    purse: Purse,
    /// Questions that are not answered yet. They end with the lane.
    asking: JoinSet<()>,
    /// By source partition, the target partitions whose ends are asked for together.
    unknown_ends: Vec<(TopicPartition, TopicPartition)>,
    /// What the lane is told without waiting: of requests that could not be sent at all, and of memory that is free.
    at_once: Vec<Input>,
}

/// Ends with the lane.
pub(super) async fn run(settings: LaneSettings, shared: Shared, job: Job) {
    let number = settings.lane;
    let group_id = settings.transactor.group_id.to_string();
    let reader =
        LedgerReader { cluster: shared.target.clone(), partition: settings.ledger_partition.clone(), group_id };
    let (fetched, mut from_source) = mpsc::channel(ANSWERS_MAX);
    let (found, mut answers) = mpsc::channel(ANSWERS_MAX);
    let (mut routes, mut membership) = (shared.routes.clone().unseen(), shared.membership.clone().unseen());
    let Job { number: job, mut drain } = job;
    let mut metadata = shared.source_metadata.watch().unseen();
    let purse = Purse::new(Arc::clone(&shared.budget));
    let (target, metadata_of_target) = (shared.target.clone(), shared.target_metadata.clone());
    let deliveries = Deliveries::new(target, metadata_of_target, &settings.transactor, number, shared.request_timeout);
    let now = clock::now();
    let mut worker = Worker {
        lane: Lane::new(settings, protocol(&shared.target, shared.protocol).0, now),
        number,
        job,
        reader: Arc::new(reader),
        shared,
        fetching: BTreeMap::new(),
        looking_up: BTreeMap::new(),
        deliveries,
        fetched,
        found,
        purse,
        asking: JoinSet::new(),
        unknown_ends: Vec::new(),
        at_once: Vec::new(),
    };
    // Before anything is written: what a shared lane does when it is fenced is another thing.
    if let Some(membership) = membership.now() {
        worker.lane.handle(now, Input::Membership(membership));
    }
    worker.lane.handle(now, Input::Take);
    loop {
        if worker.flush().await {
            return;
        }
        let deadline = worker.lane.poll_timeout();
        // In a fixed order, so that a simulation can repeat a run; what is due comes first, so that no flood of answers
        // delays it.
        let input = tokio::select! {
            biased;
            () = clock::sleep_until(deadline) => Input::Timeout,
            Some(_) = drain.changed() => Input::Drain,
            Some(Some(membership)) = membership.changed() => Input::Membership(membership),
            Some(answered) = worker.deliveries.next() => {
                for input in answered {
                    worker.lane.handle(clock::now(), Input::Target(input));
                }
                continue;
            }
            Some((id, answer)) = from_source.recv() => {
                Input::Source(source::Input::Answered { id, answer: answer.map_err(source_failure) })
            }
            Some(found) = answers.recv() => worker.input(found),
            Some(routes) = routes.changed() => {
                let routes = routes.get(&number).cloned().unwrap_or_default();
                let known = metadata.now();
                worker.lane.handle(clock::now(), Input::Leaders(leaders(&known, &routes)));
                Input::Routes(routes)
            }
            Some(known) = metadata.changed() => {
                Input::Leaders(leaders(&known, routes.now().get(&number).unwrap_or(&BTreeMap::new())))
            }
        };
        worker.lane.handle(clock::now(), input);
    }
}

/// Which transaction protocol, and why.
pub(super) fn protocol(target: &Cluster, choice: ProtocolChoice) -> (TransactionProtocol, &'static str) {
    let is_finalized = target.transaction_version() >= TRANSACTION_VERSION_V2;
    match (choice, is_finalized) {
        (ProtocolChoice::V1, _) => (TransactionProtocol::V1, "delivery.transaction_protocol says so"),
        (ProtocolChoice::Auto, true) => (TransactionProtocol::V2, "the target has finalized transaction.version 2"),
        (ProtocolChoice::Auto, false) => {
            (TransactionProtocol::V1, "the target has not finalized transaction.version 2")
        }
    }
}

fn source_failure(lost: Lost) -> source::Failure {
    match lost {
        Lost::Disconnected => source::Failure::Disconnected,
        Lost::TimedOut => source::Failure::TimedOut,
    }
}

fn leaders(metadata: &Metadata, routes: &BTreeMap<TopicPartition, Route>) -> BTreeMap<TopicPartition, LeaderView> {
    let view = |name: &TopicPartition| {
        let topic = metadata.topics.get(&name.topic)?;
        let partition = topic.partitions.get(&name.partition)?;
        let leader =
            LeaderView { leader: partition.leader, leader_epoch: partition.leader_epoch, topic_id: topic.topic_id };
        Some((name.clone(), leader))
    };
    routes.keys().filter_map(view).collect()
}

impl Worker {
    /// Carries out what the lane asks for; true when the lane has ended.
    async fn flush(&mut self) -> bool {
        loop {
            while let Some(output) = self.lane.poll_output() {
                if self.perform(output).await {
                    return true;
                }
            }
            self.at_once.extend(self.deliveries.flush().into_iter().map(Input::Target));
            self.find_ends();
            match self.at_once.pop() {
                Some(input) => self.lane.handle(clock::now(), input),
                None => return false,
            }
        }
    }

    async fn perform(&mut self, output: Output) -> bool {
        match output {
            Output::Source(output) => self.source(output),
            Output::Target(output) => {
                self.at_once.extend(self.deliveries.perform(output).into_iter().map(Input::Target));
            }
            Output::ReturnBudget { bytes } => self.purse.give_back(bytes),
            Output::ReadLedger => {
                let reader = Arc::clone(&self.reader);
                self.find(async move { Found::Ledger(patiently(|| reader.read(Until::End)).await) });
            }
            Output::WhoOwns => {
                let reader = Arc::clone(&self.reader);
                self.find(async move {
                    let ledger = patiently(|| reader.read(Until::Stable)).await;
                    Found::Owner(ledger.map(|ledger| ledger.owner().cloned()))
                });
            }
            Output::Decisions => {
                let reader = Arc::clone(&self.reader);
                self.find(async move { Found::Decisions(reader.read(Until::Stable).await.ok()) });
            }
            Output::TargetEnd { partition, target } => self.unknown_ends.push((partition, target)),
            Output::FindSchema(key, check) => {
                let finder = self.shared.schemas.clone();
                self.find(async move {
                    let verdict = finder.find(&check, key.part, key.id).await;
                    Found::Schema(key, verdict)
                });
            }
            Output::Event(event) => {
                let is_last = matches!(event, Event::TakenOver(_) | Event::Fenced | Event::Failed(_) | Event::Drained);
                // The link has ended: nobody listens any more.
                let is_alone = self.shared.events.send(Told { lane: self.number, job: self.job, event }).await.is_err();
                return is_last || is_alone;
            }
        }
        false
    }

    fn find(&mut self, question: impl Future<Output = Found> + Send + 'static) {
        let found = self.found.clone();
        while self.asking.try_join_next().is_some() {}
        self.asking.spawn(async move {
            // The lane may have ended meanwhile.
            let _ = found.send(question.await).await;
        });
    }

    /// A link may begin with thousands of partitions, so none is asked about alone.
    fn find_ends(&mut self) {
        if self.unknown_ends.is_empty() {
            return;
        }
        let mut unknown = std::mem::take(&mut self.unknown_ends);
        let (cluster, found) = (self.shared.target.clone(), self.found.clone());
        self.asking.spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                let mut known = ends(&cluster, &unknown).await;
                for (partition, target) in std::mem::take(&mut unknown) {
                    match known.remove(&target) {
                        // The lane may have ended meanwhile.
                        Some(end_offset) => drop(found.send(Found::TargetEnd(partition, end_offset)).await),
                        None => unknown.push((partition, target)),
                    }
                }
                if unknown.is_empty() {
                    return;
                }
                tokio::time::sleep(backoff.failed()).await;
            }
        });
    }

    fn input(&mut self, found: Found) -> Input {
        match found {
            Found::Ledger(Ok(ledger)) => Input::Ledger(ledger),
            Found::Owner(Ok(owner)) => Input::Owner(owner),
            Found::Decisions(ledger) => Input::Decisions(ledger),
            Found::Schema(key, verdict) => Input::Schema(key, verdict),
            Found::Ledger(Err(error)) | Found::Owner(Err(error)) => Input::Broken(error.to_string()),
            Found::TargetEnd(partition, end_offset) => Input::TargetEnd { partition, end_offset },
            Found::Budget(node, permit) => {
                let bytes = permit.num_permits();
                self.purse.keep(permit);
                Input::Source(source::Input::BudgetGranted { node, bytes })
            }
        }
    }

    fn source(&mut self, output: source::Output) {
        match output {
            source::Output::WantBudget { node, bytes } => {
                // More than all there is would never be granted.
                let bytes = bytes.min(self.shared.budget_bytes);
                let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
                let budget = Arc::clone(&self.shared.budget);
                if let Ok(permit) = Arc::clone(&budget).try_acquire_many_owned(wanted) {
                    let granted = self.input(Found::Budget(node, permit));
                    return self.at_once.push(granted);
                }
                self.find(async move {
                    match budget.acquire_many_owned(wanted).await {
                        Ok(permit) => Found::Budget(node, permit),
                        // Never closed.
                        Err(_) => std::future::pending().await,
                    }
                });
            }
            source::Output::ReturnBudget { bytes } => self.purse.give_back(bytes),
            source::Output::Send { id, node, request } => {
                let is_fetch = matches!(request, SourceRequest::Fetch(_));
                let (couriers, usage) = if is_fetch {
                    (&mut self.fetching, Use::Fetch(self.number))
                } else {
                    (&mut self.looking_up, Use::Control)
                };
                let courier = couriers.entry(node).or_insert_with(|| {
                    let (cluster, answers) = (self.shared.source.clone(), self.fetched.clone());
                    let timeout = self.shared.request_timeout;
                    Courier::spawn(cluster, Address::Node(node), usage, timeout, dispatch::source, answers)
                });
                if let Err(id) = courier.send(id, request) {
                    let answer = Err(source::Failure::Disconnected);
                    self.at_once.push(Input::Source(source::Input::Answered { id, answer }));
                }
            }
            source::Output::RefreshMetadata => self.shared.source_metadata.refresh(),
            source::Output::CloseConnection(node) => {
                for couriers in [&self.fetching, &self.looking_up] {
                    couriers.get(&node).inspect(|it| it.close());
                }
            }
            // The lane keeps these to itself.
            source::Output::Deliver(_) | source::Output::Resolved { .. } | source::Output::Incident(_) => {}
        }
    }
}

/// Where logs of the target end, as far as that is known now.
async fn ends(cluster: &Cluster, of: &[(TopicPartition, TopicPartition)]) -> BTreeMap<TopicPartition, i64> {
    let topics: BTreeSet<_> = of.iter().map(|(_, target)| Arc::clone(&target.topic)).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let metadata = match cluster.metadata(Some(&topics)).await {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::debug!(%error, "where logs of the target end is not known yet");
            return BTreeMap::new();
        }
    };
    let asked: Vec<_> = of.iter().map(|(_, target)| (target.clone(), At::Latest)).collect();
    let mut known = BTreeMap::new();
    for (target, listed) in cluster.offsets(&metadata, &asked).await {
        match listed {
            Ok(listed) => drop(known.insert(target, listed.offset)),
            Err(error) => tracing::debug!(%error, %target, "where its log ends is not known yet"),
        }
    }
    known
}

/// Asks until there is an answer, or an error that waiting does not mend.
async fn patiently<T, F: Future<Output = Result<T, LedgerError>>>(ask: impl Fn() -> F) -> Result<T, LedgerError> {
    let (began, mut backoff) = (clock::now(), Backoff::default());
    loop {
        match ask().await {
            Err(error) if error.is_transient() && clock::now() - began < PATIENCE => {
                tracing::debug!(%error, "the ledger cannot be read yet");
            }
            Err(error) if error.is_transient() => tracing::warn!(%error, "the ledger cannot be read yet"),
            other => return other,
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}
