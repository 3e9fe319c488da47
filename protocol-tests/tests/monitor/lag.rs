//! Lag and health while a link is cut: held against what the trial itself knows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewRecord};

use super::{Console, LIMIT};
use crate::real;

const TOPIC: &str = "steady";
/// Long enough that a look more or less is no matter.
const CUT: Duration = Duration::from_secs(10);
/// Between two looks of the bridge at the source's end.
const LOOK_SECONDS: f64 = 2.0;

pub(super) fn trials() -> Vec<Trial> {
    vec![real("monitor", "kafka_4_4_0_lag_is_the_age_of_the_oldest_record", &["4.4.0"], cut)]
}

fn cut() -> Result<()> {
    let pair = Pair::start_behind_proxies(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
    let (mut source, target) = (pair.source.client(), &pair.target_proxies[0]);
    source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
    let mut write = |count: i64| {
        // Timestamps that have nothing to do with the time: lag must not trust them.
        let record = |_| NewRecord { timestamp: 5_000, value: Some(b"x".to_vec()), ..NewRecord::default() };
        source.write(TOPIC, 0, Codec::None, (0..count).map(record).collect())
    };
    let console = Console::new()?;
    let mut config = pair.config("steady", &[TOPIC]);
    config.tables = console.table();
    // Where a cluster cannot be reached a bridge lives, and is not ready.
    target.refuse(true);
    let mut bridge = pair.run(&config, "bridge")?;
    let told = console.until_status("/readyz", 503)?;
    ensure!(told.contains("it has not begun"), "{told}");
    console.until_status("/healthz", 200)?;
    target.refuse(false);
    console.until_status("/readyz", 200)?;
    write(10)?;
    console.until("all is copied", |it| {
        it.max("lag_records", "") == Some(0.0) && it.sum("records_written_total", "") == 10.0
    })?;

    // Idle is no lag, however long.
    console.until("idle is no lag", |it| it.max("lag_seconds", "") == Some(0.0))?;
    target.refuse(true);
    target.cut_all();
    // From here to there the first record that is not copied came.
    let before = Instant::now();
    write(1)?;
    let after = Instant::now();
    let mut written = 1.0;
    while before.elapsed() < CUT {
        write(5)?;
        written += 5.0;
        std::thread::sleep(Duration::from_millis(100));
    }
    let seen = console.until("the lag is seen", |it| {
        let age = after.elapsed().as_secs_f64();
        it.max("lag_records", "").is_some_and(|it| it >= written)
            && it.max("lag_seconds", "").is_some_and(|it| it >= age - 2.0 * LOOK_SECONDS)
    })?;
    let (lag, truth) = (seen.max("lag_seconds", "").unwrap_or_default(), before.elapsed().as_secs_f64());
    ensure!(lag <= truth + LOOK_SECONDS, "{lag} s, and it cannot be more than {truth} s");
    // Nothing is deleted at the source, and nothing ever will be: the topic keeps all.
    ensure!(seen.max("retention_headroom_seconds", "") == Some(f64::INFINITY), "{}", seen.0);
    println!("lag {lag:.1} s of at most {truth:.1} s, {written} records behind");
    console.until_status("/healthz", 200)?;

    target.refuse(false);
    let healed = console.until("it has caught up", |it| it.max("lag_records", "") == Some(0.0))?;
    ensure!(healed.sum("records_written_total", "") == 10.0 + written, "{}", healed.0);
    console.until("and is not behind", |it| it.max("lag_seconds", "") == Some(0.0) && it.sum("ready", "") == 1.0)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());
    Ok(())
}
