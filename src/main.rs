//! `kafka-bridge`: see `kafka_bridge::cli`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kafka_bridge::cli::main()
}
