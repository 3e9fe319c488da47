//! One classic consumer group at its coordinator (Kafka's ClassicGroup and GroupMetadataManager).
//!
//! A group answers late: who joins waits for the others, who syncs waits for the leader. So its calls return replies, each
//! with the caller it is for.

mod join;
mod offsets;
mod sync;
mod timers;

#[cfg(test)]
mod tests;

pub(crate) use join::sync_error;
pub(crate) use offsets::{Committed, METADATA_BYTES_MAX, Offsets};
pub(crate) use timers::GroupTimes;

use super::request::Caller;
use super::settings::Millis;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, BTreeSet};

/// `group.max.size` is unlimited in Kafka; memory is not.
const MEMBERS_MAX: usize = 10_000;

/// A timeout of nothing would make the clock's steps as small.
const REBALANCE_TIMEOUT_MS_MIN: Millis = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    /// Name and metadata, the member's favourite first.
    protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    joining: Option<Caller>,
    syncing: Option<Caller>,
    /// Until its first generation: it is thrown out even while it waits, for its client may have given up.
    is_new: bool,
    expires_ms: Millis,
}

impl Member {
    fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

/// When the join phase ends although not everybody came.
#[derive(Clone, Copy, Debug)]
enum JoinDue {
    /// The first rebalance of an empty group waits for more members, as long as they come.
    Initial {
        at_ms: Millis,
        delay_ms: Millis,
        remaining_ms: Millis,
    },
    At(Millis),
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// Instance id → member id (KIP-345).
    static_members: BTreeMap<String, String>,
    /// Member ids that were handed out and not used yet, and until when.
    pending_members: BTreeMap<String, Millis>,
    pending_syncs: BTreeSet<String>,
    new_member_added: bool,
    join_due: Option<JoinDue>,
    sync_due_ms: Option<Millis>,
    empty_since_ms: Millis,
    pub(crate) offsets: Offsets,
}

/// An answer whose time has come.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Join(Caller, JoinGroupResponse),
    Sync(Caller, SyncGroupResponse),
}

pub(crate) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

impl Group {
    pub(crate) fn new(now_ms: Millis) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            new_member_added: false,
            join_due: None,
            sync_due_ms: None,
            empty_since_ms: now_ms,
            offsets: Offsets::default(),
        }
    }

    /// Whether the caller is who it says it is.
    pub(crate) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(known) if known != member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    pub(crate) fn metadata_of(&self, member: &Member) -> Bytes {
        member.metadata(self.protocol.as_deref())
    }

    fn rebalance_timeout_ms(&self) -> Millis {
        let longest = self.members.values().map(|it| Millis::from(it.rebalance_timeout_ms)).max();
        longest.unwrap_or(0).max(REBALANCE_TIMEOUT_MS_MIN)
    }

    fn has_all_members_joined(&self) -> bool {
        self.pending_members.is_empty() && self.members.values().all(|it| it.joining.is_some())
    }

    /// What every member speaks.
    fn candidates(&self) -> BTreeSet<&str> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return BTreeSet::new() };
        let speaks = |member: &Member, name: &str| member.protocols.iter().any(|(known, _)| known == name);
        let names = first.protocols.iter().map(|(name, _)| name.as_str());
        names.filter(|name| self.members.values().all(|member| speaks(member, name))).collect()
    }

    fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let candidates = self.candidates();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| candidates.contains(name.as_str()))
    }

    /// Each member votes for its favourite among those that all speak.
    fn select_protocol(&self) -> Option<String> {
        let candidates = self.candidates();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member.protocols.iter().map(|(name, _)| name.as_str()).find(|it| candidates.contains(it));
            if let Some(name) = favourite {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// A member goes, with what it waited for.
    fn remove(&mut self, member_id: &str) {
        if let Some(instance_id) = self.members.remove(member_id).and_then(|it| it.instance_id)
            && self.static_members.get(&instance_id).is_some_and(|it| it == member_id)
        {
            self.static_members.remove(&instance_id);
        }
        self.pending_members.remove(member_id);
        self.pending_syncs.remove(member_id);
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// What a member is told of a generation.
    fn join_response(&self, member_id: &str) -> JoinGroupResponse {
        let members = if self.is_leader(member_id) { self.described_members() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone().map(text))
            .with_protocol_name(self.protocol.clone().map(text))
            .with_leader(text(self.leader.clone().unwrap_or_default()))
            .with_member_id(text(member_id))
            .with_members(members)
    }

    fn described_members(&self) -> Vec<JoinGroupResponseMember> {
        let described = self.members.iter().map(|(id, member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id.clone()))
                .with_group_instance_id(member.instance_id.clone().map(text))
                .with_metadata(self.metadata_of(member))
        });
        described.collect()
    }

    /// A group that nobody belongs to and that knows nothing.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.state == GroupState::Empty && self.pending_members.is_empty() && self.offsets.is_empty()
    }
}

/// The answer to a join that failed.
pub(crate) fn join_error(member_id: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::default()))
        .with_member_id(text(member_id))
}
