//! Runs seeds of the simulation.

fn main() -> anyhow::Result<std::process::ExitCode> {
    protocol_tests::simulation::command::main()
}
