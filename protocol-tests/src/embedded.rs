//! The in-process demo cluster as the trials use it: plaintext for the tests' own client, mutual TLS for the bridge.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use kafka_bridge::broker::{Cluster, Millis, Server, ServerSecurity, Settings};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::bridge::End;
use crate::door::Door;
use crate::kafka::{ClusterPki, mint};
use crate::raw::RawClient;

const PLAINTEXT: u8 = 0;
const TLS: u8 = 1;
const FREE_PORT: (&str, u16) = ("127.0.0.1", 0);

/// A running embedded cluster with a runtime of its own. Dropping it ends it.
pub struct EmbeddedCluster {
    // Before the runtime, in which its tasks live.
    server: Server,
    plaintext: Vec<String>,
    tls: Vec<String>,
    pki: ClusterPki,
    door: Door,
    _runtime: Runtime,
    _folder: TempDir,
}

impl EmbeddedCluster {
    pub fn start(settings: Settings) -> Result<EmbeddedCluster> {
        EmbeddedCluster::open(settings, None)
    }

    /// With a data folder it goes on where the one before has ended.
    pub fn open(settings: Settings, data: Option<&Path>) -> Result<EmbeddedCluster> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // The bridge refuses to copy a cluster to itself, and tells clusters by their ids.
        let cluster_id = format!("in-process-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let settings = Settings { cluster_id, ..settings };
        let folder = tempfile::tempdir()?;
        let pki = mint(folder.path())?;
        let door = Door::new(&pki.server, &[pki.authority.ca_file()])?;
        let security = ServerSecurity::Tls(Arc::new(door.config()?));
        let nodes: Vec<i32> = settings.nodes.keys().copied().collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (mut plaintext, mut tls) = (vec![], vec![]);
        let server = runtime.block_on(async {
            let server = Server::open(settings, data)?;
            for node in nodes {
                // `localhost`, as certificates name it.
                let open = server.listen(node, PLAINTEXT, FREE_PORT, "localhost", ServerSecurity::Plaintext).await?;
                plaintext.push(format!("localhost:{}", open.port()));
                let secured = server.listen(node, TLS, FREE_PORT, "localhost", security.clone()).await?;
                tls.push(format!("localhost:{}", secured.port()));
            }
            anyhow::Ok(server)
        })?;
        Ok(EmbeddedCluster { server, plaintext, tls, pki, door, _runtime: runtime, _folder: folder })
    }

    pub fn client(&self) -> RawClient {
        RawClient::new(self.plaintext.clone())
    }

    pub fn plaintext_bootstrap(&self) -> Vec<String> {
        self.plaintext.clone()
    }

    /// For the bridge's configuration: mutual TLS.
    pub fn end(&self) -> End {
        End::with(self.tls.clone(), Some(&self.pki))
    }

    pub fn tls_bootstrap(&self) -> Vec<String> {
        self.tls.clone()
    }

    pub fn pki(&self) -> &ClusterPki {
        &self.pki
    }

    /// Who comes in through the TLS listeners.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// An operation on the machine itself.
    pub fn with<T>(&self, operation: impl FnOnce(&mut Cluster, Millis) -> T) -> T {
        self.server.with(operation)
    }
}

/// Whether clients must show a certificate of the same authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Anonymous,
    Verified,
}

/// TLS for `localhost`.
pub fn server_tls(pki: &ClusterPki, clients: Clients) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(pki.authority.ca_file())? {
        roots.add(certificate?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_file_iter(&pki.server.chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&pki.server.key)?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::Verified => builder.with_client_cert_verifier(verifier),
    }
    .with_single_cert(chain, key)
    .context("the server's certificate and key do not fit")
}
