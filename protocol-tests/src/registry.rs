//! A schema registry as the trials use it: the product's own, in a runtime of its own, and what a config says of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use kafka_bridge::demo::registry::{Access, RegistryServer, Settings};
use tokio::runtime::Runtime;

use crate::embedded::{Clients, server_tls};
use crate::kafka::{ClusterPki, mint};

/// Dropping it ends it.
pub struct Registry {
    // Before the runtime, in which its tasks live.
    server: RegistryServer,
    access: Access,
    pki: Option<ClusterPki>,
    _runtime: Runtime,
}

impl Registry {
    pub fn plaintext() -> Result<Registry> {
        Registry::start(Settings::default(), None)
    }

    /// `folder`: for its certificates.
    pub fn mutual_tls(folder: &Path, settings: Settings) -> Result<Registry> {
        let pki = mint(folder)?;
        let tls = Arc::new(server_tls(&pki, Clients::Verified)?);
        Registry::start(Settings { tls: Some(tls), ..settings }, Some(pki))
    }

    fn start(settings: Settings, pki: Option<ClusterPki>) -> Result<Registry> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let access = settings.access.clone();
        let server = runtime.block_on(RegistryServer::start(settings))?;
        Ok(Registry { server, access, pki, _runtime: runtime })
    }

    pub fn server(&self) -> &RegistryServer {
        &self.server
    }

    pub fn pki(&self) -> Option<&ClusterPki> {
        self.pki.as_ref()
    }

    /// The table of `bridge.toml` that leads here; `end` is `source` or `target`.
    pub fn table(&self, end: &str) -> String {
        let mut text = format!("[{end}.registry]\nurls = [{:?}]\n", self.server.url());
        match &self.access {
            Access::Anybody => {}
            Access::Basic { username, password } => {
                text.push_str(&format!("username = {username:?}\npassword = {:?}\n", password.reveal()));
            }
            Access::Bearer { token } => text.push_str(&format!("token = {:?}\n", token.reveal())),
        }
        if let Some(pki) = &self.pki {
            let (ca, client) = (pki.authority.ca_file(), &pki.client);
            text.push_str(&format!(
                "[{end}.registry.tls]\nca_file = {ca:?}\ncert_file = {:?}\nkey_file = {:?}\n",
                client.chain, client.key
            ));
        }
        text
    }
}
