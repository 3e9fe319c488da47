//! A small coordinator, as Kafka's classic one: joins wait for everybody, the leader assigns, who is silent is out.

use super::message::{Answer, GroupRequest, JoinAnswer};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) type Caller = (usize, u64);

struct Known {
    subscription: Bytes,
    instance_id: Option<Arc<str>>,
    assignment: Bytes,
    seen: Instant,
    joining: Option<Caller>,
    syncing: Option<Caller>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Open,
    Joining,
    Syncing,
}

pub(super) struct Coordinator {
    pub(super) generation_id: i32,
    session: Duration,
    leader: Arc<str>,
    members: BTreeMap<Arc<str>, Known>,
    round: Round,
    named: u32,
}

impl Coordinator {
    pub(super) fn new(session: Duration) -> Self {
        let (leader, members) = ("".into(), BTreeMap::new());
        Self { generation_id: 0, session, leader, members, round: Round::Open, named: 0 }
    }

    pub(super) fn handle(&mut self, now: Instant, caller: Caller, request: &GroupRequest) -> Vec<(Caller, Answer)> {
        let mut answers = self.expire(now);
        match request {
            GroupRequest::JoinGroup { member_id, instance_id, subscription, .. } => {
                answers.extend(self.join(now, caller, member_id, instance_id.as_ref(), subscription));
            }
            GroupRequest::SyncGroup { member_id, generation_id, assignments, .. } => {
                answers.extend(self.sync(now, caller, member_id, *generation_id, assignments));
            }
            GroupRequest::Heartbeat { member_id, generation_id, .. } => {
                let error_code = match self.members.get_mut(member_id) {
                    None => 25,
                    Some(_) if *generation_id != self.generation_id => 22,
                    Some(known) => {
                        known.seen = now;
                        if self.round == Round::Joining { 27 } else { 0 }
                    }
                };
                answers.push((caller, Answer::Heartbeat { error_code }));
            }
            GroupRequest::LeaveGroup { member_id, .. } => {
                if self.members.remove(member_id).is_some() {
                    answers.extend(self.prepare());
                }
                answers.push((caller, Answer::LeaveGroup { error_code: 0 }));
                answers.extend(self.complete(now));
            }
        }
        answers
    }

    fn join(
        &mut self,
        now: Instant,
        caller: Caller,
        member_id: &Arc<str>,
        instance_id: Option<&Arc<str>>,
        subscription: &Bytes,
    ) -> Vec<(Caller, Answer)> {
        let refuse = |error_code, member_id: Arc<str>| {
            vec![(caller, Answer::JoinGroup(JoinAnswer { error_code, member_id, ..JoinAnswer::default() }))]
        };
        let mut id = Arc::clone(member_id);
        if id.is_empty() {
            self.named += 1;
            id = format!("m{}", self.named).into();
            // The newer process of an instance takes the older one's place.
            let of_instance = instance_id.and_then(|it| {
                let found = self.members.iter().find(|(_, known)| known.instance_id.as_ref() == Some(it));
                found.map(|(id, _)| Arc::clone(id))
            });
            if let Some(old) = of_instance.and_then(|old| self.members.remove(&old)) {
                let assignment = old.assignment;
                let known = Known { assignment, seen: now, joining: None, syncing: None, ..old };
                self.members.insert(Arc::clone(&id), known);
            } else if instance_id.is_none() {
                return refuse(79, id);
            }
        } else if !self.members.contains_key(&id) && instance_id.is_some() {
            return refuse(25, "".into());
        }
        let known = self.members.entry(Arc::clone(&id)).or_insert_with(|| Known {
            subscription: Bytes::new(),
            instance_id: instance_id.cloned(),
            assignment: Bytes::new(),
            seen: now,
            joining: None,
            syncing: None,
        });
        known.subscription = subscription.clone();
        known.joining = Some(caller);
        known.seen = now;
        let mut answers = self.prepare();
        answers.extend(self.complete(now));
        answers
    }

    /// Whoever waits for the assignment of a round that will not end is to join again.
    fn prepare(&mut self) -> Vec<(Caller, Answer)> {
        self.round = Round::Joining;
        let waiting = self.members.values_mut().filter_map(|it| it.syncing.take());
        waiting.map(|caller| (caller, Answer::SyncGroup { error_code: 27, assignment: Bytes::new() })).collect()
    }

    fn complete(&mut self, now: Instant) -> Vec<(Caller, Answer)> {
        let mut answers = Vec::new();
        if self.round != Round::Joining || self.members.values().any(|it| it.joining.is_none()) {
            return answers;
        }
        self.generation_id += 1;
        self.round = if self.members.is_empty() { Round::Open } else { Round::Syncing };
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let all: Vec<_> = self.members.iter().map(|(id, it)| (Arc::clone(id), it.subscription.clone())).collect();
        for (id, known) in &mut self.members {
            known.seen = now;
            let members = if *id == self.leader { all.clone() } else { Vec::new() };
            let (generation_id, member_id, leader) = (self.generation_id, Arc::clone(id), Arc::clone(&self.leader));
            let answer =
                JoinAnswer { error_code: 0, generation_id, member_id, leader, skip_assignment: false, members };
            answers.extend(known.joining.take().map(|caller| (caller, Answer::JoinGroup(answer))));
        }
        answers
    }

    fn sync(
        &mut self,
        now: Instant,
        caller: Caller,
        member_id: &Arc<str>,
        generation_id: i32,
        assignments: &[(Arc<str>, Bytes)],
    ) -> Vec<(Caller, Answer)> {
        let refuse = |error_code| vec![(caller, Answer::SyncGroup { error_code, assignment: Bytes::new() })];
        let Some(known) = self.members.get_mut(member_id) else { return refuse(25) };
        if generation_id != self.generation_id {
            return refuse(22);
        }
        known.seen = now;
        known.syncing = Some(caller);
        match self.round {
            Round::Joining => {
                known.syncing = None;
                return refuse(27);
            }
            Round::Syncing if *member_id == self.leader => {
                self.round = Round::Open;
                for (id, known) in &mut self.members {
                    known.assignment =
                        assignments.iter().find(|it| it.0 == *id).map(|it| it.1.clone()).unwrap_or_default();
                }
            }
            Round::Syncing => return Vec::new(),
            Round::Open => {}
        }
        let ready = self.members.values_mut().filter_map(|it| {
            let assignment = it.assignment.clone();
            it.syncing.take().map(|caller| (caller, Answer::SyncGroup { error_code: 0, assignment }))
        });
        ready.collect()
    }

    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Caller, Answer)> {
        let before = self.members.len();
        let session = self.session;
        // One that waits for a round is alive.
        self.members.retain(|_, it| it.seen + session > now || it.joining.is_some() || it.syncing.is_some());
        if self.members.len() < before {
            let mut answers = self.prepare();
            answers.extend(self.complete(now));
            return answers;
        }
        Vec::new()
    }

    /// A process died: nobody waits for its answers.
    pub(super) fn disconnected(&mut self, process: usize) {
        for known in self.members.values_mut() {
            known.joining = known.joining.filter(|it| it.0 != process);
            known.syncing = known.syncing.filter(|it| it.0 != process);
        }
    }
}
