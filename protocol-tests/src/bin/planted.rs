//! `kafka-bridge` with the bug that `KAFKA_BRIDGE_PLANTED_BUG` names.

fn main() -> std::process::ExitCode {
    kafka_bridge::cli::main()
}
