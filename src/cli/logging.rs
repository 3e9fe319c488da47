//! Logs go to standard error: standard output belongs to reports.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// `KAFKA_BRIDGE_LOG` takes the place of `log.level`, as `debug` or `info,kafka_bridge::wire=trace`.
pub(super) fn start(log: &Log) {
    let filter = EnvFilter::try_from_env("KAFKA_BRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new(log.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
