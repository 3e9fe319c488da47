//! `kafka-bridge demo`

use super::exit::Exit;
use super::output::tell;
use crate::demo::{self, Options};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub(super) struct DemoArguments {
    /// Ends by itself after so many records; else it runs until Ctrl-C.
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Kills nodes and the bridge, cuts connections, loses answers and takes the registry down while it runs.
    #[arg(long)]
    chaos: bool,
    /// Repeats what is produced and what goes wrong; the default is a new one, told in the verdict.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

pub(super) fn demo(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    // The picture is the output; a log between its lines would tear it.
    let filter = EnvFilter::try_from_env("KAFKA_BRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let options = Options { records: arguments.records, chaos: arguments.chaos, seed };
    let folder = tempfile::Builder::new().prefix("kafka-bridge-demo-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdict = runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        anyhow::Ok(demo::run(&options, folder.path(), stop).await?)
    });
    runtime.shutdown_background();
    let verdict = verdict?;
    tell(&format!("{verdict}\n"))?;
    Ok(if verdict.is_clean() { Exit::Done } else { Exit::Failed })
}
