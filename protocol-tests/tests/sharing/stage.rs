//! What the trials look for in the bridges' logs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use protocol_tests::bridge::Bridge;
use protocol_tests::shares;

/// For anything that must come about on a slow and noisy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
pub(super) const LANES: u32 = 8;
pub(super) const SEED: u64 = 20_261_125;
/// Longer than a session of 6 s.
pub(super) const FROZEN: Duration = Duration::from_secs(9);

pub(super) fn delivery(lanes: u32, instance_id: &str) -> String {
    format!(
        "accept_weak = [\"target_min_insync_replicas\"]\nlanes = {lanes}\nsharing = \"group\"\ninstance_id = {instance_id:?}\n"
    )
}

/// One that slept through its session says so, and that a newer process has its instance id.
pub(super) fn gave_way(older: &mut Bridge) -> Result<()> {
    ensure!(older.wait(LIMIT)? == 1, "{}", older.log());
    ensure!(older.log().contains("no heartbeat was answered"), "it did not sleep long enough:\n{}", older.log());
    ensure!(
        older.log().contains("was taken over by a newer kafka-bridge with the same instance id"),
        "{}",
        older.log()
    );
    ensure!(older.log().contains(" at host 127.0.0.1 (client id kafka-bridge)"), "{}", older.log());
    Ok(())
}

/// Until these together work every lane once, and none works two more than another.
pub(super) fn until_shared(bridges: &mut [&mut Bridge]) -> Result<Vec<BTreeSet<u32>>> {
    shares::until_shared(bridges, LANES, LIMIT)
}
