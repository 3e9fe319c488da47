//! `kafka-bridge` with the bug that `KAFKA_BRIDGE_PLANTED_BUG` names.

use std::process::ExitCode;

use protocol_tests::planted;

fn main() -> anyhow::Result<ExitCode> {
    if let Ok(bug) = std::env::var(planted::SWITCH) {
        planted::in_process(&bug)?;
    }
    Ok(kafka_bridge::cli::main())
}
