//! A schema registry as the trials use it: the product's own, in a runtime of its own, and what a config says of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kafka_bridge::demo::registry::{Access, RegistryServer, Settings};
use serde_json::{Value, json};
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

    /// The schema's id. For those who are let in without a certificate.
    pub fn register(&self, subject: &str, schema: &str) -> Result<i32> {
        let url = self.server.url();
        let host = url.strip_prefix("http://").context("the registry has TLS")?;
        let body = json!({ "schema": schema }).to_string();
        let mut stream = TcpStream::connect(host)?;
        write!(
            stream,
            "POST /subjects/{subject}/versions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, told) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        let told: Value = serde_json::from_str(told)?;
        let id = told["id"].as_i64().with_context(|| format!("{subject} cannot be registered: {told}"))?;
        Ok(i32::try_from(id)?)
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
