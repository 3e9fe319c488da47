//! `kafka-bridge demo`

use super::exit::Exit;
use super::output::tell;
use crate::config::HostPort;
use crate::demo::{self, Options, Verdict};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// Serves the bridge's console there, as 127.0.0.1:8080, with contents of records. Only loopback is taken.
    #[arg(long, value_name = "HOST:PORT")]
    console: Option<HostPort>,
    /// Everything runs on after the verdict, for whoever wants to look, until Ctrl-C.
    #[arg(long)]
    hold: bool,
}

pub(super) fn demo(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    // The picture is the output; a log between its lines would tear it.
    let filter = EnvFilter::try_from_env("KAFKA_BRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let (console, hold) = (arguments.console.clone(), arguments.hold);
    if let Some(console) = &console {
        tell(&format!("console at http://{console}/\n\n"))?;
    }
    let options = Options { records: arguments.records, chaos: arguments.chaos, seed, console, hold };
    let folder = tempfile::Builder::new().prefix("kafka-bridge-demo-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdict = runtime.block_on(async {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = first(&mut terminated, &mut interrupted);
        let told = async |verdict: &Verdict| {
            // The terminal may be gone; the verdict is the exit code.
            let _ = tell(&format!("{verdict}\n"));
            let (Ok(mut terminated), Ok(mut interrupted)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            if hold {
                let _ = tell("everything runs on until Ctrl-C\n");
                first(&mut terminated, &mut interrupted).await;
            }
        };
        anyhow::Ok(demo::run(&options, folder.path(), stop, told).await?)
    });
    runtime.shutdown_background();
    Ok(if verdict?.is_clean() { Exit::Done } else { Exit::Failed })
}

async fn first(terminated: &mut Signal, interrupted: &mut Signal) {
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}
