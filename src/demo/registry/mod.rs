//! A schema registry in this process, for the demo and the trials: Confluent's API as far as Avro needs it, in memory.
//!
//! It shares no code with the client, so that a mistake is not made on both sides. Ids are global, versions count per subject
//! from 1, and what was registered is never deleted.

mod api;
mod fault;
mod store;

pub use fault::Fault;
pub use store::Compatibility;

use crate::config::Secret;
use api::Reply;
use base64::Engine as _;
use bytes::Bytes;
use fault::{Drip, Faults};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// So many clients a trial never has.
const CONNECTIONS_MAX: usize = 256;
/// A client that connects and says nothing holds a place no longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Counted requests are told apart by path; a client that asks for ever new ones must not fill memory.
const COUNTED_PATHS_MAX: usize = 10_000;

/// Who may ask.
#[derive(Clone, Debug)]
pub enum Access {
    Anybody,
    Basic { username: String, password: Secret },
    Bearer { token: Secret },
}

impl Access {
    fn takes(&self, header: Option<&HeaderValue>) -> bool {
        let expected = match self {
            Self::Anybody => return true,
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.reveal());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Self::Bearer { token } => format!("Bearer {}", token.reveal()),
        };
        header.is_some_and(|it| it.as_bytes() == expected.as_bytes())
    }
}

#[derive(Clone)]
pub struct Settings {
    /// None: plaintext. With a verifier of clients it is mutual TLS.
    pub tls: Option<Arc<ServerConfig>>,
    pub access: Access,
    /// Before `/subjects`, as Apicurio has one; empty, or with a slash in front.
    pub prefix: String,
    pub compatibility: Compatibility,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls: None, access: Access::Anybody, prefix: String::new(), compatibility: Compatibility::None }
    }
}

/// A running registry. Dropping it ends it, its connections included.
pub struct RegistryServer {
    /// Name and port.
    authority: String,
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    store: Store,
    faults: Faults,
    requests: BTreeMap<String, u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegistryServer {
    /// On a free port of loopback; certificates name it `localhost`.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Self::unbound(format!("localhost:{}", listener.local_addr()?.port()), settings);
        server.tasks().spawn(accept(listener, Arc::clone(&server.shared)));
        Ok(server)
    }

    /// Without a socket: `attach` brings it its connections, without TLS. `authority`: name and port in its url.
    pub fn unbound(authority: String, settings: Settings) -> Self {
        let shared = Arc::new(Shared { settings, state: Mutex::default() });
        Self { authority, shared, tasks: Mutex::default() }
    }

    /// A connection of whoever has made it: the cap on their number is his.
    pub fn attach(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(serve(stream, Arc::clone(&self.shared)));
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a config names it.
    pub fn url(&self) -> String {
        let protocol = if self.shared.settings.tls.is_some() { "https" } else { "http" };
        format!("{protocol}://{}{}", self.authority, self.shared.settings.prefix)
    }

    /// Every request from now on whose path contains `part`, until `mend`.
    pub fn fail(&self, part: &str, fault: Fault) {
        self.shared.state().faults.add(part, fault, u64::MAX);
    }

    /// The next `times` requests whose path contains `part`.
    pub fn fail_times(&self, part: &str, fault: Fault, times: u64) {
        self.shared.state().faults.add(part, fault, times);
    }

    pub fn mend(&self) {
        self.shared.state().faults.clear();
    }

    /// How many requests a fault has met.
    pub fn struck(&self) -> u64 {
        self.shared.state().faults.struck()
    }

    /// How many requests with `part` in their path have come, those that a fault has met among them.
    pub fn requests(&self, part: &str) -> u64 {
        self.shared.state().requests.iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (places, mut connections) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), JoinSet::new());
    loop {
        // Those that have ended; the set would keep them.
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            // Out of file descriptors: it passes.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _place = place;
            match shared.settings.tls.clone() {
                None => serve(socket, shared).await,
                Some(tls) => match tokio::time::timeout(HEAD_TIMEOUT, TlsAcceptor::from(tls).accept(socket)).await {
                    Ok(Ok(stream)) => serve(stream, shared).await,
                    failed => tracing::debug!(error = ?failed.err(), "no TLS session with the demo's registry"),
                },
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // This machine's clock would be in the bytes of a simulation, which must be the same when it runs again.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the demo's registry broke");
    }
}

/// Why hyper closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault")]
struct Closed;

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, Drip>>, Closed> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let fault = {
        let mut state = shared.state();
        if state.requests.len() < COUNTED_PATHS_MAX || state.requests.contains_key(&path) {
            *state.requests.entry(path.clone()).or_default() += 1;
        }
        state.faults.strike(&path)
    };
    match fault {
        None => {}
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Down) => return Err(Closed),
        Some(Fault::Status(status, code)) => {
            return Ok(json(&Reply::error(status, code, "a planted error")));
        }
        Some(Fault::Body(bytes)) => return Ok(json(&Reply { status: 200, body: bytes })),
        Some(Fault::Redirect(to)) => {
            let mut response = json(&Reply { status: 301, body: Vec::new() });
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(LOCATION, to);
            }
            return Ok(response);
        }
        Some(Fault::Endless { chunk_bytes, pause }) => {
            return Ok(Response::new(Either::Right(Drip::new(chunk_bytes, pause))));
        }
    }
    if !shared.settings.access.takes(head.headers.get(AUTHORIZATION)) {
        return Ok(json(&Reply::error(401, 401, "Unauthorized")));
    }
    let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
        return Ok(json(&Reply::error(413, 413, "Request entity too large")));
    };
    let Some(path) = path.strip_prefix(&shared.settings.prefix) else {
        return Ok(json(&Reply::error(404, 404, "HTTP 404 Not Found")));
    };
    let compatibility = shared.settings.compatibility;
    Ok(json(&api::answer(&mut shared.state().store, compatibility, &head.method, path, &body.to_bytes())))
}

fn json(reply: &Reply) -> Response<Either<Full<Bytes>, Drip>> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::copy_from_slice(&reply.body))));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}
