//! Logs go to standard error: standard output belongs to reports.

use super::progress::CLEAR_LINE;
use crate::config::{Log, LogFormat};
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// For a command whose result is its output: it is not to drown in what the bridge's own parts say.
pub(super) fn warnings() {
    let filter = EnvFilter::try_from_env("KAFKA_BRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(io::stderr).init();
}

/// `KAFKA_BRIDGE_LOG` takes the place of `log.level`, as `debug` or `info,kafka_bridge::wire=trace`.
pub(super) fn start(log: &Log) {
    let filter = EnvFilter::try_from_env("KAFKA_BRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new(log.level.as_str()));
    let is_terminal = io::stderr().is_terminal();
    let writer = if is_terminal { BoxMakeWriter::new(|| Terminal) } else { BoxMakeWriter::new(io::stderr) };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match log.format {
        LogFormat::Text => builder.with_target(false).with_ansi(is_terminal).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// A terminal may show the live line of progress: what is logged takes its place. Each event is written in one call.
struct Terminal;

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        stderr.write_all(CLEAR_LINE.as_bytes())?;
        stderr.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
