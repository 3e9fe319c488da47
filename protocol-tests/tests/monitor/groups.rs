//! Consumer groups that read the link's topics, as the console finds them, of both kinds that Kafka has.

use anyhow::{Context, Result, ensure};
use protocol_tests::http;
use protocol_tests::raw::RawClient;
use serde_json::{Value, json};

use super::{Console, LIMIT};

const BILLING: &str = "billing";
const AUDIT: &str = "audit";
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

/// The source has never had a group.
pub(super) fn are_seen(
    console: &Console,
    source: &mut RawClient,
    target: &mut RawClient,
    topic: &str,
    partition: i32,
) -> Result<()> {
    // A report is kept for five seconds.
    let until = |is: &dyn Fn(&Value) -> bool| http::until(console.port, "/api/clusters", LIMIT, is);
    until(&|it| it["source"]["groups"]["shown"] == json!([]))?;
    let topics = source.metadata(None)?.topics.into_iter().filter_map(|it| it.name.map(|name| name.to_string()));
    let topics: Vec<_> = topics.collect();
    ensure!(!topics.contains(&"__consumer_offsets".to_owned()), "to look has created a topic: {topics:?}");
    let ends = [source.offsets(topic, partition)?.last_stable, target.offsets(topic, partition)?.last_stable];

    source.set_group_offset(BILLING, topic, partition, 10)?;
    target.set_group_offset(AUDIT, topic, partition, 20)?;
    // By the newer protocol, where the cluster has it: members are asked for by another request.
    let is_newer = target.api_versions()?.api_keys.iter().any(|it| it.api_key == CONSUMER_GROUP_HEARTBEAT);
    if is_newer {
        target.join_consumer_group(AUDIT, topic)?;
    } else {
        target.join_group(AUDIT)?;
    }
    let members = [("source", BILLING, 0, 10), ("target", AUDIT, 1, 20)];
    let told = until(&|it| {
        members.iter().all(|(end, name, members, _)| {
            let group = &it[end]["groups"]["shown"][0];
            group["name"] == *name && group["members"] == *members && group["note"].is_null()
        })
    })?;
    for ((end, name, _, committed), last_stable) in members.into_iter().zip(ends) {
        let found = &told[end]["groups"];
        ensure!(found["shown"].as_array().is_some_and(|it| it.len() == 1) && found["notes"] == json!([]), "{found:#}");
        let group = &found["shown"][0];
        let lag = last_stable - committed;
        ensure!(group["lag"] == lag && group["topics"][0]["lag"] == lag, "{name}: not {lag}: {group:#}");
        let row = json!({ "partition": partition, "committed": committed, "end": last_stable, "lag": lag });
        ensure!(group["topics"][0]["partitions"] == json!([row]), "{group:#}");
        let state = group["state"].as_str().context("no state")?;
        ensure!((state == "Empty") == (name == BILLING), "{group:#}");
    }
    Ok(())
}
