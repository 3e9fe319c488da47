//! Which cluster a command speaks to that needs one alone: an end of a link, or one that is named by its address.

use crate::bridge;
use crate::cluster::Cluster;
use crate::config::{ClientFiles, Config, EndConfig, HostPort, TlsFiles};
use crate::registry::Registry;
use crate::wire::Tcp;
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Without a config to say it (`delivery.request_timeout_ms`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CLIENT_ID: &str = "kafka-bridge";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum End {
    Source,
    Target,
}

#[derive(Args)]
pub(super) struct EndArguments {
    /// The link's configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "bootstrap", conflicts_with = "bootstrap")]
    config: Option<PathBuf>,
    /// The end of the link that is meant.
    #[arg(long, value_enum, requires = "config")]
    end: Option<End>,
    /// Instead of a config: the brokers' addresses.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    bootstrap: Vec<HostPort>,
    /// With --bootstrap, for TLS: the CA that signed the brokers' certificates.
    #[arg(long, value_name = "FILE", requires = "bootstrap")]
    ca_file: Option<PathBuf>,
    /// For mutual TLS.
    #[arg(long, value_name = "FILE", requires_all = ["ca_file", "key_file"])]
    cert_file: Option<PathBuf>,
    /// The key of --cert-file.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// An end that is not connected yet.
pub(super) struct Chosen {
    name: &'static str,
    config: EndConfig,
    request_timeout: Duration,
}

impl EndArguments {
    /// `default`: the end of the link that is meant where none is named.
    pub(super) fn choose(&self, default: End) -> anyhow::Result<Chosen> {
        let Some(file) = &self.config else {
            let client = self.cert_file.clone().zip(self.key_file.clone());
            let client = client.map(|(cert_file, key_file)| ClientFiles { cert_file, key_file });
            let config = EndConfig {
                bootstrap_servers: self.bootstrap.clone(),
                tls: self.ca_file.clone().map(|ca_file| TlsFiles { ca_file, client }),
                client_id: CLIENT_ID.to_owned(),
                registry: None,
            };
            return Ok(Chosen { name: "cluster", config, request_timeout: REQUEST_TIMEOUT });
        };
        let config = Config::load(file)?;
        let request_timeout = config.delivery.request_timeout;
        Ok(match self.end.unwrap_or(default) {
            End::Source => Chosen { name: "source", config: config.source, request_timeout },
            End::Target => Chosen { name: "target", config: config.target.end, request_timeout },
        })
    }
}

impl Chosen {
    pub(super) fn registry(&self) -> anyhow::Result<Option<Registry>> {
        let Some(config) = &self.config.registry else { return Ok(None) };
        let registry = Registry::new(self.name, config, self.request_timeout, Arc::new(Tcp));
        registry.map(Some).with_context(|| format!("{}.registry", self.name))
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        Ok(bridge::open_end(self.name, &self.config, self.request_timeout).await?)
    }
}
