//! Bugs on purpose in the bridges of the trials. A release has none.

use anyhow::{Result, ensure};

/// Names the bug of a `kafka-bridge-planted`; the shipped program does not even know the name.
pub const SWITCH: &str = "KAFKA_BRIDGE_PLANTED_BUG";

/// In this thread, for the bridges that it runs.
#[cfg(debug_assertions)]
pub fn in_thread(bug: Option<&str>) -> Result<()> {
    ensure!(kafka_bridge::planted::plant(bug), "there is no bug named {bug:?}");
    Ok(())
}

/// In this process.
#[cfg(debug_assertions)]
pub fn in_process(bug: &str) -> Result<()> {
    ensure!(kafka_bridge::planted::plant_for_good(bug), "there is no bug named {bug:?}");
    Ok(())
}

#[cfg(not(debug_assertions))]
pub fn in_thread(bug: Option<&str>) -> Result<()> {
    ensure!(bug.is_none(), "a release has no bugs on purpose");
    Ok(())
}

#[cfg(not(debug_assertions))]
pub fn in_process(_: &str) -> Result<()> {
    anyhow::bail!("a release has no bugs on purpose")
}
