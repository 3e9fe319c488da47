//! Which lanes this process works: all of them, or what a group at the target gives it. Drives the group's member.

use super::dispatch;
use super::planner::DISCOVERY_INTERVAL;
use super::reach::Reach;
use crate::clock;
use crate::cluster::{Address, Cluster, CoordinatorKind, Courier, Lost, Metadata, Use};
use crate::config::{Config, Sharing};
use crate::group::RequestId;
use crate::group::{
    Answer, Channel, Event, Failure, Fitness, GroupRequest, Input, Member, MemberSettings, Membership, Output,
};
use crate::latest::{Latest, Publisher};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A lane that is revoked has so long to finish or abort its transaction; then it is dropped, and its successor's
/// InitProducerId aborts what it has open.
pub(super) const REVOCATION_PATIENCE: Duration = Duration::from_secs(5);
/// How long the coordinator waits for a member to join again: longer than its revoked lanes may take.
pub(super) const REBALANCE_TIMEOUT: Duration = Duration::from_secs(10);
/// One round and one heartbeat are under way at most, and a few that nobody waits for any more.
const ANSWERS_MAX: usize = 64;
/// A heartbeat that hangs must leave the session time for others.
const HEARTBEAT_TIMEOUTS_PER_SESSION: u32 = 3;
/// The source is asked for its metadata at this interval; one answer may be lost, and one late, and mean nothing.
const SOURCE_PATIENCE_MIN: Duration = DISCOVERY_INTERVAL.saturating_mul(3);

pub(super) struct Roster {
    lanes: u32,
    member: Option<Member>,
    is_told: bool,
    cluster: Cluster,
    group_id: Arc<str>,
    request_timeout: Duration,
    session_timeout: Duration,
    couriers: BTreeMap<Channel, Courier<RequestId, GroupRequest>>,
    answered: mpsc::Sender<(RequestId, Result<Answer, Lost>)>,
    answers: mpsc::Receiver<(RequestId, Result<Answer, Lost>)>,
    membership: Publisher<Option<Membership>>,
    /// Every answer is a sign of life, whatever is in it.
    source: Latest<Arc<Metadata>>,
    reach: Reach,
    /// In the log.
    told: Fitness,
}

/// None: a member that nobody knows again after it ended.
pub(super) fn instance_id(config: &Config, host: &str) -> Option<String> {
    let id = config.delivery.instance_id.clone().unwrap_or_else(|| host.to_owned());
    Some(id).filter(|it| !it.is_empty())
}

impl Roster {
    /// `membership` tells the lanes the newest generation; `source` is what the source answers.
    pub(super) fn new(
        config: &Config,
        host: &str,
        target: &Cluster,
        source: Latest<Arc<Metadata>>,
        membership: Publisher<Option<Membership>>,
    ) -> Self {
        let (answered, answers) = mpsc::channel(ANSWERS_MAX);
        let (lanes, delivery) = (config.delivery.lanes.get(), &config.delivery);
        let group_id: Arc<str> = config.link.group_id().into();
        let settings = MemberSettings {
            group_id: Arc::clone(&group_id),
            topic: config.link.ledger_topic().as_str().into(),
            lanes,
            instance_id: instance_id(config, host).map(Into::into),
            session_timeout: delivery.session_timeout,
            rebalance_timeout: REBALANCE_TIMEOUT,
        };
        let now = clock::now();
        let member = (delivery.sharing == Sharing::Group).then(|| Member::new(settings, now));
        let mut roster = Self {
            lanes,
            member,
            is_told: false,
            cluster: target.clone(),
            group_id,
            request_timeout: delivery.request_timeout,
            session_timeout: delivery.session_timeout,
            couriers: BTreeMap::new(),
            answered,
            answers,
            membership,
            source,
            reach: Reach::new(delivery.session_timeout.max(SOURCE_PATIENCE_MIN), now),
            told: Fitness::Fit,
        };
        roster.input(Input::Join);
        roster
    }

    pub(super) fn ended(&mut self, lane: u32) {
        self.input(Input::Ended(lane));
    }

    pub(super) fn doubt(&mut self) {
        self.input(Input::Doubt);
    }

    pub(super) fn leave(&mut self) {
        self.input(Input::Leave);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.member.is_some()
    }

    fn input(&mut self, input: Input) {
        if let Some(member) = &mut self.member {
            member.handle(clock::now(), input);
        }
    }

    /// What changes. Nothing is lost when the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> Event {
        if !self.is_shared() {
            return self.alone().await;
        }
        loop {
            if let Some(event) = self.flush() {
                return event;
            }
            let timeout = self.member.as_ref().and_then(Member::poll_timeout);
            let unheard = self.reach.poll_timeout();
            let input = tokio::select! {
                biased;
                () = clock::sleep_until(timeout) => Input::Timeout,
                () = clock::sleep_until(unheard) => {
                    self.reach.due(clock::now());
                    self.fitness()
                }
                Some((id, answer)) = self.answers.recv() => Input::Answered { id, answer: answer.map_err(|_| Failure) },
                Some(_) = self.source.changed() => {
                    self.reach.heard(clock::now());
                    self.fitness()
                }
            };
            self.input(input);
        }
    }

    fn fitness(&mut self) -> Input {
        let fitness = self.reach.fitness();
        match (self.told, fitness) {
            (Fitness::Unfit, Fitness::Unfit) => {}
            (_, Fitness::Unfit) => tracing::warn!(
                "the source has not answered for {:?}: the lanes are left to bridges that reach it, where there are any",
                self.reach.patience()
            ),
            (Fitness::Unfit, _) => tracing::info!("the source answers again"),
            (Fitness::Recovering, Fitness::Fit) => {
                tracing::info!("the source has answered for a while: this bridge takes its share again");
            }
            _ => {}
        }
        self.told = fitness;
        Input::Fitness(fitness)
    }

    async fn alone(&mut self) -> Event {
        if self.is_told {
            return std::future::pending().await;
        }
        self.is_told = true;
        Event::Assigned { lanes: (0..self.lanes).collect(), generation_id: -1, round: None }
    }

    fn flush(&mut self) -> Option<Event> {
        while let Some(output) = self.member.as_mut().and_then(Member::poll_output) {
            match output {
                Output::Send { id, request } => {
                    if let Err(id) = self.courier(request.channel()).send(id, request) {
                        self.input(Input::Answered { id, answer: Err(Failure) });
                    }
                }
                Output::Reconnect(channel) => {
                    self.couriers.get(&channel).inspect(|it| it.close());
                }
                Output::Event(Event::Entered(membership)) => self.membership.publish(Some(membership)),
                Output::Event(event) => return Some(event),
            }
        }
        None
    }

    fn courier(&mut self, channel: Channel) -> &Courier<RequestId, GroupRequest> {
        let timeout = match channel {
            Channel::Rounds => self.request_timeout,
            Channel::Beats => self.request_timeout.min(self.session_timeout / HEARTBEAT_TIMEOUTS_PER_SESSION),
        };
        self.couriers.entry(channel).or_insert_with(|| {
            let address = Address::Coordinator(CoordinatorKind::Group, Arc::clone(&self.group_id));
            Courier::spawn(self.cluster.clone(), address, Use::Control, timeout, dispatch::group, self.answered.clone())
        })
    }
}
