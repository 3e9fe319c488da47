//! Both clusters of a link, connected.

use super::error::RunError;
use crate::cluster::{Backoff, Cluster, ClusterError, ClusterSettings, Metadata};
use crate::config::{Config, EndConfig};
use crate::wire::{ConnectionSettings, Security};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer's byte limit may be exceeded by one batch (KIP-74); this is a hundred times the default `max.message.bytes`,
/// and what a broker itself takes in one request (`socket.request.max.bytes`).
const FETCH_ANSWER_BYTES_MAX: usize = 101 << 20;
/// Large reads made TLS 1.3 to 1.5 times faster.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// A start waits so long for clusters that are just starting too.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Ends {
    pub source: Cluster,
    pub target: Cluster,
}

impl Ends {
    pub fn new(config: &Config) -> Result<Self, RunError> {
        let source = cluster("source", &config.source, config.delivery.request_timeout)?;
        let target = cluster("target", &config.target.end, config.delivery.request_timeout)?;
        Ok(Self { source, target })
    }

    /// The first metadata of both.
    pub async fn connect(&self) -> Result<(Metadata, Metadata), RunError> {
        let (source, target) = tokio::join!(connected(&self.source), connected(&self.target));
        Ok((source?, target?))
    }
}

fn cluster(end: &'static str, config: &EndConfig, request_timeout: Duration) -> Result<Cluster, RunError> {
    let security =
        Security::load(config.tls.as_ref()).map_err(|error| RunError::Security { end, error: Arc::new(error) })?;
    Ok(Cluster::new(ClusterSettings {
        end,
        bootstrap: config.bootstrap_servers.clone(),
        security,
        connection: ConnectionSettings {
            client_id: config.client_id.clone(),
            connect_timeout: request_timeout,
            fetch_answer_bytes_max: FETCH_ANSWER_BYTES_MAX,
            read_buffer_bytes: READ_BUFFER_BYTES,
        },
        request_timeout,
    }))
}

async fn connected(cluster: &Cluster) -> Result<Metadata, ClusterError> {
    let began = Instant::now();
    let mut backoff = Backoff::default();
    loop {
        match cluster.metadata(None).await {
            Err(error) if !error.is_permanent() && began.elapsed() < PATIENCE => {
                tracing::warn!(%error, "waiting for the {}", cluster.end());
                tokio::time::sleep(backoff.failed()).await;
            }
            other => return other,
        }
    }
}
