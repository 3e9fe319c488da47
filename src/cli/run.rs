//! `kafka-bridge run`

use super::exit::Exit;
use super::logging;
use super::progress::Progress;
use crate::bridge::{self, Reload};
use crate::config::Config;
use crate::monitor::{Monitor, Server};
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) fn run(file: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(file)?;
    logging::start(&config.log);
    let ends = bridge::Ends::new(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build()?;
    let (progress, reload) = (Progress::new(config.link.as_str(), config.log.format), ends.reload());
    let monitor = Monitor::new(&config);
    let mut watcher = monitor.beside(progress);
    // Not by this thread, which would have to be woken for every commit: it only waits.
    let working = runtime.spawn(async move {
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hung_up = signal(SignalKind::hangup())?;
        let _server = Server::start(&config, monitor, ends.clone()).await?;
        let ended = tokio::select! {
            ended = bridge::run(&config, ends, &mut watcher, first(&mut terminated, &mut interrupted)) => Some(ended),
            // Only from the second signal on: the first one is `run`'s, which drains.
            () = impatient() => None,
            never = hang_ups(&mut hung_up, &reload) => match never {},
        };
        anyhow::Ok(ended)
    });
    let ended =
        runtime.block_on(working).unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    // Tasks that wait for a broker have nothing left to say.
    runtime.shutdown_background();
    let Some(summary) = ended.transpose()? else {
        let told = "kafka-bridge: ended at once; the target aborts what is open, and the next start copies it again";
        // The terminal may be gone.
        let _ = writeln!(std::io::stderr(), "{told}");
        return Ok(Exit::Failed);
    };
    tracing::info!("{summary}");
    Ok(if summary.is_well() { Exit::Done } else { Exit::Failed })
}

/// A record passes through tasks that wait for each other, and to wake one on another core costs more than most of them do: on two
/// cores a second thread made a copy cost more, and slower.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

async fn first(terminated: &mut Signal, interrupted: &mut Signal) {
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}

/// Certificates have changed.
async fn hang_ups(hung_up: &mut Signal, reload: &Reload) -> Infallible {
    while hung_up.recv().await.is_some() {
        tracing::info!("SIGHUP: certificates, keys and CA files are read again");
        reload.ask();
    }
    std::future::pending().await
}

/// The second signal: whoever sends it does not want to wait for the drain.
async fn impatient() {
    let mut count = 0;
    let (Ok(mut terminated), Ok(mut interrupted)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    while count < 2 {
        first(&mut terminated, &mut interrupted).await;
        count += 1;
    }
}
