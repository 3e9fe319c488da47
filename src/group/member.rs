//! The member's way: join, be given lanes, give some back, and join again. The lanes that stay go on all the while.

use super::assignor::{Claim, assign};
use super::errors::{Action, action, failed};
use super::message::{
    Answer, Channel, Event, Failure, Fitness, GroupRequest, Input, JoinAnswer, Membership, Output, RequestId, Round,
    Trouble,
};
use super::protocol;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A rebalance is noticed by a heartbeat, and one that is lost must not matter.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_millis(500);
const HEARTBEATS_PER_SESSION: u32 = 12;
const BACKOFF: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub struct MemberSettings {
    pub group_id: Arc<str>,
    /// The ledger's, whose partitions are the lanes.
    pub topic: Arc<str>,
    pub lanes: u32,
    /// None: a dynamic member, which leaves when it ends.
    pub instance_id: Option<Arc<str>>,
    pub session_timeout: Duration,
    /// How long the coordinator waits for a member to join again: as long as it may take to end a lane.
    pub rebalance_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// JoinGroup is under way, or due then.
    Joining(Option<Instant>),
    Syncing,
    Stable,
    /// Lanes that were revoked must end before the member joins again.
    Revoking,
    Leaving,
    Ended,
}

struct Beat {
    id: RequestId,
    sent: Instant,
    generation_id: i32,
}

pub struct Member {
    settings: MemberSettings,
    now: Instant,
    state: State,
    member_id: Arc<str>,
    /// Of the last answered JoinGroup; −1 outside of the group.
    generation_id: i32,
    /// In which the lanes were given.
    assigned_in: i32,
    lanes: BTreeSet<u32>,
    /// What the last JoinGroup said.
    claimed: BTreeSet<u32>,
    revoked: BTreeSet<u32>,
    next_id: RequestId,
    /// The request of each kind that is under way.
    round: Option<RequestId>,
    beat: Option<Beat>,
    beat_due: Option<Instant>,
    /// When the coordinator is sure to have given this member up, if it heard nothing since.
    expires: Option<Instant>,
    doubted: Option<Instant>,
    /// Lanes are withheld for a member that is to give them back: if it has not joined again by then, it never will.
    withheld_until: Option<Instant>,
    fitness: Fitness,
    /// How the leader of the last round took this member.
    is_taken_for_unfit: bool,
    outputs: VecDeque<Output>,
}

impl Member {
    pub fn new(settings: MemberSettings, now: Instant) -> Self {
        Self {
            settings,
            now,
            state: State::Idle,
            member_id: "".into(),
            generation_id: -1,
            assigned_in: -1,
            lanes: BTreeSet::new(),
            claimed: BTreeSet::new(),
            revoked: BTreeSet::new(),
            next_id: 0,
            round: None,
            beat: None,
            beat_due: None,
            expires: None,
            doubted: None,
            withheld_until: None,
            fitness: Fitness::default(),
            is_taken_for_unfit: false,
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.state == State::Ended {
            return;
        }
        // First of all: an answer that comes after the session's end must not bring lanes back that are lost.
        self.expire();
        match input {
            Input::Join if self.state == State::Idle => self.join(),
            Input::Join => {}
            Input::Answered { id, answer } => self.answered(id, answer),
            Input::Ended(lane) => {
                self.lanes.remove(&lane);
                if self.revoked.remove(&lane) && self.revoked.is_empty() && self.state == State::Revoking {
                    self.join();
                }
            }
            Input::Doubt => {
                self.doubted = Some(self.now);
                self.beat_due = self.beat_due.map(|_| self.now);
            }
            Input::Fitness(fitness) => {
                self.fitness = fitness;
                if self.state == State::Stable && self.is_mistaken() {
                    self.join();
                }
            }
            Input::Leave => self.leave(),
            Input::Timeout => {}
        }
        self.due();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let joining = if let State::Joining(due) = self.state { due } else { None };
        let beat = self.beat_due.filter(|_| self.beat.is_none());
        let withheld = self.withheld_until.filter(|_| self.state == State::Stable);
        [joining, beat, withheld, self.expires].into_iter().flatten().min()
    }

    pub fn state(&self) -> &'static str {
        match self.state {
            State::Idle => "Idle",
            State::Joining(_) => "Joining",
            State::Syncing => "Syncing",
            State::Stable => "Stable",
            State::Revoking => "Revoking",
            State::Leaving => "Leaving",
            State::Ended => "Ended",
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        (self.settings.session_timeout / HEARTBEATS_PER_SESSION).min(HEARTBEAT_INTERVAL_MAX)
    }

    fn expire(&mut self) {
        if self.expires.is_some_and(|at| at <= self.now) {
            // Only the coordinator knows whether a newer process has the instance by now. Asked with the old id it says so;
            // asked without one, it would take this process, which was only asleep, for the newer.
            let member_id = Arc::clone(&self.member_id);
            self.lose("no heartbeat was answered for the session timeout");
            self.member_id = member_id;
        }
    }

    fn due(&mut self) {
        if let State::Joining(Some(due)) = self.state
            && due <= self.now
        {
            self.join();
        }
        if self.state == State::Stable && self.withheld_until.is_some_and(|until| until <= self.now) {
            self.join();
        }
        if self.beat.is_none() && self.beat_due.is_some_and(|due| due <= self.now) {
            let request = GroupRequest::Heartbeat {
                group_id: Arc::clone(&self.settings.group_id),
                generation_id: self.generation_id,
                member_id: Arc::clone(&self.member_id),
                instance_id: self.settings.instance_id.clone(),
            };
            self.beat_due = Some(self.now + self.heartbeat_interval());
            self.beat(request);
        }
    }

    fn send(&mut self, request: GroupRequest) -> RequestId {
        self.next_id += 1;
        self.outputs.push_back(Output::Send { id: self.next_id, request });
        self.next_id
    }

    fn beat(&mut self, request: GroupRequest) {
        let (sent, generation_id) = (self.now, self.generation_id);
        self.beat = Some(Beat { id: self.send(request), sent, generation_id });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn join(&mut self) {
        self.state = State::Joining(None);
        self.withheld_until = None;
        self.claimed = self.lanes.clone();
        let is_unfit = matches!(self.fitness, Fitness::Failing | Fitness::Unfit);
        self.is_taken_for_unfit = is_unfit;
        let claim = Claim { lanes: self.lanes.clone(), generation_id: self.assigned_in, is_unfit };
        let request = GroupRequest::JoinGroup {
            group_id: Arc::clone(&self.settings.group_id),
            session_timeout: self.settings.session_timeout,
            rebalance_timeout: self.settings.rebalance_timeout,
            member_id: Arc::clone(&self.member_id),
            instance_id: self.settings.instance_id.clone(),
            subscription: protocol::subscription(&self.settings.topic, &claim),
        };
        self.round = Some(self.send(request));
    }

    fn join_later(&mut self) {
        self.round = None;
        self.state = State::Joining(Some(self.now + BACKOFF));
    }

    /// While lanes end, the round waits for them.
    fn rejoin(&mut self) {
        if self.revoked.is_empty() {
            self.join();
        } else {
            self.state = State::Revoking;
        }
    }

    fn answered(&mut self, id: RequestId, answer: Result<Answer, Failure>) {
        if let Some(beat) = self.beat.take_if(|it| it.id == id) {
            return match self.state {
                State::Leaving => self.end(Event::Left),
                _ => self.beaten(&beat, answer),
            };
        }
        if self.round != Some(id) {
            return;
        }
        self.round = None;
        match (self.state, answer) {
            (State::Joining(None), Ok(Answer::JoinGroup(answer))) => self.joined(answer),
            (State::Syncing, Ok(Answer::SyncGroup { error_code: 0, assignment })) => {
                self.synced(protocol::assigned(&self.settings.topic, &assignment));
            }
            (State::Syncing, answer) => {
                let code = answer.as_ref().map(Answer::error_code);
                let action = code.map_or(failed(super::Api::SyncGroup), |code| action(super::Api::SyncGroup, code));
                self.react(super::Api::SyncGroup, code.unwrap_or_default(), action, Channel::Rounds);
            }
            (State::Joining(None), _) => {
                self.react(super::Api::JoinGroup, 0, failed(super::Api::JoinGroup), Channel::Rounds);
            }
            _ => {}
        }
    }

    fn joined(&mut self, answer: JoinAnswer) {
        let action = action(super::Api::JoinGroup, answer.error_code);
        if action == Action::TakeId {
            // A coordinator that never lets a name pass would be asked without a pause.
            let is_named = !self.member_id.is_empty() || answer.member_id.is_empty();
            self.member_id = answer.member_id;
            return if is_named { self.join_later() } else { self.join() };
        }
        if action != Action::Success {
            return self.react(super::Api::JoinGroup, answer.error_code, action, Channel::Rounds);
        }
        self.member_id = Arc::clone(&answer.member_id);
        self.generation_id = answer.generation_id;
        self.heard(self.now);
        self.beat_due = Some(self.now + self.heartbeat_interval());
        // Lanes that stay write in the new generation from now on: in the old one they would be refused.
        self.tell(Event::Entered(Membership {
            generation_id: self.generation_id,
            member_id: Arc::clone(&self.member_id),
            instance_id: self.settings.instance_id.clone(),
        }));
        let is_assigning = answer.leader == answer.member_id && !answer.skip_assignment;
        let assignments = if is_assigning { self.assignments(&answer) } else { Vec::new() };
        self.state = State::Syncing;
        let request = GroupRequest::SyncGroup {
            group_id: Arc::clone(&self.settings.group_id),
            generation_id: self.generation_id,
            member_id: Arc::clone(&self.member_id),
            instance_id: self.settings.instance_id.clone(),
            assignments,
        };
        self.round = Some(self.send(request));
    }

    fn assignments(&self, answer: &JoinAnswer) -> Vec<(Arc<str>, bytes::Bytes)> {
        let topic = &self.settings.topic;
        let claim = |bytes| protocol::claim(topic, bytes);
        let claims: BTreeMap<_, Claim> = answer.members.iter().map(|(id, it)| (Arc::clone(id), claim(it))).collect();
        let count = u32::try_from(claims.len()).unwrap_or(u32::MAX);
        let assigned = assign(self.settings.lanes, &claims);
        let given: usize = assigned.values().map(BTreeSet::len).sum();
        let withheld = self.settings.lanes.saturating_sub(u32::try_from(given).unwrap_or(u32::MAX));
        let assignment = |(id, lanes): (Arc<str>, BTreeSet<u32>)| {
            let is_unfit = claims.get(&id).is_some_and(|it| it.is_unfit);
            let told = protocol::assignment(topic, &lanes, Round { members: count, withheld, is_unfit });
            (id, told)
        };
        assigned.into_iter().map(assignment).collect()
    }

    fn synced(&mut self, (mut lanes, round): (BTreeSet<u32>, Option<Round>)) {
        // Of a leader that counts otherwise: there is no such lane here.
        lanes.retain(|lane| *lane < self.settings.lanes);
        self.assigned_in = self.generation_id;
        self.state = State::Stable;
        let revoked: BTreeSet<u32> = self.lanes.difference(&lanes).copied().collect();
        // Told even if it has ended meanwhile: whoever waits for it is waiting for this member to join again.
        let is_owed = self.claimed.difference(&lanes).next().is_some();
        self.lanes = &lanes | &revoked;
        // Whoever gives lanes back joins again, and so everybody does. But one that died and came back under its instance id is
        // given its share without a new round (KIP-345), and does not know that it owes one.
        let is_short = round.is_some_and(|it| it.withheld > 0);
        self.withheld_until = is_short.then(|| self.now + self.settings.rebalance_timeout);
        // Nor does it know that its former self was passed over.
        self.is_taken_for_unfit = round.map_or(self.is_taken_for_unfit, |it| it.is_unfit);
        let generation_id = self.generation_id;
        self.tell(Event::Assigned { lanes, generation_id, round });
        if !revoked.is_empty() {
            self.state = State::Revoking;
            self.revoked = revoked.clone();
            self.tell(Event::Revoke(revoked));
        } else if is_owed || self.is_mistaken() {
            self.join();
        }
    }

    /// The group is to share anew, for it goes by what is true no more.
    fn is_mistaken(&self) -> bool {
        match self.fitness {
            Fitness::Fit => self.is_taken_for_unfit,
            Fitness::Failing | Fitness::Recovering => false,
            Fitness::Unfit => !self.is_taken_for_unfit,
        }
    }

    /// The coordinator began to count the session at the earliest when the request was sent.
    fn heard(&mut self, sent: Instant) {
        let expires = sent + self.settings.session_timeout;
        self.expires = Some(self.expires.map_or(expires, |it| it.max(expires)));
    }

    fn beaten(&mut self, beat: &Beat, answer: Result<Answer, Failure>) {
        let api = super::Api::Heartbeat;
        let code = match answer {
            Ok(Answer::Heartbeat { error_code }) => error_code,
            _ => return self.react(api, 0, failed(api), Channel::Beats),
        };
        let action = action(api, code);
        // To go on in an old generation is an answer as well: the coordinator knows the member.
        if matches!(action, Action::Success | Action::Rejoin) {
            self.heard(beat.sent);
        }
        match action {
            Action::Success => {
                if self.state == State::Stable && self.doubted.is_some_and(|doubted| doubted <= beat.sent) {
                    self.doubted = None;
                    self.tell(Event::Confirmed);
                }
            }
            // Else a round is under way, or was when the heartbeat went out: it is that which the answer speaks of.
            Action::Rejoin if self.state == State::Stable && beat.generation_id == self.generation_id => self.rejoin(),
            Action::Rejoin | Action::Retry => {}
            Action::Lost if matches!(self.state, State::Joining(_)) && self.lanes.is_empty() => {}
            _ => self.react(api, code, action, Channel::Beats),
        }
    }

    fn react(&mut self, api: super::Api, code: i16, action: Action, channel: Channel) {
        match action {
            Action::RetryCoordinator => {
                self.outputs.push_back(Output::Reconnect(channel));
                if channel == Channel::Rounds {
                    self.join_later();
                }
            }
            Action::Lost => self.lose("the group does not know this member any more"),
            Action::Superseded => self.end(Event::Superseded),
            Action::SessionTimeout => self.end(Event::Failed(Trouble::SessionTimeout)),
            Action::Operator => self.end(Event::Failed(Trouble::Refused { api, code })),
            Action::Success | Action::Retry | Action::Rejoin | Action::TakeId | Action::Ignore => {
                if channel == Channel::Rounds {
                    self.join_later();
                }
            }
        }
    }

    /// All lanes at once, and anew.
    fn lose(&mut self, reason: &'static str) {
        let had = !self.lanes.is_empty();
        self.forget();
        self.outputs.push_back(Output::Reconnect(Channel::Rounds));
        self.outputs.push_back(Output::Reconnect(Channel::Beats));
        if had {
            self.tell(Event::Lost { reason });
        }
        self.join_later();
    }

    fn forget(&mut self) {
        // A static member is known by its instance id, and gets a new member id.
        self.member_id = "".into();
        self.generation_id = -1;
        self.assigned_in = -1;
        self.lanes.clear();
        self.claimed.clear();
        self.revoked.clear();
        (self.round, self.beat, self.beat_due) = (None, None, None);
        (self.expires, self.withheld_until) = (None, None);
    }

    /// A static member stays: back within its session, it finds its lanes as it left them.
    fn leave(&mut self) {
        if self.settings.instance_id.is_some() || self.member_id.is_empty() {
            return self.end(Event::Left);
        }
        let request = GroupRequest::LeaveGroup {
            group_id: Arc::clone(&self.settings.group_id),
            member_id: Arc::clone(&self.member_id),
            instance_id: None,
        };
        self.forget();
        self.state = State::Leaving;
        self.beat(request);
    }

    fn end(&mut self, event: Event) {
        self.forget();
        self.state = State::Ended;
        self.tell(event);
    }
}
