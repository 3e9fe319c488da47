//! The client of schema registries against the in-process one: what is good, and everything that can be wrong with one.

mod answers;
mod bounds;
mod security;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kafka_bridge::config::RegistryConfig;
use kafka_bridge::demo::registry::{RegistryServer, Settings};
use kafka_bridge::registry::Registry;
use kafka_bridge::wire::Tcp;
use libtest_mimic::Trial;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn trials() -> Vec<Trial> {
    [answers::trials(), bounds::trials(), security::trials()].into_iter().flatten().collect()
}

/// On a runtime of the trial's own.
fn within(case: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(case());
    runtime.shutdown_background();
    done
}

fn config(urls: &[String]) -> Result<RegistryConfig> {
    let urls = urls.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
    Ok(RegistryConfig { urls, credentials: None, tls: None })
}

fn client_of(config: &RegistryConfig, timeout: Duration) -> Result<Registry> {
    Ok(Registry::new("source", config, timeout, Arc::new(Tcp))?)
}

fn client(server: &RegistryServer) -> Result<Registry> {
    client_of(&config(&[server.url()])?, TIMEOUT)
}

async fn plain() -> Result<(RegistryServer, Registry)> {
    let server = RegistryServer::start(Settings::default()).await?;
    let client = client(&server)?;
    Ok((server, client))
}

fn record(name: &str, field: &str) -> String {
    format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"a","type":{field}}}]}}"#)
}

fn text_of(file: &Path) -> String {
    file.to_string_lossy().into_owned()
}
