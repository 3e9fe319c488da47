//! The requests and answers of a member as kafka-protocol's messages, and what stands inside them: a consumer's real
//! subscription and assignment, so that Kafka's own tools can read the group.

use super::assignor::Claim;
use super::message::{Answer, GroupRequest, JoinAnswer, Round};
use crate::shape::{Field, Shape, Table, bytes, check, i32, i32s, list, text};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse, TopicName,
    consumer_protocol_assignment, consumer_protocol_subscription,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// From 5 on there is static membership, from 9 on a static leader that comes back keeps the assignment (KIP-814).
pub const JOIN_GROUP_VERSION_MAX: i16 = 9;
pub const SYNC_GROUP_VERSION_MAX: i16 = 5;
pub const HEARTBEAT_VERSION_MAX: i16 = 4;
pub const LEAVE_GROUP_VERSION_MAX: i16 = 5;
/// From which on several members leave by one request.
const LEAVE_GROUP_OF_SEVERAL: i16 = 3;
const PROTOCOL_TYPE: &str = "consumer";
/// Java's name for sticky and cooperative: a consumer of that kind that joins by mistake understands the others.
const PROTOCOL_NAME: &str = "cooperative-sticky";
/// Of the subscription: with the owned partitions and their generation (KIP-792).
const CONSUMER_VERSION: i16 = 2;
const CONSUMER_VERSION_LAST: i16 = 3;
const LANES_MAX: i32 = 1 << 16;
/// User data of a subscription: the lanes are to go to others. Java's assignor has no use for user data in this version.
const UNFIT: &[u8] = b"unfit";

const SUBSCRIPTION: Table = Table {
    key: -1,
    first: 0,
    last: CONSUMER_VERSION_LAST,
    flexible: i16::MAX,
    fields: &[
        Field::new(Shape::List(&Shape::Text)),
        bytes(),
        list(&[text(), i32s()]).since(1),
        i32().since(2),
        text().since(3),
    ],
    tags: &[],
};
const ASSIGNMENT: Table = Table {
    key: -1,
    first: 0,
    last: CONSUMER_VERSION_LAST,
    flexible: i16::MAX,
    fields: &[list(&[text(), i32s()]), bytes()],
    tags: &[],
};

fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

fn versioned(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(CONSUMER_VERSION);
    // Only a string or list of more than 2 GB cannot be encoded; an empty one is refused by its readers.
    if message.encode(&mut bytes, CONSUMER_VERSION).is_err() {
        bytes.clear();
    }
    bytes.freeze()
}

/// None: nothing that a consumer would write. The walk comes first, because the decoder believes every count.
fn read<T: Decodable>(table: &Table, mut bytes: Bytes) -> Option<T> {
    if bytes.len() < 2 {
        return None;
    }
    // A later version only adds fields behind those that are known.
    let version = bytes.get_i16().min(CONSUMER_VERSION_LAST);
    if version < 0 || check(table, version, &bytes).is_err() {
        return None;
    }
    T::decode(&mut bytes, version).ok()
}

fn numbers(lanes: &BTreeSet<u32>) -> Vec<i32> {
    lanes.iter().filter_map(|lane| i32::try_from(*lane).ok()).collect()
}

fn lanes(partitions: &[i32]) -> impl Iterator<Item = u32> + '_ {
    partitions.iter().filter(|it| (0..LANES_MAX).contains(*it)).map(|it| it.unsigned_abs())
}

pub(super) fn subscription(topic: &str, claim: &Claim) -> Bytes {
    let Claim { lanes: owned, generation_id, is_unfit } = claim;
    let owned = (!owned.is_empty()).then(|| {
        consumer_protocol_subscription::TopicPartition::default()
            .with_topic(TopicName(wire(topic)))
            .with_partitions(numbers(owned))
    });
    let message = ConsumerProtocolSubscription::default()
        .with_topics(vec![wire(topic)])
        .with_user_data(is_unfit.then(|| UNFIT.into()))
        .with_owned_partitions(owned.into_iter().collect())
        .with_generation_id(*generation_id);
    versioned(&message)
}

/// A member whose subscription cannot be read owns nothing.
pub(super) fn claim(topic: &str, bytes: &Bytes) -> Claim {
    let Some(message) = read::<ConsumerProtocolSubscription>(&SUBSCRIPTION, bytes.clone()) else {
        return Claim { generation_id: -1, ..Claim::default() };
    };
    let of_ledger = message.owned_partitions.iter().filter(|it| it.topic.as_str() == topic);
    Claim {
        lanes: of_ledger.flat_map(|it| lanes(&it.partitions)).collect(),
        generation_id: message.generation_id,
        is_unfit: message.user_data.as_deref() == Some(UNFIT),
    }
}

pub(super) fn assignment(topic: &str, given: &BTreeSet<u32>, round: Round) -> Bytes {
    let told = [round.members, round.withheld, u32::from(round.is_unfit)].map(u32::to_be_bytes).concat();
    let given = (!given.is_empty()).then(|| {
        consumer_protocol_assignment::TopicPartition::default()
            .with_topic(TopicName(wire(topic)))
            .with_partitions(numbers(given))
    });
    let message = ConsumerProtocolAssignment::default()
        .with_assigned_partitions(given.into_iter().collect())
        .with_user_data(Some(told.into()));
    versioned(&message)
}

/// The lanes, and what the leader told beside them if it is one of ours. Empty bytes are what the coordinator gives a member
/// that the leader did not know yet.
pub(super) fn assigned(topic: &str, bytes: &Bytes) -> (BTreeSet<u32>, Option<Round>) {
    let Some(message) = read::<ConsumerProtocolAssignment>(&ASSIGNMENT, bytes.clone()) else {
        return (BTreeSet::new(), None);
    };
    let of_ledger = message.assigned_partitions.iter().filter(|it| it.topic.as_str() == topic);
    let round = message.user_data.and_then(|mut it| {
        let (members, withheld) = (it.try_get_u32().ok()?, it.try_get_u32().ok()?);
        Some(Round { members, withheld, is_unfit: it.try_get_u32().ok()? != 0 })
    });
    (of_ledger.flat_map(|it| lanes(&it.partitions)).collect(), round)
}

/// Of any member, for whoever looks on.
pub fn assigned_lanes(topic: &str, bytes: &Bytes) -> BTreeSet<u32> {
    assigned(topic, bytes).0
}

/// None: the request is another one.
pub fn join_group(request: &GroupRequest) -> Option<JoinGroupRequest> {
    let GroupRequest::JoinGroup { group_id, session_timeout, rebalance_timeout, member_id, instance_id, subscription } =
        request
    else {
        return None;
    };
    let protocol =
        JoinGroupRequestProtocol::default().with_name(wire(PROTOCOL_NAME)).with_metadata(subscription.clone());
    let join = JoinGroupRequest::default()
        .with_group_id(wire(group_id).into())
        .with_session_timeout_ms(milliseconds(*session_timeout))
        .with_rebalance_timeout_ms(milliseconds(*rebalance_timeout))
        .with_member_id(wire(member_id))
        .with_group_instance_id(instance_id.as_deref().map(wire))
        .with_protocol_type(wire(PROTOCOL_TYPE))
        .with_protocols(vec![protocol]);
    Some(join)
}

pub fn join_group_answer(answer: JoinGroupResponse) -> Answer {
    let name = |text: &StrBytes| Arc::from(text.as_str());
    Answer::JoinGroup(JoinAnswer {
        error_code: answer.error_code,
        generation_id: answer.generation_id,
        member_id: name(&answer.member_id),
        leader: name(&answer.leader),
        skip_assignment: answer.skip_assignment,
        members: answer.members.into_iter().map(|it| (name(&it.member_id), it.metadata)).collect(),
    })
}

pub fn sync_group(request: &GroupRequest, version: i16) -> Option<SyncGroupRequest> {
    let GroupRequest::SyncGroup { group_id, generation_id, member_id, instance_id, assignments } = request else {
        return None;
    };
    let assignment = |(id, bytes): &(Arc<str>, Bytes)| {
        SyncGroupRequestAssignment::default().with_member_id(wire(id)).with_assignment(bytes.clone())
    };
    let sync = SyncGroupRequest::default()
        .with_group_id(wire(group_id).into())
        .with_generation_id(*generation_id)
        .with_member_id(wire(member_id))
        .with_group_instance_id(instance_id.as_deref().map(wire))
        .with_assignments(assignments.iter().map(assignment).collect());
    let is_named = version >= SYNC_GROUP_VERSION_MAX;
    Some(if is_named {
        sync.with_protocol_type(Some(wire(PROTOCOL_TYPE))).with_protocol_name(Some(wire(PROTOCOL_NAME)))
    } else {
        sync
    })
}

pub fn sync_group_answer(answer: SyncGroupResponse) -> Answer {
    Answer::SyncGroup { error_code: answer.error_code, assignment: answer.assignment }
}

pub fn heartbeat(request: &GroupRequest) -> Option<HeartbeatRequest> {
    let GroupRequest::Heartbeat { group_id, generation_id, member_id, instance_id } = request else { return None };
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(wire(group_id).into())
        .with_generation_id(*generation_id)
        .with_member_id(wire(member_id))
        .with_group_instance_id(instance_id.as_deref().map(wire));
    Some(heartbeat)
}

pub fn heartbeat_answer(answer: &HeartbeatResponse) -> Answer {
    Answer::Heartbeat { error_code: answer.error_code }
}

pub fn leave_group(request: &GroupRequest, version: i16) -> Option<LeaveGroupRequest> {
    let GroupRequest::LeaveGroup { group_id, member_id, instance_id } = request else { return None };
    let leave = LeaveGroupRequest::default().with_group_id(wire(group_id).into());
    Some(if version >= LEAVE_GROUP_OF_SEVERAL {
        let member = MemberIdentity::default()
            .with_member_id(wire(member_id))
            .with_group_instance_id(instance_id.as_deref().map(wire));
        leave.with_members(vec![member])
    } else {
        leave.with_member_id(wire(member_id))
    })
}

pub fn leave_group_answer(answer: &LeaveGroupResponse) -> Answer {
    let of_member = answer.members.first().map_or(0, |it| it.error_code);
    Answer::LeaveGroup { error_code: if answer.error_code == 0 { of_member } else { answer.error_code } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(lanes: &[u32]) -> BTreeSet<u32> {
        lanes.iter().copied().collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for is_unfit in [false, true] {
            let claimed = Claim { lanes: set(&[0, 3, 7]), generation_id: 5, is_unfit };
            assert_eq!(claim("l.ledger", &subscription("l.ledger", &claimed)), claimed);
            assert_eq!(claim("other", &subscription("l.ledger", &claimed)).lanes, set(&[]));
            let round = Round { members: 3, withheld: 1, is_unfit };
            assert_eq!(assigned("l.ledger", &assignment("l.ledger", &set(&[2]), round)), (set(&[2]), Some(round)));
        }
        assert_eq!(assigned("l.ledger", &Bytes::new()), (set(&[]), None));
    }

    /// As Java's `ConsumerProtocol.serializeSubscription` writes it: version, topics, user data, owned partitions, generation.
    #[test]
    fn a_subscription_has_javas_bytes() {
        let expected = [
            &[0, 2][..],
            &[0, 0, 0, 1, 0, 1, b'l'],
            &[255, 255, 255, 255],
            &[0, 0, 0, 1, 0, 1, b'l', 0, 0, 0, 1, 0, 0, 0, 4],
            &[0, 0, 0, 9],
        ];
        let claim = Claim { lanes: set(&[4]), generation_id: 9, is_unfit: false };
        assert_eq!(subscription("l", &claim), Bytes::from(expected.concat()));
    }

    proptest! {
        #[test]
        fn hostile_bytes_of_other_members_do_no_harm(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let claimed = Claim { lanes: set(&[1, 2]), generation_id: 3, is_unfit: true };
            let round = Round { members: 3, withheld: 0, is_unfit: true };
            for bytes in [subscription("l", &claimed), assignment("l", &claimed.lanes, round)] {
                let mut bytes = bytes.to_vec();
                for (at, value) in &edits {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
                bytes.truncate(cut.index(bytes.len() + 1));
                let bytes = Bytes::from(bytes);
                // A hostile count that got through would abort the test's process here.
                prop_assert!(claim("l", &bytes).lanes.len() <= bytes.len());
                prop_assert!(assigned("l", &bytes).0.len() <= bytes.len());
            }
        }
    }
}
