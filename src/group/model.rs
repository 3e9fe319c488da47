//! A small coordinator, as Kafka's classic one: joins wait for everybody, the leader assigns, who is silent is out.

use super::message::{Answer, GroupRequest, JoinAnswer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Ids that were members once: the others are new, and join by the name they were given.
    named_before: BTreeSet<Arc<str>>,
}

impl Coordinator {
    pub(super) fn new(session: Duration) -> Self {
        let (leader, members) = ("".into(), BTreeMap::new());
        Self { generation_id: 0, session, leader, members, round: Round::Open, named: 0, named_before: BTreeSet::new() }
    }

    pub(super) fn handle(&mut self, now: Instant, caller: Caller, request: &GroupRequest) -> Vec<(Caller, Answer)> {
        let mut answers = self.expire(now);
        match request {
            GroupRequest::JoinGroup { member_id, instance_id, subscription, .. } => {
                answers.extend(self.join(now, caller, member_id, instance_id.as_ref(), subscription));
            }
            GroupRequest::SyncGroup { member_id, instance_id, generation_id, assignments, .. } => {
                answers.extend(match self.refused(member_id, instance_id.as_ref()) {
                    Some(error_code) => vec![(caller, Answer::SyncGroup { error_code, assignment: Bytes::new() })],
                    None => self.sync(now, caller, member_id, *generation_id, assignments),
                });
            }
            GroupRequest::Heartbeat { member_id, instance_id, generation_id, .. } => {
                let refused = self.refused(member_id, instance_id.as_ref());
                let error_code = match self.members.get_mut(member_id).filter(|_| refused.is_none()) {
                    None => refused.unwrap_or(25),
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
        let holder = instance_id.and_then(|it| self.of_instance(it));
        let mut id = Arc::clone(member_id);
        if id.is_empty() {
            self.named += 1;
            id = format!("m{}", self.named).into();
            if let Some(old) = holder {
                return self.replace(now, caller, &old, &id, subscription);
            }
            if instance_id.is_none() {
                return refuse(79, id);
            }
        } else if holder.as_ref().is_some_and(|it| *it != id) {
            return refuse(82, "".into());
        } else if !self.members.contains_key(&id) && (instance_id.is_some() || self.named_before.contains(&id)) {
            return refuse(25, "".into());
        } else if let Some(known) = self.members.get(&id)
            && self.round == Round::Open
            && known.subscription == *subscription
            && self.leader != id
        {
            // Of a join whose answer was lost: it starts no new round.
            return vec![(caller, self.joined(&id, Vec::new()))];
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
        self.named_before.insert(id);
        let mut answers = self.prepare();
        answers.extend(self.complete(now));
        answers
    }

    fn of_instance(&self, instance_id: &Arc<str>) -> Option<Arc<str>> {
        let mut known = self.members.iter();
        known.find(|(_, it)| it.instance_id.as_ref() == Some(instance_id)).map(|(id, _)| Arc::clone(id))
    }

    /// The newer process of an instance takes the older one's place, and its lanes as they are (KIP-345).
    fn replace(
        &mut self,
        now: Instant,
        caller: Caller,
        old: &Arc<str>,
        id: &Arc<str>,
        subscription: &Bytes,
    ) -> Vec<(Caller, Answer)> {
        let Some(mut known) = self.members.remove(old) else { return Vec::new() };
        let fenced = JoinAnswer { error_code: 82, ..JoinAnswer::default() };
        let joining = known.joining.take().map(|it| (it, Answer::JoinGroup(fenced)));
        let syncing =
            known.syncing.take().map(|it| (it, Answer::SyncGroup { error_code: 82, assignment: Bytes::new() }));
        let mut answers: Vec<_> = joining.into_iter().chain(syncing).collect();
        known.subscription = subscription.clone();
        known.seen = now;
        if self.leader == *old {
            self.leader = Arc::clone(id);
        }
        known.joining = (self.round != Round::Open).then_some(caller);
        self.members.insert(Arc::clone(id), known);
        if self.round == Round::Open {
            answers.push((caller, self.joined(id, Vec::new())));
        } else {
            answers.extend(self.prepare());
            answers.extend(self.complete(now));
        }
        answers
    }

    fn joined(&self, id: &Arc<str>, members: Vec<(Arc<str>, Bytes)>) -> Answer {
        let is_leader = self.leader == *id;
        Answer::JoinGroup(JoinAnswer {
            error_code: 0,
            generation_id: self.generation_id,
            member_id: Arc::clone(id),
            leader: Arc::clone(&self.leader),
            skip_assignment: is_leader && members.is_empty(),
            members,
        })
    }

    /// As `ClassicGroup.validateMember`: of an instance that another holds, or unknown.
    fn refused(&self, member_id: &Arc<str>, instance_id: Option<&Arc<str>>) -> Option<i16> {
        let holder = instance_id.and_then(|it| self.of_instance(it));
        match holder {
            Some(holder) if holder != *member_id => Some(82),
            _ => (!self.members.contains_key(member_id)).then_some(25),
        }
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
        let mut callers = Vec::new();
        for (id, known) in &mut self.members {
            known.seen = now;
            callers.extend(known.joining.take().map(|caller| (caller, Arc::clone(id))));
        }
        for (caller, id) in callers {
            let members = if id == self.leader { all.clone() } else { Vec::new() };
            answers.push((caller, self.joined(&id, members)));
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
