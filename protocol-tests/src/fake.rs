//! Brokers that real Kafka cannot be made to be: too old, hostile, with wrong certificates. One thread a connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::pki::{Authority, CertificateFiles};

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
/// A peer of a test asks for less.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// Both ways of a connection, TLS or not.
pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// What a broker does with one request; None closes the connection.
pub type Behaviour = Arc<dyn Fn(&Request, &mut dyn Stream) -> Option<()> + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
    /// The port that this broker listens on.
    pub port: u16,
}

/// Listens until it is dropped.
pub struct FakeBroker {
    port: u16,
    closed: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl FakeBroker {
    pub fn start(tls: Option<ServerConfig>, behaviour: Behaviour) -> Result<FakeBroker> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (closed, connections, requests) = (Arc::default(), Arc::default(), Arc::default());
        let broker = FakeBroker { port, closed, connections, requests };
        let tls = tls.map(Arc::new);
        let (closed, connections, requests) =
            (Arc::clone(&broker.closed), Arc::clone(&broker.connections), Arc::clone(&broker.requests));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { continue };
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, behaviour, requests) = (tls.clone(), Arc::clone(&behaviour), Arc::clone(&requests));
                thread::spawn(move || {
                    // The peer may go away at any time.
                    let _ = serve(socket, tls, port, &behaviour, &requests);
                });
            }
        });
        Ok(broker)
    }

    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Those that came through: what stands behind TLS is not a request until its handshake is done.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    port: u16,
    behaviour: &Behaviour,
    requests: &AtomicUsize,
) -> Result<()> {
    socket.set_read_timeout(Some(IO_TIMEOUT))?;
    socket.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config)?, socket)),
    };
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        anyhow::ensure!((8..=REQUEST_BYTES_MAX).contains(&length), "no request");
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame)?;
        requests.fetch_add(1, Ordering::SeqCst);
        let short = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let request = Request { api_key: short(0), version: short(2), correlation_id, port };
        if behaviour(&request, &mut *stream).is_none() {
            return Ok(());
        }
    }
}

/// A frame with this body behind the correlation id.
pub fn answer(request: &Request, stream: &mut dyn Stream, body: &[u8]) -> Option<()> {
    let mut frame = Vec::with_capacity(body.len() + 8);
    frame.extend(u32::try_from(body.len() + 4).ok()?.to_be_bytes());
    frame.extend(request.correlation_id.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).ok()?;
    stream.flush().ok()
}

/// A broker with an empty cluster that speaks these versions (API key, first, last), and asks for nothing else.
pub fn polite(versions: &'static [(i16, i16, i16)]) -> Behaviour {
    Arc::new(move |request, stream| {
        let known = versions.iter().find(|(key, ..)| *key == request.api_key);
        match request.api_key {
            API_VERSIONS if known.is_none_or(|(_, _, last)| request.version > *last) => {
                let body = encoded(&api_versions(versions).with_error_code(UNSUPPORTED_VERSION), 0)?;
                answer(request, stream, &body)
            }
            API_VERSIONS => answer(request, stream, &encoded(&api_versions(versions), request.version)?),
            METADATA => {
                let broker = MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(StrBytes::from_static_str("localhost"))
                    .with_port(request.port.into());
                let metadata = MetadataResponse::default()
                    .with_brokers(vec![broker])
                    .with_cluster_id(Some(StrBytes::from_static_str("a-cluster-of-one-fake")));
                let mut body = encoded(&metadata, request.version)?;
                if request.version >= FLEXIBLE_METADATA {
                    // The header's tagged fields: none.
                    body.insert(0, 0);
                }
                answer(request, stream, &body)
            }
            _ => None,
        }
    })
}

const FLEXIBLE_METADATA: i16 = 9;
/// ApiVersions, Metadata, and the versions of Kafka 3.9 that a bridge asks every broker for.
pub const MODERN: &[(i16, i16, i16)] =
    &[(18, 0, 4), (3, 0, 12), (0, 0, 11), (1, 0, 17), (2, 0, 9), (22, 0, 5), (28, 0, 4), (12, 0, 4), (19, 0, 7)];

fn api_versions(versions: &[(i16, i16, i16)]) -> ApiVersionsResponse {
    let apis = versions.iter().map(|(key, first, last)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*first).with_max_version(*last)
    });
    ApiVersionsResponse::default().with_api_keys(apis.collect())
}

fn encoded(message: &impl Encodable, version: i16) -> Option<Vec<u8>> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).ok()?;
    Some(bytes.to_vec())
}

/// TLS as a broker has it; with `clients` it wants a certificate of that authority.
pub fn server(files: &CertificateFiles, clients: Option<&Authority>) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.ca_file())?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.context("a verifier of client certificates")?)
        }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)?.collect::<Result<Vec<_>, _>>()?;
    Ok(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key)?)?)
}
