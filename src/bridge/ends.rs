//! Both clusters of a link, connected, and what else a bridge has around it.

use super::certificates::{Reload, Watched};
use super::error::RunError;
use crate::clock::{self, WallClock};
use crate::cluster::{Backoff, Cluster, ClusterError, ClusterSettings, Metadata};
use crate::config::{Config, EndConfig};
use crate::registry::Registry;
use crate::schemas::{Checks, Finder};
use crate::wire::{ConnectionSettings, Network, Security, Tcp};
use std::sync::Arc;
use std::time::Duration;

/// An answer's byte limit may be exceeded by one batch (KIP-74); this is a hundred times the default `max.message.bytes`,
/// and what a broker itself takes in one request (`socket.request.max.bytes`).
const FETCH_ANSWER_BYTES_MAX: usize = 101 << 20;
/// Large reads made TLS 1.3 to 1.5 times faster.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// A start waits so long for clusters that are just starting too.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that a link takes from the machine it runs on; a simulation gives it all this itself.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub source: Arc<dyn Network>,
    pub target: Arc<dyn Network>,
    pub wall: WallClock,
    /// How the ledger names this process.
    pub host: String,
    pub pid: u32,
}

impl Default for Surroundings {
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
        Self {
            source: Arc::new(Tcp),
            target: Arc::new(Tcp),
            wall: WallClock::default(),
            host: host.map(|it| it.trim().to_owned()).unwrap_or_default(),
            pid: std::process::id(),
        }
    }
}

#[derive(Clone)]
pub struct Ends {
    pub source: Cluster,
    pub target: Cluster,
    pub checks: Arc<Checks>,
    pub schemas: Finder,
    pub(super) surroundings: Surroundings,
    pub(super) watched: Vec<Watched>,
    pub(super) reload: Reload,
}

impl Ends {
    pub fn new(config: &Config) -> Result<Self, RunError> {
        Self::within(config, Surroundings::default())
    }

    pub fn within(config: &Config, surroundings: Surroundings) -> Result<Self, RunError> {
        let timeout = config.delivery.request_timeout;
        let source = cluster("source", &config.source, timeout, &surroundings.source)?;
        let target = cluster("target", &config.target.end, timeout, &surroundings.target)?;
        let checks = Arc::new(Checks::load(config)?);
        let at_source = registry("source", &config.source, timeout, &surroundings.source)?;
        let at_target = registry("target", &config.target.end, timeout, &surroundings.target)?;
        let registries = [("source.registry.tls", &at_source), ("target.registry.tls", &at_target)];
        let registries = registries.into_iter().filter_map(|(key, it)| Some((key, it.as_ref()?.security())));
        let clusters = [("source.tls", source.security()), ("target.tls", target.security())];
        let secured = clusters.into_iter().chain(registries).filter(|(_, it)| !matches!(it, Security::Plaintext));
        let watched = secured.map(|(key, security)| Watched::new(key, security)).collect();
        let schemas = Finder::new(at_source, at_target);
        Ok(Self { source, target, checks, schemas, surroundings, watched, reload: Reload::default() })
    }

    /// For whoever knows that certificates have changed.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// The first metadata of both.
    pub async fn connect(&self) -> Result<(Metadata, Metadata), RunError> {
        let (source, target) = tokio::join!(connected(&self.source), connected(&self.target));
        Ok((source?, target?))
    }
}

fn registry(
    end: &'static str,
    config: &EndConfig,
    request_timeout: Duration,
    network: &Arc<dyn Network>,
) -> Result<Option<Registry>, RunError> {
    let Some(config) = &config.registry else { return Ok(None) };
    match Registry::new(end, config, request_timeout, Arc::clone(network)) {
        Ok(registry) => Ok(Some(registry)),
        Err(error) => Err(RunError::Registry { end, error: Arc::new(error) }),
    }
}

/// One of them alone, with its first metadata.
pub async fn open_end(end: &'static str, config: &EndConfig, request_timeout: Duration) -> Result<Cluster, RunError> {
    let network: Arc<dyn Network> = Arc::new(Tcp);
    let cluster = cluster(end, config, request_timeout, &network)?;
    connected(&cluster).await?;
    Ok(cluster)
}

fn cluster(
    end: &'static str,
    config: &EndConfig,
    request_timeout: Duration,
    network: &Arc<dyn Network>,
) -> Result<Cluster, RunError> {
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
            network: Arc::clone(network),
        },
        request_timeout,
    }))
}

async fn connected(cluster: &Cluster) -> Result<Metadata, ClusterError> {
    let began = clock::now();
    let mut backoff = Backoff::default();
    loop {
        match cluster.metadata(None).await {
            Err(error) if !error.is_permanent() && clock::now() - began < PATIENCE => {
                tracing::warn!(%error, "waiting for the {}", cluster.end());
                tokio::time::sleep(backoff.failed()).await;
            }
            other => return other,
        }
    }
}
