//! On embedded clusters: fast, and without Java.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::{Fault, Loss, Rule, Settings};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::load::{Load, create_topics};
use protocol_tests::pair::{differences, until_none};
use protocol_tests::shares::lanes;
use tempfile::TempDir;

use super::stage::{FROZEN, LANES, LIMIT, SEED, delivery, gave_way, until_shared};
use crate::trial;

const RECORDS: usize = 150;
const METADATA: i16 = 3;
const JOIN_GROUP: i16 = 11;
/// No trial lasts so long: whoever waits for such a session to end fails.
const ENDLESS: &str = "session_timeout_ms = 1800000\n";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("sharing", "another_takes_over", || another_takes_over(Settings::nodes(1))),
        trial("sharing", "another_takes_over_on_protocol_v1", || another_takes_over(Settings::nodes(1).like_3_9())),
        trial("sharing", "the_newer_of_one_instance_stays", the_newer_of_one_instance_stays),
        trial("sharing", "the_older_of_one_instance_wakes_up_and_goes", the_older_of_one_instance_wakes_up_and_goes),
        trial("sharing", "a_restart_moves_nothing", a_restart_moves_nothing),
        trial("sharing", "a_spare_stands_by_and_takes_over", a_spare_stands_by_and_takes_over),
        trial("sharing", "a_group_that_does_not_answer_is_told", a_group_that_does_not_answer_is_told),
        trial("sharing", "one_for_itself_beside_a_group_is_refused", one_for_itself_beside_a_group_is_refused),
        trial("sharing", "a_source_that_is_away_moves_no_lane", a_source_that_is_away_moves_no_lane),
        trial("sharing", "a_session_the_target_refuses_is_named", a_session_the_target_refuses_is_named),
    ]
}

struct Stage {
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    folder: TempDir,
    topics: Vec<String>,
}

impl Stage {
    fn new(target: Settings) -> Result<Stage> {
        let source = EmbeddedCluster::start(Settings::nodes(1))?;
        let target = EmbeddedCluster::start(target)?;
        let topics = create_topics(&mut source.client(), "shared", 1)?;
        Ok(Stage { source, target, folder: tempfile::tempdir()?, topics })
    }

    fn bridge(&self, name: &str, instance_id: &str, extra: &str) -> Result<Bridge> {
        self.sized(LANES, name, instance_id, extra)
    }

    fn sized(&self, lanes: u32, name: &str, instance_id: &str, extra: &str) -> Result<Bridge> {
        let mut config = Config::new("shared", self.source.end(), self.target.end(), &["shared-*"]);
        config.delivery = delivery(lanes, instance_id) + extra;
        Bridge::run(&config.write(self.folder.path(), name)?)
    }

    /// One that shares with nobody.
    fn alone(&self, name: &str) -> Result<PathBuf> {
        let mut config = Config::new("shared", self.source.end(), self.target.end(), &["shared-*"]);
        config.delivery = delivery(LANES, name).replace("\"group\"", "\"off\"");
        config.write(self.folder.path(), name)
    }

    fn load(&self) -> Result<Load> {
        let load = Load::start(self.source.client(), &self.topics, SEED);
        load.until_more(RECORDS, LIMIT)?;
        Ok(load)
    }

    fn until_equal(&self) -> Result<()> {
        let (mut source, mut target) = (self.source.client(), self.target.client());
        until_none(LIMIT, || differences(&mut source, &mut target, &self.topics))?;
        target.no_transaction_hangs(&self.topics)
    }
}

/// One is joined by another, is killed, and comes back under another name.
fn another_takes_over(target: Settings) -> Result<()> {
    let stage = Stage::new(target)?;
    let mut one = stage.bridge("one", "one", "")?;
    until_shared(&mut [&mut one])?;
    let load = stage.load()?;
    let mut other = stage.bridge("other", "other", "")?;
    let shares = until_shared(&mut [&mut one, &mut other])?;
    ensure!(shares.iter().all(|it| it.len() == 4), "{shares:?}");
    // Its first generation gives it nothing, and that is no reason to call it a spare.
    ensure!(!other.log().contains("stands by"), "{}", other.log());
    load.until_more(RECORDS, LIMIT)?;
    one.kill();
    until_shared(&mut [&mut other])?;
    let mut third = stage.bridge("third", "", ENDLESS)?;
    until_shared(&mut [&mut other, &mut third])?;
    load.until_more(RECORDS, LIMIT)?;
    // A member without an instance id leaves, and is not waited for.
    ensure!(third.terminate(LIMIT)? == 0, "{}", third.log());
    until_shared(&mut [&mut other])?;
    load.stop()?;
    stage.until_equal().with_context(|| other.log())?;
    ensure!(other.terminate(LIMIT)? == 0, "{}", other.log());
    Ok(())
}

fn the_newer_of_one_instance_stays() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let mut older = stage.bridge("older", "same", "")?;
    until_shared(&mut [&mut older])?;
    let load = stage.load()?;
    let mut newer = stage.bridge("newer", "same", "")?;
    ensure!(older.wait(LIMIT)? == 1, "{}", older.log());
    ensure!(
        older.log().contains("was taken over by a newer kafka-bridge with the same instance id"),
        "{}",
        older.log()
    );
    until_shared(&mut [&mut newer])?;
    load.stop()?;
    stage.until_equal().with_context(|| newer.log())?;
    ensure!(newer.terminate(LIMIT)? == 0, "{}", newer.log());
    Ok(())
}

/// Its session is over, so the group does not say "fenced" of itself: asked wrongly, it would let the older fence the newer.
fn the_older_of_one_instance_wakes_up_and_goes() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let mut older = stage.bridge("older", "same", "")?;
    until_shared(&mut [&mut older])?;
    let load = stage.load()?;
    older.pause()?;
    thread::sleep(FROZEN);
    let mut newer = stage.bridge("newer", "same", "")?;
    until_shared(&mut [&mut newer])?;
    load.until_more(RECORDS, LIMIT)?;
    older.resume()?;
    gave_way(&mut older)?;
    load.until_more(RECORDS, LIMIT)?;
    load.stop()?;
    stage.until_equal().with_context(|| newer.log())?;
    ensure!(newer.terminate(LIMIT)? == 0, "{}", newer.log());
    Ok(())
}

fn a_restart_moves_nothing() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let (mut one, mut other) = (stage.bridge("one", "one", "")?, stage.bridge("other", "other", "")?);
    let before = until_shared(&mut [&mut one, &mut other])?;
    let said = other.log().matches("now works lanes").count();
    ensure!(one.terminate(LIMIT)? == 0, "{}", one.log());
    let mut again = stage.bridge("again", "one", "")?;
    let after = until_shared(&mut [&mut again, &mut other])?;
    ensure!(before == after, "{before:?} became {after:?}");
    ensure!(other.log().matches("now works lanes").count() == said, "lanes moved:\n{}", other.log());
    ensure!(lanes(&again).is_some_and(|it| !it.is_empty()));
    let load = stage.load()?;
    load.stop()?;
    stage.until_equal()
}

/// More bridges than lanes.
fn a_spare_stands_by_and_takes_over() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let mut one = stage.sized(1, "one", "one", "")?;
    one.process().wait_for_log("now works lanes 0 of 1", LIMIT)?;
    let mut spare = stage.sized(1, "spare", "spare", "")?;
    spare.process().wait_for_log("stands by: no lane of 1 is free", LIMIT)?;
    let load = stage.load()?;
    one.kill();
    spare.process().wait_for_log("now works lanes 0 of 1", LIMIT)?;
    load.until_more(RECORDS, LIMIT)?;
    load.stop()?;
    stage.until_equal().with_context(|| spare.log())?;
    ensure!(spare.terminate(LIMIT)? == 0, "{}", spare.log());
    Ok(())
}

/// A bridge without lanes must not look like one that has nothing to do.
fn a_group_that_does_not_answer_is_told() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let silence = Rule::new(JOIN_GROUP, Fault::LoseRequest(Loss::Silence)).times(u64::MAX);
    let rule = stage.target.with(|cluster, _| cluster.add_rule(silence));
    let mut bridge = stage.bridge("one", "one", "request_timeout_ms = 1000\n")?;
    bridge.process().wait_for_log("the group has given no lane for", LIMIT)?;
    let struck = stage.target.with(|cluster, _| cluster.struck(rule));
    ensure!(struck > 1, "{struck} requests were lost");
    stage.target.with(|cluster, _| cluster.end_rule(rule));
    until_shared(&mut [&mut bridge])?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    Ok(())
}

/// Each would leave its lanes to others that reach the source; where nobody does, they must not be passed around.
fn a_source_that_is_away_moves_no_lane() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let (mut one, mut other) = (stage.bridge("one", "one", "")?, stage.bridge("other", "other", "")?);
    let before = until_shared(&mut [&mut one, &mut other])?;
    let said = |bridge: &Bridge| bridge.log().matches("now works lanes").count();
    let counts = [said(&one), said(&other)];
    stage.load()?.stop()?;
    stage.until_equal()?;
    let silence = Rule::new(METADATA, Fault::LoseRequest(Loss::Silence)).times(u64::MAX);
    let rule = stage.source.with(|cluster, _| cluster.add_rule(silence));
    for bridge in [&mut one, &mut other] {
        bridge.process().wait_for_log("the source has not answered for", LIMIT)?;
    }
    stage.source.with(|cluster, _| cluster.end_rule(rule));
    for bridge in [&mut one, &mut other] {
        bridge.process().wait_for_log("this bridge takes its share again", LIMIT)?;
    }
    stage.load()?.stop()?;
    stage.until_equal().with_context(|| format!("{}\n{}", one.log(), other.log()))?;
    let after = until_shared(&mut [&mut one, &mut other])?;
    ensure!(before == after, "{before:?} became {after:?}");
    ensure!([said(&one), said(&other)] == counts, "lanes moved:\n{}\n{}", one.log(), other.log());
    ensure!(one.terminate(LIMIT)? == 0 && other.terminate(LIMIT)? == 0, "{}\n{}", one.log(), other.log());
    Ok(())
}

/// One with `sharing = "off"` would fence the others in every lane, and they it.
fn one_for_itself_beside_a_group_is_refused() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let mut shared = stage.bridge("shared", "", "")?;
    until_shared(&mut [&mut shared])?;
    let load = stage.load()?;
    let file = stage.alone("refused")?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(code == 1 && report["verdict"]["would_run"] == false, "{report:#}");
    ensure!(report["notes"].to_string().contains("\"shared\""), "{report:#}");
    let mut alone = Bridge::run(&file)?;
    ensure!(alone.wait(LIMIT)? == 1, "{}", alone.log());
    let told = alone.log();
    ensure!(told.contains("is shared by a group that has members") && told.contains("at host 127.0.0.1"), "{told}");
    load.until_more(RECORDS, LIMIT)?;
    ensure!(!shared.log().contains("was fenced"), "{}", shared.log());
    // The control: without the group it runs, until a group comes, to which it gives way.
    ensure!(shared.terminate(LIMIT)? == 0, "{}", shared.log());
    let file = stage.alone("alone")?;
    ensure!(Finished::check(&file, LIMIT)?.0 == 0, "a group without members is told of");
    let mut alone = Bridge::run(&file)?;
    alone.process().wait_for_log("all lanes are taken", LIMIT)?;
    load.until_more(RECORDS, LIMIT)?;
    let mut shared = stage.bridge("again", "", "")?;
    ensure!(alone.wait(LIMIT)? == 1, "{}", alone.log());
    ensure!(alone.log().contains("unless delivery.sharing is \"group\" for both"), "{}", alone.log());
    until_shared(&mut [&mut shared])?;
    load.stop()?;
    stage.until_equal().with_context(|| shared.log())?;
    ensure!(shared.terminate(LIMIT)? == 0, "{}", shared.log());
    Ok(())
}

fn a_session_the_target_refuses_is_named() -> Result<()> {
    let stage = Stage::new(Settings::nodes(1))?;
    let mut bridge = stage.bridge("short", "one", "session_timeout_ms = 1000\n")?;
    ensure!(bridge.wait(LIMIT)? == 78, "{}", bridge.log());
    ensure!(bridge.log().contains("delivery.session_timeout_ms = 1000"), "{}", bridge.log());
    Ok(())
}
