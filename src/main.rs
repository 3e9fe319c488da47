//! `kafka-bridge`: see `kafka_bridge::cli`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // With them a copy holds a third more: each lone page of the allocator's becomes 2 MiB. A kernel that refuses costs memory alone.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    kafka_bridge::cli::main()
}
