use super::*;
use crate::broker::cluster::ConnectionId;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 30_000;

/// A group, its clock, and what it has answered.
struct Bench {
    group: Group,
    now_ms: Millis,
    replies: Vec<Reply>,
    next_connection: u64,
}

impl Bench {
    fn new() -> Self {
        Self { group: Group::new(0), now_ms: 0, replies: Vec::new(), next_connection: 0 }
    }

    fn caller(&mut self) -> Caller {
        self.next_connection += 1;
        Caller::for_tests(ConnectionId(self.next_connection), 9)
    }

    /// Returns the name of the connection that waits for the answer.
    fn join(&mut self, member: &str, instance: Option<&str>, metadata: &str) -> u64 {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
        let request = JoinGroupRequest::default()
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol.with_metadata(Bytes::from(metadata.to_owned()))]);
        let caller = self.caller();
        let new_id = format!("member-{}", self.next_connection);
        let replies = self.group.join(self.now_ms, caller, &request, new_id, 0);
        self.replies.extend(replies);
        self.next_connection
    }

    fn sync(&mut self, member: &str, assignments: &[(&str, &str)]) -> u64 {
        let assignments = assignments.iter().map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(*member))
                .with_assignment(Bytes::from((*assignment).to_owned()))
        });
        let request = SyncGroupRequest::default()
            .with_member_id(text(member))
            .with_generation_id(self.group.generation)
            .with_assignments(assignments.collect());
        let caller = self.caller();
        let replies = self.group.sync(self.now_ms, caller, &request);
        self.replies.extend(replies);
        self.next_connection
    }

    /// Code, generation and number of members of a join's answer.
    fn joined(&mut self, connection: u64) -> Option<(i16, i32, usize)> {
        self.replies.iter().find_map(|reply| match reply {
            Reply::Join(caller, response) if caller.connection == ConnectionId(connection) => {
                Some((response.error_code, response.generation_id, response.members.len()))
            }
            _ => None,
        })
    }

    fn synced(&mut self, connection: u64) -> Option<(i16, Bytes)> {
        self.replies.iter().find_map(|reply| match reply {
            Reply::Sync(caller, response) if caller.connection == ConnectionId(connection) => {
                Some((response.error_code, response.assignment.clone()))
            }
            _ => None,
        })
    }

    fn advance(&mut self, ms: Millis) {
        let until_ms = self.now_ms + ms;
        while let Some(due) = self.group.next_due().filter(|it| *it <= until_ms) {
            self.now_ms = due;
            let replies = self.group.run(GroupTimes { now_ms: due, initial_delay_ms: 0 });
            self.replies.extend(replies);
        }
        self.now_ms = until_ms;
    }

    /// A dynamic member: asks for its id and joins with it.
    fn new_member(&mut self) -> (String, u64) {
        let asked = self.join("", None, "m");
        assert_eq!(self.joined(asked).map(|it| it.0), Some(79));
        let id = format!("member-{asked}");
        let joined = self.join(&id, None, "m");
        (id, joined)
    }

    /// Two members in a stable group, the first leads.
    fn pair() -> (Self, String, String) {
        let mut bench = Self::new();
        let (first, _) = bench.new_member();
        bench.sync(&first, &[(&first, "all")]);
        let (second, waiting) = bench.new_member();
        assert_eq!(bench.joined(waiting), None);
        let again = bench.join(&first, None, "m");
        assert_eq!((bench.joined(again), bench.joined(waiting)), (Some((0, 2, 2)), Some((0, 2, 0))));
        let waiting = bench.sync(&second, &[]);
        assert_eq!(bench.synced(waiting), None, "it waits for the leader");
        bench.sync(&first, &[(&first, "one"), (&second, "two")]);
        assert_eq!(bench.synced(waiting), Some((0, Bytes::from_static(b"two"))));
        assert_eq!(bench.group.state, GroupState::Stable);
        (bench, first, second)
    }
}

#[test]
fn a_session_that_ends_gives_the_rest_to_the_others() {
    let (mut bench, first, second) = Bench::pair();
    for _ in 0..3 {
        bench.advance(6_000);
        let alive = bench.group.heartbeat(bench.now_ms, &first, None, 2);
        assert!(alive.is_ok() || alive == Err(ResponseError::RebalanceInProgress));
    }
    assert_eq!(bench.group.heartbeat(bench.now_ms, &second, None, 2), Err(ResponseError::UnknownMemberId));
    let alone = bench.join(&first, None, "m");
    assert_eq!(bench.joined(alone), Some((0, 3, 1)));
}

#[test]
fn who_does_not_come_again_in_time_is_out() {
    let (mut bench, first, second) = Bench::pair();
    let waiting = bench.join(&first, None, "m");
    for _ in 0..4 {
        bench.advance(6_000);
        let told = bench.group.heartbeat(bench.now_ms, &second, None, 2);
        assert_eq!(told, Err(ResponseError::RebalanceInProgress));
    }
    assert_eq!(bench.joined(waiting), None);
    bench.advance(6_001);
    assert_eq!(bench.joined(waiting), Some((0, 3, 1)), "the rebalance timeout is over");
}

#[test]
fn a_leader_that_never_syncs_is_out() {
    let mut bench = Bench::new();
    let (first, joined) = bench.new_member();
    assert_eq!(bench.joined(joined), Some((0, 1, 1)));
    let (_, waiting) = bench.new_member();
    bench.advance(Millis::from(REBALANCE_MS) + 1);
    assert!(!bench.group.members.contains_key(&first));
    assert_eq!(bench.joined(waiting).map(|it| it.0), Some(0));
}

#[test]
fn an_id_that_is_never_used_is_forgotten() {
    let mut bench = Bench::new();
    bench.join("", None, "m");
    assert!(!bench.group.is_forgotten());
    bench.advance(Millis::from(SESSION_MS));
    assert!(bench.group.is_forgotten());
    assert_eq!(bench.group.next_due(), None, "an empty group has no timer");
}

#[test]
fn a_static_member_may_be_away_for_its_session() {
    let mut bench = Bench::new();
    let joined = bench.join("", Some("i"), "m");
    assert_eq!(bench.joined(joined), Some((0, 1, 1)));
    let id = format!("member-{joined}");
    bench.sync(&id, &[(&id, "kept")]);
    bench.advance(5_000);
    let again = bench.join("", Some("i"), "m");
    assert_eq!(bench.joined(again).map(|it| (it.0, it.1)), Some((0, 1)), "the same generation");
    assert_eq!(bench.group.heartbeat(bench.now_ms, &id, Some("i"), 1), Err(ResponseError::FencedInstanceId));
    bench.advance(Millis::from(SESSION_MS));
    assert!(bench.group.members.is_empty());
}

#[test]
fn another_coordinator_knows_members_but_nobody_who_waits() {
    let (mut bench, first, second) = Bench::pair();
    let lost = bench.join(&first, None, "m");
    bench.group.reloaded(bench.now_ms);
    assert_eq!(bench.group.heartbeat(bench.now_ms, &second, None, 2), Err(ResponseError::RebalanceInProgress));
    bench.join(&first, None, "m");
    let joined = bench.join(&second, None, "m");
    assert_eq!(bench.joined(joined).map(|it| (it.0, it.1)), Some((0, 3)));
    assert_eq!(bench.joined(lost), None, "its connection is gone");
}

#[test]
fn offsets_expire_by_the_groups_kind() {
    let committed = |commit_ms| Committed { offset: 1, leader_epoch: -1, metadata: String::new(), commit_ms };
    let place = crate::types::TopicPartition::new("t", 0);
    let mut simple = Group::new(0);
    simple.offsets.committed.insert(place.clone(), committed(500));
    simple.expire_offsets(1_400, 1_000);
    assert!(!simple.offsets.is_empty());
    simple.expire_offsets(1_500, 1_000);
    assert!(simple.offsets.is_empty(), "so long after the commit");

    let (mut bench, first, second) = Bench::pair();
    bench.group.offsets.committed.insert(place, committed(0));
    bench.group.expire_offsets(1_000_000, 1_000);
    assert!(!bench.group.offsets.is_empty(), "members keep them");
    let leaving = [first, second]
        .map(|id| kafka_protocol::messages::leave_group_request::MemberIdentity::default().with_member_id(text(id)));
    bench.now_ms = 2_000_000;
    bench.group.leave(bench.now_ms, &leaving, 0);
    assert_eq!(bench.group.state, GroupState::Empty);
    bench.group.expire_offsets(2_000_500, 1_000);
    assert!(!bench.group.offsets.is_empty());
    bench.group.expire_offsets(2_001_000, 1_000);
    assert!(bench.group.offsets.is_empty(), "so long after the last member left");
}
