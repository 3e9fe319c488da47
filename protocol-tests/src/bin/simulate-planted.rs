//! `simulate`, with `--bug`.

fn main() -> anyhow::Result<std::process::ExitCode> {
    protocol_tests::simulation::command::main()
}
