//! Joining: a member's first steps, and the phase in which a rebalance waits for all.

use super::{Group, GroupState, JoinDue, MEMBERS_MAX, Member, Reply, join_error, text};
use crate::broker::request::Caller;
use crate::broker::settings::Millis;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

/// From here on a new member learns its id before it joins (KIP-394), so that a lost answer leaves no ghost.
const KNOWN_MEMBER_ID_VERSION: i16 = 4;
const SKIP_ASSIGNMENT_VERSION: i16 = 9;
/// `classic.group.new.member.join.timeout.ms`.
pub(super) const NEW_MEMBER_TIMEOUT_MS: Millis = 300_000;

/// A join request as the group works with it.
struct Join {
    instance_id: Option<String>,
    protocol_type: String,
    protocols: Vec<(String, Bytes)>,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
}

impl Join {
    fn of(request: &JoinGroupRequest, version: i16) -> Self {
        let protocols = request.protocols.iter().map(|it| (it.name.to_string(), it.metadata.clone())).collect();
        let rebalance_timeout_ms =
            if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms.max(0) };
        Self {
            instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
            protocol_type: request.protocol_type.to_string(),
            protocols,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
        }
    }
}

impl Group {
    /// `new_member_id` is used where the caller has none; `initial_delay_ms` is `group.initial.rebalance.delay.ms`.
    pub(crate) fn join(
        &mut self,
        now_ms: Millis,
        caller: Caller,
        request: &JoinGroupRequest,
        new_member_id: String,
        initial_delay_ms: Millis,
    ) -> Vec<Reply> {
        let join = Join::of(request, caller.version);
        let member_id = request.member_id.to_string();
        let refuse = |member_id: &str, caller, error| vec![Reply::Join(caller, join_error(member_id, error))];
        if self.members.len() + self.pending_members.len() >= MEMBERS_MAX && !self.members.contains_key(&member_id) {
            return refuse("", caller, ResponseError::GroupMaxSizeReached);
        }
        if !self.supports(&join.protocol_type, &join.protocols) {
            return refuse(&member_id, caller, ResponseError::InconsistentGroupProtocol);
        }
        if !member_id.is_empty() {
            return self.join_again(now_ms, caller, join, &member_id, initial_delay_ms);
        }
        match join.instance_id.as_ref().and_then(|it| self.static_members.get(it)).cloned() {
            Some(old_id) => self.replace_static(now_ms, caller, join, &old_id, new_member_id, initial_delay_ms),
            None if join.instance_id.is_none() && caller.version >= KNOWN_MEMBER_ID_VERSION => {
                let until_ms = now_ms + Millis::from(join.session_timeout_ms);
                self.pending_members.insert(new_member_id.clone(), until_ms);
                refuse(&new_member_id, caller, ResponseError::MemberIdRequired)
            }
            None => self.add_member(now_ms, caller, join, new_member_id, initial_delay_ms),
        }
    }

    fn join_again(
        &mut self,
        now_ms: Millis,
        caller: Caller,
        join: Join,
        member_id: &str,
        initial_delay_ms: Millis,
    ) -> Vec<Reply> {
        if self.pending_members.remove(member_id).is_some() {
            return self.add_member(now_ms, caller, join, member_id.to_owned(), initial_delay_ms);
        }
        if let Err(error) = self.validate_member(member_id, join.instance_id.as_deref()) {
            return vec![Reply::Join(caller, join_error(member_id, error))];
        }
        let same = self.members.get(member_id).is_some_and(|it| it.protocols == join.protocols);
        // A retry of a join whose answer was lost must not start another rebalance.
        let answer_now = match self.state {
            GroupState::PreparingRebalance => false,
            GroupState::CompletingRebalance => same,
            GroupState::Stable => same && !self.is_leader(member_id),
            GroupState::Empty => {
                return vec![Reply::Join(caller, join_error(member_id, ResponseError::UnknownMemberId))];
            }
        };
        if answer_now {
            return vec![Reply::Join(caller, self.join_response(member_id))];
        }
        self.update_member(member_id, join, Some(caller));
        self.rebalance_or_complete(now_ms, initial_delay_ms)
    }

    fn update_member(&mut self, member_id: &str, join: Join, caller: Option<Caller>) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.protocols = join.protocols;
            member.session_timeout_ms = join.session_timeout_ms;
            member.rebalance_timeout_ms = join.rebalance_timeout_ms;
            member.joining = caller;
        }
    }

    fn add_member(
        &mut self,
        now_ms: Millis,
        caller: Caller,
        join: Join,
        member_id: String,
        initial_delay_ms: Millis,
    ) -> Vec<Reply> {
        if self.state == GroupState::PreparingRebalance && self.generation == 0 {
            self.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance_id) = &join.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        let member = Member {
            instance_id: join.instance_id,
            client_id: caller.client_id.to_string(),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(caller),
            syncing: None,
            is_new: true,
            expires_ms: now_ms + NEW_MEMBER_TIMEOUT_MS,
        };
        self.members.insert(member_id, member);
        self.rebalance_or_complete(now_ms, initial_delay_ms)
    }

    /// The same instance with a new member id: whoever had the old one is fenced.
    fn replace_static(
        &mut self,
        now_ms: Millis,
        caller: Caller,
        join: Join,
        old_id: &str,
        new_id: String,
        initial_delay_ms: Millis,
    ) -> Vec<Reply> {
        let Some(mut member) = self.members.remove(old_id) else { return Vec::new() };
        let mut replies = Vec::new();
        if let Some(old) = member.joining.take() {
            replies.push(Reply::Join(old, join_error(old_id, ResponseError::FencedInstanceId)));
        }
        if let Some(old) = member.syncing.take() {
            replies.push(Reply::Sync(old, sync_error(ResponseError::FencedInstanceId)));
        }
        if let Some(instance_id) = &join.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        let old_leader = self.leader.clone();
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        member.expires_ms = now_ms + Millis::from(join.session_timeout_ms);
        self.members.insert(new_id.clone(), member);
        self.update_member(&new_id, join, Some(caller));
        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol => {
                // KIP-345: a restart within the session timeout moves nothing.
                let Some(caller) = self.members.get_mut(&new_id).and_then(|it| it.joining.take()) else {
                    return replies;
                };
                let mut response = self.join_response(&new_id);
                if caller.version >= SKIP_ASSIGNMENT_VERSION {
                    response.skip_assignment = self.is_leader(&new_id);
                } else {
                    // Older clients are told of the old leader, so that none of them assigns anew (KIP-814).
                    response.leader = text(old_leader.unwrap_or_default());
                    response.members = Vec::new();
                }
                replies.push(Reply::Join(caller, response));
            }
            GroupState::Stable => replies.extend(self.rebalance_or_complete(now_ms, initial_delay_ms)),
            GroupState::CompletingRebalance => replies.extend(self.prepare_rebalance(now_ms, initial_delay_ms)),
            _ => replies.extend(self.complete_join_if_all(now_ms)),
        }
        replies
    }

    pub(super) fn rebalance_or_complete(&mut self, now_ms: Millis, initial_delay_ms: Millis) -> Vec<Reply> {
        match self.state {
            GroupState::PreparingRebalance => self.complete_join_if_all(now_ms),
            _ => self.prepare_rebalance(now_ms, initial_delay_ms),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, now_ms: Millis, initial_delay_ms: Millis) -> Vec<Reply> {
        let mut replies = Vec::new();
        if self.state == GroupState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(caller) = member.syncing.take() {
                    member.expires_ms = now_ms + Millis::from(member.session_timeout_ms);
                    replies.push(Reply::Sync(caller, sync_error(ResponseError::RebalanceInProgress)));
                }
            }
        }
        self.sync_due_ms = None;
        let is_initial = self.state == GroupState::Empty;
        self.state = GroupState::PreparingRebalance;
        if is_initial {
            let remaining_ms = (self.rebalance_timeout_ms() - initial_delay_ms).max(0);
            let at_ms = now_ms + initial_delay_ms;
            self.join_due = Some(JoinDue::Initial { at_ms, delay_ms: initial_delay_ms, remaining_ms });
            if initial_delay_ms == 0 {
                replies.extend(self.complete_join(now_ms));
            }
        } else if self.has_all_members_joined() {
            replies.extend(self.complete_join(now_ms));
        } else {
            self.join_due = Some(JoinDue::At(now_ms + self.rebalance_timeout_ms()));
        }
        replies
    }

    pub(super) fn complete_join_if_all(&mut self, now_ms: Millis) -> Vec<Reply> {
        // While the first rebalance waits for more members, only its timer ends it.
        let waits = matches!(self.join_due, Some(JoinDue::Initial { .. }));
        if self.state == GroupState::PreparingRebalance && self.has_all_members_joined() && !waits {
            self.complete_join(now_ms)
        } else {
            Vec::new()
        }
    }

    /// The next generation. Who did not come again is out, but for static members, whose place is kept.
    pub(super) fn complete_join(&mut self, now_ms: Millis) -> Vec<Reply> {
        self.join_due = None;
        self.new_member_added = false;
        let absent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, it)| it.joining.is_none() && it.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in absent {
            self.remove(&id);
        }
        let present = |id: &String| self.members.get(id).is_some_and(|it| it.joining.is_some());
        if !self.leader.as_ref().is_some_and(present) {
            match self.members.iter().find(|(_, it)| it.joining.is_some()).map(|(id, _)| id.clone()) {
                Some(leader) => self.leader = Some(leader),
                None if !self.members.is_empty() => {
                    // Static members alone, and none of them here: wait on.
                    self.join_due = Some(JoinDue::At(now_ms + self.rebalance_timeout_ms()));
                    return Vec::new();
                }
                None => self.leader = None,
            }
        }
        self.generation += 1;
        self.pending_syncs.clear();
        self.protocol = self.select_protocol();
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.empty_since_ms = now_ms;
            return Vec::new();
        }
        self.state = GroupState::CompletingRebalance;
        self.sync_due_ms = Some(now_ms + self.rebalance_timeout_ms());
        self.pending_syncs = self.members.keys().cloned().collect();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let mut replies = Vec::new();
        for id in ids {
            let response = self.join_response(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            member.expires_ms = now_ms + Millis::from(member.session_timeout_ms);
            if let Some(caller) = member.joining.take() {
                replies.push(Reply::Join(caller, response));
            }
        }
        replies
    }
}

pub(crate) fn sync_error(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code()).with_protocol_name(Some(StrBytes::default()))
}
