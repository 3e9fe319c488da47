//! A right that a bridge does without: to see who reads the topics. Where it is missing the console says so, and works.

use anyhow::{Result, ensure};
use protocol_tests::http;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Acl, Pattern, Resource};
use serde_json::{Value, json};

use super::LIMIT;
use super::rights::{PRINCIPAL, TOPIC};

const GROUP: &str = "reporting";
const DESCRIBE: i8 = 8;

/// Of a bridge with the rights of the README, whose console is at this port.
pub(super) fn are_hidden_until_granted(pair: &Pair, port: u16) -> Result<()> {
    pair.source.client().set_group_offset(GROUP, TOPIC, 0, 4)?;
    // A report is kept for five seconds.
    let told = |is: &dyn Fn(&Value) -> bool| http::until(port, "/api/clusters", LIMIT, |it| is(&it["source"]));
    let hidden = &told(&|it| it["error"].is_null() && it["groups"]["sees_all"] == false)?["source"];
    ensure!(hidden["groups"]["shown"] == json!([]) && hidden["groups"]["notes"] == json!([]), "{hidden:#}");
    let brokers = hidden["brokers"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(!brokers.is_empty() && brokers.iter().all(|it| it["error"].is_null()), "{hidden:#}");
    // Beside those that it has: taken away for a moment, they would stop the bridge.
    let acl = Acl {
        principal: PRINCIPAL.to_owned(),
        resource: Resource::Group,
        name: GROUP.to_owned(),
        pattern: Pattern::Literal,
        operation: DESCRIBE,
    };
    pair.source.client().grant(&[acl])?;
    let seen = &told(&|it| it["groups"]["shown"][0]["name"] == GROUP)?["source"];
    let group = &seen["groups"]["shown"][0];
    ensure!(group["lag"] == 6 && group["members"] == 0 && seen["groups"]["sees_all"] == false, "{seen:#}");
    Ok(())
}
