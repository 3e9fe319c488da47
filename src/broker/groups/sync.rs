//! After the join: the leader's assignment, heartbeats, leaving.

use super::join::sync_error;
use super::{Group, GroupState, Reply, join_error, text};
use crate::broker::request::Caller;
use crate::broker::settings::Millis;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use std::collections::BTreeMap;

impl Group {
    pub(crate) fn sync(&mut self, now_ms: Millis, caller: Caller, request: &SyncGroupRequest) -> Vec<Reply> {
        if let Err(error) = self.validate_sync(request) {
            return vec![Reply::Sync(caller, sync_error(error))];
        }
        let member_id = request.member_id.to_string();
        match self.state {
            GroupState::Empty => vec![Reply::Sync(caller, sync_error(ResponseError::UnknownMemberId))],
            GroupState::PreparingRebalance => vec![Reply::Sync(caller, sync_error(ResponseError::RebalanceInProgress))],
            GroupState::CompletingRebalance => {
                self.pending_syncs.remove(&member_id);
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.syncing = Some(caller);
                }
                if !self.is_leader(&member_id) {
                    return Vec::new();
                }
                self.state = GroupState::Stable;
                let of = request.assignments.iter().map(|it| (it.member_id.to_string(), it.assignment.clone()));
                self.assign(now_ms, &of.collect())
            }
            GroupState::Stable => {
                self.pending_syncs.remove(&member_id);
                if self.pending_syncs.is_empty() {
                    self.sync_due_ms = None;
                }
                vec![Reply::Sync(caller, self.sync_response(&member_id))]
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ResponseError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |asked: Option<&str>, ours: Option<&str>| asked.is_some() && asked != ours;
        if differs(request.protocol_type.as_deref(), self.protocol_type.as_deref())
            || differs(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn assign(&mut self, now_ms: Millis, assignments: &BTreeMap<String, Bytes>) -> Vec<Reply> {
        let mut callers = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = assignments.get(id).cloned().unwrap_or_default();
            if let Some(caller) = member.syncing.take() {
                member.expires_ms = now_ms + Millis::from(member.session_timeout_ms);
                callers.push((id.clone(), caller));
            }
        }
        if self.pending_syncs.is_empty() {
            self.sync_due_ms = None;
        }
        callers.into_iter().map(|(id, caller)| Reply::Sync(caller, self.sync_response(&id))).collect()
    }

    fn sync_response(&self, member_id: &str) -> SyncGroupResponse {
        let assignment = self.members.get(member_id).map(|it| it.assignment.clone());
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone().map(text))
            .with_protocol_name(self.protocol.clone().map(text))
            .with_assignment(assignment.unwrap_or_default())
    }

    pub(crate) fn heartbeat(
        &mut self,
        now_ms: Millis,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.validate_member(member_id, instance_id)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.touch(now_ms, member_id);
        match self.state {
            GroupState::Empty => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// The member is alive: its session begins anew.
    pub(crate) fn touch(&mut self, now_ms: Millis, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires_ms = now_ms + Millis::from(member.session_timeout_ms);
        }
    }

    /// Up to v2 of the API one member leaves, from v3 on any number.
    pub(crate) fn leave(
        &mut self,
        now_ms: Millis,
        members: &[MemberIdentity],
        initial_delay_ms: Millis,
    ) -> (Vec<MemberResponse>, Vec<Reply>) {
        let mut replies = Vec::new();
        let mut any_left = false;
        let mut responses = Vec::new();
        for leaving in members {
            let left = self.leave_one(&leaving.member_id, leaving.group_instance_id.as_deref(), &mut replies);
            any_left |= left.is_ok();
            responses.push(
                MemberResponse::default()
                    .with_member_id(leaving.member_id.clone())
                    .with_group_instance_id(leaving.group_instance_id.clone())
                    .with_error_code(left.err().map_or(0, |it| it.code())),
            );
        }
        if any_left {
            replies.extend(self.member_gone(now_ms, initial_delay_ms));
        }
        (responses, replies)
    }

    fn leave_one(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), ResponseError> {
        let member_id = if member_id.is_empty() {
            let known = instance_id.and_then(|it| self.static_members.get(it));
            known.cloned().ok_or(ResponseError::UnknownMemberId)?
        } else if self.pending_members.contains_key(member_id) {
            self.remove(member_id);
            return Ok(());
        } else {
            self.validate_member(member_id, instance_id)?;
            member_id.to_owned()
        };
        self.throw_out(&member_id, replies);
        Ok(())
    }

    pub(super) fn throw_out(&mut self, member_id: &str, replies: &mut Vec<Reply>) {
        if let Some(caller) = self.members.get_mut(member_id).and_then(|it| it.joining.take()) {
            replies.push(Reply::Join(caller, join_error("", ResponseError::UnknownMemberId)));
        }
        if let Some(caller) = self.members.get_mut(member_id).and_then(|it| it.syncing.take()) {
            replies.push(Reply::Sync(caller, sync_error(ResponseError::UnknownMemberId)));
        }
        self.remove(member_id);
    }

    /// The others share what it had.
    pub(super) fn member_gone(&mut self, now_ms: Millis, initial_delay_ms: Millis) -> Vec<Reply> {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(now_ms, initial_delay_ms),
            GroupState::PreparingRebalance => self.complete_join_if_all(now_ms),
            GroupState::Empty => Vec::new(),
        }
    }
}
