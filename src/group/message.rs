//! What goes into a member and what comes out.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::errors::Api;

pub type RequestId = u64;

/// Which connection to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// JoinGroup and SyncGroup, which the coordinator holds until others have come.
    Rounds,
    /// Heartbeat and LeaveGroup.
    Beats,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    JoinGroup {
        group_id: Arc<str>,
        session_timeout: Duration,
        rebalance_timeout: Duration,
        /// Empty: the coordinator gives one.
        member_id: Arc<str>,
        instance_id: Option<Arc<str>>,
        /// A ConsumerProtocolSubscription.
        subscription: Bytes,
    },
    SyncGroup {
        group_id: Arc<str>,
        generation_id: i32,
        member_id: Arc<str>,
        instance_id: Option<Arc<str>>,
        /// By member id, a ConsumerProtocolAssignment each; only the leader has them.
        assignments: Vec<(Arc<str>, Bytes)>,
    },
    Heartbeat {
        group_id: Arc<str>,
        generation_id: i32,
        member_id: Arc<str>,
        instance_id: Option<Arc<str>>,
    },
    LeaveGroup {
        group_id: Arc<str>,
        member_id: Arc<str>,
        instance_id: Option<Arc<str>>,
    },
}

impl GroupRequest {
    pub fn api(&self) -> Api {
        match self {
            Self::JoinGroup { .. } => Api::JoinGroup,
            Self::SyncGroup { .. } => Api::SyncGroup,
            Self::Heartbeat { .. } => Api::Heartbeat,
            Self::LeaveGroup { .. } => Api::LeaveGroup,
        }
    }

    pub fn channel(&self) -> Channel {
        match self {
            Self::JoinGroup { .. } | Self::SyncGroup { .. } => Channel::Rounds,
            Self::Heartbeat { .. } | Self::LeaveGroup { .. } => Channel::Beats,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinAnswer {
    pub error_code: i16,
    pub generation_id: i32,
    pub member_id: Arc<str>,
    pub leader: Arc<str>,
    /// A static leader that came back: the group keeps the assignment it has (KIP-814).
    pub skip_assignment: bool,
    /// Id and ConsumerProtocolSubscription; only the leader is told.
    pub members: Vec<(Arc<str>, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    JoinGroup(JoinAnswer),
    SyncGroup { error_code: i16, assignment: Bytes },
    Heartbeat { error_code: i16 },
    LeaveGroup { error_code: i16 },
}

impl Answer {
    pub fn error_code(&self) -> i16 {
        match self {
            Self::JoinGroup(answer) => answer.error_code,
            Self::SyncGroup { error_code, .. } | Self::Heartbeat { error_code } | Self::LeaveGroup { error_code } => {
                *error_code
            }
        }
    }
}

/// No answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Join,
    Answered {
        id: RequestId,
        answer: Result<Answer, Failure>,
    },
    /// A revoked lane has ended.
    Ended(u32),
    /// Somebody may have taken a lane: the next heartbeat goes out at once, and its answer is told.
    Doubt,
    Fitness(Fitness),
    Leave,
    Timeout,
}

/// Whether this process could do the lanes' work at all. One that cannot leaves them to those who can, as long as there are
/// any; where nobody can, they stay where they are, so that bridges which are all cut off do not pass them around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fitness {
    /// Of every process that starts.
    #[default]
    Fit,
    /// Perhaps it cannot any more. It says that it cannot in a round of somebody else's, and asks for none itself: what befalls
    /// all of them does so a little earlier here and a little later there, and no lane is to move for that.
    Failing,
    /// It can again, perhaps not for long: it says so in a round of somebody else's, and asks for none itself.
    Recovering,
    Unfit,
}

/// What a TxnOffsetCommit must carry for the group's fence (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub generation_id: i32,
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
}

/// What only the leader knows, and tells the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// For the line in the log.
    pub members: u32,
    /// Lanes that are given to nobody yet, because somebody else still works them.
    pub withheld: u32,
    /// How the leader took the member that is told.
    pub is_unfit: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The newest generation, as soon as it is known: lanes that stay go on in it.
    Entered(Membership),
    /// What the generation gave, all in all, and what its leader said, if it is one of ours.
    Assigned {
        lanes: BTreeSet<u32>,
        generation_id: i32,
        round: Option<Round>,
    },
    /// These are to end, and be told by `Input::Ended`.
    Revoke(BTreeSet<u32>),
    /// All lanes are another's by now: none of them works a moment longer.
    Lost {
        reason: &'static str,
    },
    /// A heartbeat that was sent after the doubt was answered: the lanes are this member's.
    Confirmed,
    /// Terminal, as the two below: a newer process has this instance id.
    Superseded,
    Failed(Trouble),
    Left,
}

/// What an operator must mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    SessionTimeout,
    Refused { api: Api, code: i16 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send {
        id: RequestId,
        request: GroupRequest,
    },
    /// A new connection looks the coordinator up anew.
    Reconnect(Channel),
    Event(Event),
}
