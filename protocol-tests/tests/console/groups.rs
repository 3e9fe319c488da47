//! Consumer groups of both ends: the page shows what the API says, the API what the trial has committed, and nothing is created
//! for it at the source.

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Rule};
use kafka_protocol::ResponseError;
use protocol_tests::browser::{Browser, pictures};
use protocol_tests::http;
use serde_json::{Value, json};

use super::stage::{HOSTILE, LIMIT, ORDERS, PARTITIONS, RECORDS, Stage, unharmed};

const BILLING: &str = "billing";
const ELSEWHERE: &str = "elsewhere";
/// At the source, of the first and the last partition.
const COMMITTED: [(i32, i64); 2] = [(0, RECORDS), (PARTITIONS - 1, 12)];
const OFFSET_FETCH: i16 = 9;

pub(super) fn trial(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    let groups = |end: &str| -> Result<Value> {
        let (status, report) = stage.api("/api/clusters")?;
        ensure!(status == 200 && report[end]["error"].is_null(), "{report:#}");
        Ok(report[end]["groups"].clone())
    };
    for end in ["source", "target"] {
        ensure!(groups(end)?["shown"] == json!([]), "{end}: {:#}", groups(end)?);
    }
    let topics = source.metadata(None)?.topics.into_iter().filter_map(|it| it.name);
    let topics: Vec<_> = topics.map(|it| it.to_string()).collect();
    ensure!(!topics.contains(&"__consumer_offsets".to_owned()), "to look has created a topic: {topics:?}");

    for (partition, offset) in COMMITTED {
        source.set_group_offset(BILLING, ORDERS, partition, offset)?;
    }
    target.set_group_offset(HOSTILE, ORDERS, 0, 1)?;
    target.join_group(HOSTILE)?;
    // Of a topic that is not of the link.
    target.create_topic(ELSEWHERE, 1, 1, &[])?;
    target.set_group_offset(ELSEWHERE, ELSEWHERE, 0, 0)?;
    let at_target = target.offsets(ORDERS, 0)?.last_stable;
    let expected = json!({
        "name": BILLING, "state": "Empty", "members": 0, "lag": RECORDS - 12, "partitions_left_out": 0, "note": null,
        "topics": [{ "topic": ORDERS, "lag": RECORDS - 12, "partitions": [
            { "partition": 0, "committed": RECORDS, "end": RECORDS, "lag": 0 },
            { "partition": PARTITIONS - 1, "committed": 12, "end": RECORDS, "lag": RECORDS - 12 },
        ] }],
    });
    until(stage, |it| it["source"]["groups"]["shown"] == json!([expected]))?;
    let joined = groups("target")?;
    let shown = joined["shown"].as_array().context("no groups")?;
    ensure!(shown.len() == 1 && shown[0]["name"] == HOSTILE && shown[0]["members"] == 1, "{joined:#}");
    ensure!(shown[0]["lag"] == at_target - 1 && joined["left_out"] == 0, "{joined:#}");

    browser.open_anew(&stage.url("clusters"))?;
    browser.until("both groups", "document.querySelectorAll('details.group').length === 2")?;
    browser.evaluate("document.querySelectorAll('details.group').forEach(it => { it.open = true; })")?;
    let text = browser.evaluate("[...document.querySelectorAll('details.group')].map(it => it.innerText)")?;
    let text: Vec<String> = serde_json::from_value(text)?;
    let behind = RECORDS - 12;
    for wanted in [BILLING, "Empty", "0 members", &format!("lag {behind}"), &format!("orders {behind}"), "orders-2"] {
        ensure!(text[0].contains(wanted), "the group does not show {wanted:?}: {}", text[0]);
    }
    for wanted in [HOSTILE, "1 member", &format!("lag {}", at_target - 1), "orders-0"] {
        ensure!(text[1].contains(wanted), "the group does not show {wanted:?}: {}", text[1]);
    }
    browser.picture(&pictures().join("groups.png"))?;
    unharmed(browser, "groups")?;
    refused(stage, browser)
}

/// A right that is missing is named, and the rest of the page is there.
fn refused(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let refusal = Fault::Refuse(ResponseError::GroupAuthorizationFailed);
    let rule = Rule::new(OFFSET_FETCH, refusal).client_id("kafka-bridge").times(u64::MAX);
    let rule = stage.source.with(|cluster, _| cluster.add_rule(rule));
    let told = format!("DESCRIBE is missing on the group {BILLING}: grant it to see them here");
    until(stage, |it| {
        it["source"]["groups"]["notes"] == json!([told]) && it["source"]["groups"]["shown"] == json!([])
    })?;
    browser.open_anew(&stage.url("clusters"))?;
    let shown = format!("document.querySelector('main').innerText.includes({told:?})");
    browser.until("the right that is missing", &shown)?;
    let left = "document.querySelectorAll('details.topic').length >= 5 && document.querySelectorAll('details.group').length === 1";
    browser.until("the rest of the page", left)?;
    ensure!(stage.source.with(|cluster, _| cluster.struck(rule)) > 0, "nothing was refused");
    stage.source.with(|cluster, _| cluster.end_rule(rule));
    until(stage, |it| it["source"]["groups"]["shown"][0]["name"] == BILLING)
}

/// A report is kept for five seconds.
fn until(stage: &Stage, is: impl Fn(&Value) -> bool) -> Result<()> {
    http::until(stage.port, "/api/clusters", LIMIT, is).map(drop)
}
