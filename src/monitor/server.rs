//! HTTP/1.1 without TLS: a proxy in front has that, and asks for a login. Nothing here changes anything.

use super::clusters::Clusters;
use super::health::Health;
use super::query::Query;
use super::records::Records;
use super::state::{Monitor, now_ms};
use super::{assets, host, metrics, sampler};
use crate::bridge::Ends;
use crate::config::{Config, Console};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

/// A scraper, a proxy's pool, and some people who look.
const CONNECTIONS_MAX: usize = 64;
const STREAMS_MAX: usize = 16;
const STREAM_INTERVAL: Duration = Duration::from_secs(1);
/// A client that has stopped reading gives its place back; a browser that looks on comes again by itself.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(3_600);
/// A client that connects and says nothing holds a place no longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an error that is not of one connection, as when no file is left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// No page of another site may frame it, read it or be loaded by it, and it runs nothing but its own files.
const SECURITY: [(&str, &str); 5] = [
    ("content-security-policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("console.listen: cannot listen on {address}: {error}; choose another port, or end what listens there")]
    Bind { address: String, error: io::Error },
}

/// Dropped, it ends with all its connections.
pub struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

struct Shared {
    monitor: Monitor,
    registry: Registry,
    clusters: Clusters,
    records: Records,
    hosts: Vec<String>,
    streams: Arc<Semaphore>,
    picture: Arc<Picture>,
}

impl Server {
    /// None: the config asks for none.
    pub async fn start(config: &Config, monitor: Monitor, ends: Ends) -> Result<Option<Self>, ServerError> {
        match &config.console {
            Some(console) => Self::listen(console, Arc::new(config.clone()), monitor, ends).await.map(Some),
            None => Ok(None),
        }
    }

    async fn listen(console: &Console, config: Arc<Config>, monitor: Monitor, ends: Ends) -> Result<Self, ServerError> {
        let address = console.listen.to_string();
        let bound = match TcpListener::bind((console.listen.host.as_str(), console.listen.port)).await {
            Ok(listener) => listener.local_addr().map(|it| (listener, it)),
            Err(error) => Err(error),
        };
        let (listener, address) = bound.map_err(|error| ServerError::Bind { address, error })?;
        let own = [console.listen.host.clone()].into_iter().chain(LOOPBACK.map(str::to_owned));
        let shared = Shared {
            registry: metrics::registry(&monitor),
            monitor: monitor.clone(),
            picture: Arc::new(Picture { monitor: monitor.clone(), kept: Mutex::default() }),
            clusters: Clusters::new(Arc::clone(&config), ends.clone()),
            records: Records::new(config, ends.clone()),
            hosts: own.chain(console.hosts.iter().cloned()).collect(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(shared)));
        tasks.spawn(sampler::run(monitor, ends));
        tracing::info!("console, health and metrics at http://{address}");
        Ok(Self { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut serving = JoinSet::new();
    loop {
        while serving.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(serving.spawn(serve(stream, Arc::clone(&shared), place))),
            Err(error) => {
                tracing::debug!(%error, "a connection to the console was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, &request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let served = server.serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME_MAX, served).await {
        tracing::debug!(%error, "a connection to the console has ended");
    }
}

type Reply = Response<Either<Full<Bytes>, Events>>;

async fn respond(shared: &Shared, request: &Request<Incoming>) -> Reply {
    let host = request.headers().get(HOST).and_then(|it| it.to_str().ok());
    let mut reply = if !host::is_known(host, &shared.hosts) {
        let told = "this host is not known here: add the name in the browser's address to `console.hosts`\n";
        text(StatusCode::MISDIRECTED_REQUEST, TEXT, told)
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "nothing can be changed here\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        reply
    } else {
        page(shared, request.uri()).await
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in SECURITY {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}

async fn page(shared: &Shared, uri: &Uri) -> Reply {
    let asked = || Query::parse(uri.query());
    match uri.path() {
        "/healthz" => health(&shared.monitor.state().lives()),
        "/readyz" => health(&shared.monitor.state().is_ready()),
        "/metrics" => {
            let mut written = String::new();
            match prometheus_text::encode(&mut written, &shared.registry) {
                Ok(()) => text(StatusCode::OK, metrics::MEDIA_TYPE, written),
                Err(fault) => {
                    tracing::warn!(%fault, "the metrics cannot be written");
                    text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n")
                }
            }
        }
        "/api/link" => text(StatusCode::OK, JSON, link(&shared.monitor)),
        "/api/events" => match Arc::clone(&shared.streams).try_acquire_owned() {
            Ok(place) => {
                let events = Events::new(Arc::clone(&shared.picture), place);
                let mut reply = Response::new(Either::Right(events));
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                // A proxy that gathers them would show the link as it was.
                reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
                reply
            }
            Err(_) => {
                let told = format!("{STREAMS_MAX} are looking already\n");
                text(StatusCode::SERVICE_UNAVAILABLE, TEXT, told)
            }
        },
        "/api/clusters" => text(StatusCode::OK, JSON, shared.clusters.report().await.to_string()),
        "/api/records" => answered(shared.records.latest(&asked()).await),
        "/api/destination" => answered(shared.records.destination(&asked()).await),
        path => match assets::find(path) {
            Some(asset) => text(StatusCode::OK, asset.media_type, asset.text),
            None => {
                let told = "there is nothing here; see /, /healthz, /readyz, /metrics and /api/link\n";
                text(StatusCode::NOT_FOUND, TEXT, told)
            }
        },
    }
}

fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

fn answered((status, json): (StatusCode, String)) -> Reply {
    text(status, JSON, json)
}

fn health(health: &Health) -> Reply {
    let status = if health.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, JSON, json(health))
}

fn link(monitor: &Monitor) -> String {
    json(&monitor.state().snapshot(now_ms()))
}

fn json(it: &impl serde::Serialize) -> String {
    // Text and numbers alone: there is nothing in it that JSON cannot say.
    serde_json::to_string(it).unwrap_or_default()
}

/// The link as streams show it: made once for all who look, while the lanes' events wait.
struct Picture {
    monitor: Monitor,
    kept: Mutex<Option<(Instant, Bytes)>>,
}

impl Picture {
    fn event(&self) -> Bytes {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, event)) = kept.as_ref().filter(|it| it.0.elapsed() < STREAM_INTERVAL / 2) {
            return event.clone();
        }
        let event = Bytes::from(format!("event: link\ndata: {}\n\n", link(&self.monitor)));
        *kept = Some((Instant::now(), event.clone()));
        event
    }
}

/// Server-sent events: the link, at once and then every second, until the client has gone.
struct Events {
    picture: Arc<Picture>,
    ticks: Interval,
    _place: OwnedSemaphorePermit,
}

impl Events {
    fn new(picture: Arc<Picture>, place: OwnedSemaphorePermit) -> Self {
        let mut ticks = tokio::time::interval(STREAM_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { picture, ticks, _place: place }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(self.picture.event()))))
    }
}
