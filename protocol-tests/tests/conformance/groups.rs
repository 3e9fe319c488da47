//! Classic groups: generations, rebalances, static members, and what the tools see of them.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use protocol_tests::raw::RawClient;

use super::probe::{NODE, Probe, text};

const GROUP: &str = "group";
const SESSION_MS: i32 = 10_000;

fn join_request(
    group: &str,
    member: &str,
    instance: Option<&str>,
    protocols: &[&str],
    metadata: &str,
) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|name| {
        let metadata = Bytes::from(metadata.to_owned());
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
    });
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("conformance"))
        .with_protocols(protocols.collect())
}

fn sync_request(group: &str, member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from((*assignment).to_owned()))
    });
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(Some(text("conformance")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments.collect())
}

/// Joins as the only member and takes everything; returns the member's id and the generation.
pub(super) fn join_alone(probe: &mut Probe, group: &str) -> Result<(String, i32)> {
    let asked = probe.ask(7, &join_request(group, "", None, &["range"], "m"))?;
    let member = asked.member_id.to_string();
    let joined = probe.ask(7, &join_request(group, &member, None, &["range"], "m"))?;
    let synced = probe.ask(5, &sync_request(group, &member, joined.generation_id, &[(&member, "all")]))?;
    if joined.error_code != 0 || synced.error_code != 0 {
        bail!("join answered {}, sync {}", joined.error_code, synced.error_code);
    }
    Ok((member, joined.generation_id))
}

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.coordinator(0, GROUP)?;
    refusals(probe)?;
    let first = one_member(probe)?;
    two_members(probe, &first)?;
    static_members(probe)?;
    tools(probe)
}

fn refusals(probe: &mut Probe) -> Result<()> {
    let request = join_request("", "", None, &["range"], "m");
    let answer = probe.ask(7, &request)?;
    probe.note("an empty group id", answer.error_code);
    let answer = probe.ask(7, &join_request(GROUP, "", None, &["range"], "m").with_session_timeout_ms(1))?;
    probe.note("a session of a millisecond", answer.error_code);
    let answer = probe.ask(7, &join_request(GROUP, "stranger", None, &["range"], "m"))?;
    probe.note("a member id that nobody gave", answer.error_code);
    let answer = probe.ask(7, &join_request(GROUP, "", None, &[], "m"))?;
    probe.note("no protocol", answer.error_code);
    let answer = probe.ask(7, &join_request(GROUP, "", None, &["range"], "m").with_protocol_type(text("")))?;
    probe.note("no protocol type", answer.error_code);
    let heartbeat = HeartbeatRequest::default().with_group_id(GroupId(text("missing"))).with_member_id(text("m"));
    let answer = probe.ask(4, &heartbeat)?;
    probe.note("a heartbeat to a group that is not there", answer.error_code);
    let answer = probe.ask(5, &sync_request("missing", "m", 1, &[]))?;
    probe.note("a sync to a group that is not there", answer.error_code);
    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("missing")))
        .with_members(vec![MemberIdentity::default().with_member_id(text("m"))]);
    let answer = probe.ask(5, &leave)?;
    let members: Vec<i16> = answer.members.iter().map(|it| it.error_code).collect();
    probe.note("leaving a group that is not there", (answer.error_code, members));
    Ok(())
}

fn heartbeat(probe: &mut Probe, member: &str, generation: i32, instance: Option<&str>) -> Result<i16> {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_generation_id(generation)
        .with_group_instance_id(instance.map(text));
    Ok(probe.ask(4, &request)?.error_code)
}

fn one_member(probe: &mut Probe) -> Result<String> {
    let asked = probe.ask(7, &join_request(GROUP, "", None, &["range", "other"], "m"))?;
    let member = asked.member_id.to_string();
    probe.note("a join without id", (asked.error_code, asked.generation_id, member.starts_with("kafka-bridge-tests-")));
    let joined = probe.ask(7, &join_request(GROUP, &member, None, &["range", "other"], "m"))?;
    let line = (joined.error_code, joined.generation_id, joined.leader == joined.member_id, joined.members.len());
    probe.note("the join", line);
    let protocol = (joined.protocol_type.map(|it| it.to_string()), joined.protocol_name.map(|it| it.to_string()));
    probe.note("its protocol", protocol);
    let code = heartbeat(probe, &member, 1, None)?;
    probe.note("a heartbeat before the sync", code);
    for (question, request) in [
        ("a sync of another generation", sync_request(GROUP, &member, 9, &[])),
        ("a sync of a stranger", sync_request(GROUP, "stranger", 1, &[])),
        ("a sync of another protocol", sync_request(GROUP, &member, 1, &[]).with_protocol_name(Some(text("other")))),
        ("a sync of another type", sync_request(GROUP, &member, 1, &[]).with_protocol_type(Some(text("consumer")))),
        ("the sync", sync_request(GROUP, &member, 1, &[(&member, "everything")])),
        ("the sync again", sync_request(GROUP, &member, 1, &[(&member, "something else")])),
    ] {
        let answer = probe.ask(5, &request)?;
        probe.note(question, (answer.error_code, String::from_utf8_lossy(&answer.assignment).into_owned()));
    }
    for (question, who, generation, instance) in [
        ("a heartbeat", member.as_str(), 1, None),
        ("a heartbeat of another generation", member.as_str(), 2, None),
        ("a heartbeat of a stranger", "stranger", 1, None),
        ("a heartbeat of an instance", member.as_str(), 1, Some("instance")),
    ] {
        let code = heartbeat(probe, who, generation, instance)?;
        probe.note(question, code);
    }
    let answer = probe.ask(7, &join_request(GROUP, "", None, &["another"], "m"))?;
    probe.note("a join with a protocol that the other lacks", answer.error_code);
    let answer = probe.ask(7, &join_request(GROUP, "", None, &["range"], "m").with_protocol_type(text("consumer")))?;
    probe.note("a join with another type", answer.error_code);
    // The leader's join is a rebalance of its own.
    let joined = probe.ask(7, &join_request(GROUP, &member, None, &["range", "other"], "m"))?;
    probe.note("the leader joins again", (joined.error_code, joined.generation_id, joined.members.len()));
    let answer = probe.ask(5, &sync_request(GROUP, &member, 2, &[(&member, "all")]))?;
    probe.note("and syncs", answer.error_code);
    Ok(member)
}

/// A request on a connection of its own, for its answer waits for others.
fn later<R>(mut client: RawClient, version: i16, request: R) -> JoinHandle<Result<R::Response>>
where
    R: kafka_protocol::protocol::Request + Send + 'static,
    R::Response: kafka_protocol::protocol::HeaderVersion + kafka_protocol::protocol::Decodable + Send + 'static,
{
    std::thread::spawn(move || client.send(NODE, version, &request))
}

fn done<T>(handle: JoinHandle<Result<T>>) -> Result<T> {
    handle.join().map_err(|_| anyhow!("the other member's thread is gone"))?
}

fn until_rebalance(probe: &mut Probe, member: &str, generation: i32) -> Result<i16> {
    let start = Instant::now();
    loop {
        let code = heartbeat(probe, member, generation, None)?;
        if code != 0 || start.elapsed() > Duration::from_secs(20) {
            return Ok(code);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn two_members(probe: &mut Probe, first: &str) -> Result<()> {
    let asked = probe.ask(7, &join_request(GROUP, "", None, &["range"], "n"))?;
    let second = asked.member_id.to_string();
    let waiting = later(probe.another_client(), 7, join_request(GROUP, &second, None, &["range"], "n"));
    let code = until_rebalance(probe, first, 2)?;
    probe.note("the first learns of the rebalance", code);
    let answer = probe.ask(5, &sync_request(GROUP, first, 2, &[]))?;
    probe.note("a sync while it is prepared", answer.error_code);
    let joined = probe.ask(7, &join_request(GROUP, first, None, &["range", "other"], "m"))?;
    let other = done(waiting)?;
    let leads = joined.leader.as_str() == first;
    probe.note("both join", (joined.error_code, joined.generation_id, joined.members.len(), leads));
    probe.note(
        "the second's answer",
        (other.error_code, other.generation_id, other.members.len(), other.leader == joined.leader),
    );
    let waiting = later(probe.another_client(), 5, sync_request(GROUP, &second, 3, &[]));
    std::thread::sleep(Duration::from_millis(200));
    let answer = probe.ask(5, &sync_request(GROUP, first, 3, &[(first, "one half"), (&second, "the other")]))?;
    let other = done(waiting)?;
    let text_of = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    probe.note(
        "assignments",
        (answer.error_code, text_of(&answer.assignment), other.error_code, text_of(&other.assignment)),
    );
    // A follower that joins with nothing new is told of the generation that is.
    let again = probe.ask(7, &join_request(GROUP, &second, None, &["range"], "n"))?;
    probe.note("the second joins with nothing new", (again.error_code, again.generation_id, again.members.len()));
    let waiting = later(probe.another_client(), 7, join_request(GROUP, &second, None, &["range"], "changed"));
    let code = until_rebalance(probe, first, 3)?;
    probe.note("the second joins with something new", code);
    let joined = probe.ask(7, &join_request(GROUP, first, None, &["range", "other"], "m"))?;
    done(waiting)?;
    let mut metadata: Vec<String> = joined.members.iter().map(|it| text_of(&it.metadata)).collect();
    metadata.sort();
    probe.note("the leader sees it", (joined.generation_id, metadata));
    let leave = LeaveGroupRequest::default().with_group_id(GroupId(text(GROUP))).with_members(vec![
        MemberIdentity::default().with_member_id(text(&second)),
        MemberIdentity::default().with_member_id(text("stranger")),
    ]);
    let answer = probe.ask(5, &leave)?;
    let members: Vec<i16> = answer.members.iter().map(|it| it.error_code).collect();
    probe.note("the second leaves", (answer.error_code, members));
    let code = heartbeat(probe, first, 4, None)?;
    probe.note("and the first learns it", code);
    let code = heartbeat(probe, &second, 4, None)?;
    probe.note("the second is a stranger", code);
    let joined = probe.ask(7, &join_request(GROUP, first, None, &["range", "other"], "m"))?;
    probe.note("the first is alone", (joined.generation_id, joined.members.len()));
    let answer = probe.ask(5, &sync_request(GROUP, first, 5, &[(first, "all")]))?;
    probe.note("and stable", answer.error_code);
    Ok(())
}

fn static_members(probe: &mut Probe) -> Result<()> {
    let group = "static";
    let joined = probe.ask(7, &join_request(group, "", Some("instance"), &["range"], "m"))?;
    let old = joined.member_id.to_string();
    probe.note("a static join needs no id", (joined.error_code, joined.generation_id, old.starts_with("instance-")));
    let sync = sync_request(group, &old, 1, &[(&old, "kept")]).with_group_instance_id(Some(text("instance")));
    let answer = probe.ask(5, &sync)?;
    probe.note("its sync", answer.error_code);
    let joined = probe.ask(7, &join_request(group, "", Some("instance"), &["range"], "m"))?;
    let new = joined.member_id.to_string();
    let line =
        (joined.error_code, joined.generation_id, new == old, joined.leader.as_str() == old, joined.members.len());
    probe.note("a restart moves nothing", line);
    let sync = sync_request(group, &new, 1, &[]).with_group_instance_id(Some(text("instance")));
    let answer = probe.ask(5, &sync)?;
    probe.note("and has what it had", (answer.error_code, String::from_utf8_lossy(&answer.assignment).into_owned()));
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(&old))
        .with_generation_id(1)
        .with_group_instance_id(Some(text("instance")));
    let answer = probe.ask(4, &request)?;
    probe.note("the old one is fenced", answer.error_code);
    let answer = probe.ask(7, &join_request(group, &old, Some("instance"), &["range"], "m"))?;
    probe.note("and may not join", answer.error_code);
    let joined = probe.ask(9, &join_request(group, "", Some("instance"), &["range"], "m"))?;
    let leads = joined.leader == joined.member_id;
    probe.note(
        "a restart that may skip the assignment",
        (joined.error_code, joined.skip_assignment, leads, joined.members.len()),
    );
    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_members(vec![MemberIdentity::default().with_group_instance_id(Some(text("instance")))]);
    let answer = probe.ask(5, &leave)?;
    probe.note("leaving by instance", answer.members.iter().map(|it| it.error_code).collect::<Vec<_>>());
    Ok(())
}

fn tools(probe: &mut Probe) -> Result<()> {
    let ids = [GROUP, "static", "missing"].map(|it| GroupId(text(it))).to_vec();
    let answer = probe.ask(5, &DescribeGroupsRequest::default().with_groups(ids))?;
    for group in answer.groups {
        let members: Vec<_> = group
            .members
            .iter()
            .map(|it| {
                let assignment = String::from_utf8_lossy(&it.member_assignment).into_owned();
                (it.client_id.to_string(), String::from_utf8_lossy(&it.member_metadata).into_owned(), assignment)
            })
            .collect();
        let line = (
            group.error_code,
            group.group_state.to_string(),
            group.protocol_type.to_string(),
            group.protocol_data.to_string(),
            members,
        );
        probe.note(&format!("described: {}", group.group_id.as_str()), line);
    }
    let answer = probe.ask(4, &ListGroupsRequest::default())?;
    let mut listed: Vec<_> = answer
        .groups
        .iter()
        .map(|it| (it.group_id.to_string(), it.protocol_type.to_string(), it.group_state.to_string()))
        .filter(|it| [GROUP, "static"].contains(&it.0.as_str()))
        .collect();
    listed.sort();
    probe.note("listed", (answer.error_code, listed));
    let answer = probe.ask(4, &ListGroupsRequest::default().with_states_filter(vec![text("Empty")]))?;
    let found = answer.groups.iter().any(|it| it.group_id.as_str() == GROUP);
    probe.note("a stable group among the empty ones", found);
    let ids = [GROUP, "static", "missing"].map(|it| GroupId(text(it))).to_vec();
    let answer = probe.ask(2, &DeleteGroupsRequest::default().with_groups_names(ids))?;
    let mut deleted: Vec<_> = answer.results.iter().map(|it| (it.group_id.to_string(), it.error_code)).collect();
    deleted.sort();
    probe.note("deleted", deleted);
    Ok(())
}
