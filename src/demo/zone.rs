//! One zone: an in-process cluster of three nodes behind mutual TLS, and what a config says of it.

use super::DemoError;
use super::pki::{Authority, ClientFiles};
use crate::broker::{Cluster, Server, ServerSecurity, Settings};
use crate::types::NodeId;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const NODES: i32 = 3;
const HOST: &str = "localhost";
/// All clients are the same kind here: one listener a node.
const LISTENER: u8 = 0;

pub(super) struct Zone {
    pub(super) server: Server,
    bootstrap_servers: Vec<String>,
    files: ClientFiles,
}

impl Zone {
    pub(super) async fn start(name: &str, settings: Settings, folder: &Path) -> Result<Self, DemoError> {
        let authority = Authority::create(&format!("{name} zone"))?;
        let security = authority.server()?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(0);
        let nodes: Vec<NodeId> = settings.nodes.keys().copied().collect();
        let server = Server::start(Cluster::new(settings, now_ms), now_ms);
        let mut bootstrap_servers = Vec::new();
        for node in nodes {
            let security = ServerSecurity::Tls(security.clone());
            let bound = server.listen(node, LISTENER, ("127.0.0.1", 0), HOST, security).await?;
            bootstrap_servers.push(format!("{HOST}:{}", bound.port()));
        }
        Ok(Self { server, bootstrap_servers, files: authority.client(folder, name)? })
    }

    /// The tables of `bridge.toml` that lead here.
    pub(super) fn tables(&self, name: &str, client_id: &str) -> String {
        let Self { bootstrap_servers, files, .. } = self;
        format!(
            "[{name}]\nbootstrap_servers = {bootstrap_servers:?}\nclient_id = {client_id:?}\n\
             [{name}.tls]\nca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n\n",
            files.ca, files.cert, files.key
        )
    }
}
