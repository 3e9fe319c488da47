//! One zone: an in-process cluster of three nodes behind mutual TLS, and what a config says of it.

use super::DemoError;
use super::pki::{Authority, ClientFiles};
use super::registry::{self, RegistryServer};
use crate::broker::{Cluster, Server, ServerSecurity, Settings};
use crate::types::NodeId;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_rustls::rustls::ServerConfig;

pub(super) const NODES: i32 = 3;
const HOST: &str = "localhost";
/// All clients are the same kind here: one listener a node.
const LISTENER: u8 = 0;

pub(super) struct Zone {
    pub(super) server: Server,
    bootstrap_servers: Vec<String>,
    /// Of every server of the zone.
    tls: Arc<ServerConfig>,
    files: ClientFiles,
}

impl Zone {
    pub(super) async fn start(name: &str, settings: Settings, folder: &Path) -> Result<Self, DemoError> {
        let authority = Authority::create(&format!("{name} zone"))?;
        let tls = authority.server()?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(0);
        let nodes: Vec<NodeId> = settings.nodes.keys().copied().collect();
        let server = Server::start(Cluster::new(settings, now_ms), now_ms);
        let mut bootstrap_servers = Vec::new();
        for node in nodes {
            let security = ServerSecurity::Tls(tls.clone());
            let bound = server.listen(node, LISTENER, ("127.0.0.1", 0), HOST, security).await?;
            bootstrap_servers.push(format!("{HOST}:{}", bound.port()));
        }
        Ok(Self { server, bootstrap_servers, tls, files: authority.client(folder, name)? })
    }

    /// The zone's own, behind the same mutual TLS.
    pub(super) async fn registry(&self) -> Result<RegistryServer, DemoError> {
        let settings = registry::Settings { tls: Some(Arc::clone(&self.tls)), ..registry::Settings::default() };
        Ok(RegistryServer::start(settings).await?)
    }

    /// The tables of `bridge.toml` that lead here.
    pub(super) fn tables(&self, name: &str, client_id: &str, registry: Option<&RegistryServer>) -> String {
        let Self { bootstrap_servers, files, .. } = self;
        let tls = format!("ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n", files.ca, files.cert, files.key);
        let mut text = format!(
            "[{name}]\nbootstrap_servers = {bootstrap_servers:?}\nclient_id = {client_id:?}\n[{name}.tls]\n{tls}\n"
        );
        if let Some(registry) = registry {
            text += &format!("[{name}.registry]\nurls = [{:?}]\n[{name}.registry.tls]\n{tls}\n", registry.url());
        }
        text
    }
}
