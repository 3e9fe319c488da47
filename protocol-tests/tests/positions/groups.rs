//! What is shown, and what a group's translation refuses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::{Codec, NewRecord};

use super::{LIMIT, Stage, positions};
use crate::trial;

const TOPIC: &str = "orders";
const LANES: usize = 2;
const POLL: Duration = Duration::from_millis(50);

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("positions", "a_group_goes_back_only_where_it_is_told", goes_back)]
}

fn goes_back() -> Result<()> {
    let stage = Stage::new()?;
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    source.create_topic(TOPIC, 1, 1, &[])?;
    source.write(TOPIC, 0, Codec::None, vec![NewRecord::default(); 20])?;
    let mut config = stage.config(&[TOPIC]);
    config.delivery += &format!("lanes = {LANES}\n");
    let file = config.write(stage.folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    let topics = [TOPIC.to_owned()];
    until_none(LIMIT, || differences(&mut source, &mut target, &topics)).with_context(|| bridge.log())?;

    // Lanes without records sign last.
    let (start, mut shown) = (Instant::now(), positions(&file, &[], 0)?);
    while shown["lanes"].as_array().is_none_or(|it| it.len() < LANES) {
        ensure!(start.elapsed() < LIMIT, "{shown:#}");
        std::thread::sleep(POLL);
        shown = positions(&file, &[], 0)?;
    }
    let row = &shown["partitions"][0];
    ensure!(row["topic"] == TOPIC && row["next_offset"] == 20 && row["lag"] == 0 && row["records"] == 20, "{shown:#}");
    let lanes = shown["lanes"].as_array().context("no lanes")?;
    ensure!(lanes.len() == LANES && lanes.iter().all(|it| it["pid"] == bridge.id()), "{shown:#}");

    source.set_group_offset("billing", TOPIC, 0, 5)?;
    let plan = positions(&file, &["translate", "--group", "billing"], 0)?;
    ensure!(plan["rows"][0]["move"] == "forward" && plan["is_applied"] == false, "{plan:#}");
    ensure!(target.group_offset("billing", TOPIC, 0)?.is_none(), "a plan has committed something");
    let wanted = plan["rows"][0]["translation"]["target_offset"].as_i64().context("no offset")?;
    let member = target.join_group("billing")?;
    let refused = positions(&file, &["translate", "--group", "billing", "--apply"], 1)?;
    ensure!(refused.as_str().is_some_and(|it| it.contains("has members at the target")), "{refused:#}");
    ensure!(target.group_offset("billing", TOPIC, 0)?.is_none(), "a working group's offset was set");
    target.leave_group("billing", &member)?;
    positions(&file, &["translate", "--group", "billing", "--apply"], 0)?;
    ensure!(target.group_offset("billing", TOPIC, 0)? == Some(wanted), "{plan:#}");
    let again = positions(&file, &["translate", "--group", "billing", "--apply"], 0)?;
    ensure!(again["rows"][0]["move"] == "none", "{again:#}");

    target.set_group_offset("billing", TOPIC, 0, wanted + 3)?;
    let back = positions(&file, &["translate", "--group", "billing", "--apply"], 1)?;
    ensure!(back["rows"][0]["move"] == "rewind", "{back:#}");
    ensure!(target.group_offset("billing", TOPIC, 0)? == Some(wanted + 3), "it was taken back");
    positions(&file, &["translate", "--group", "billing", "--apply", "--allow-rewind"], 0)?;
    ensure!(target.group_offset("billing", TOPIC, 0)? == Some(wanted), "it was not taken back");

    positions(&file, &["translate", "--topic", "nothing", "--partition", "0", "--offset", "0"], 1)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    Ok(())
}
