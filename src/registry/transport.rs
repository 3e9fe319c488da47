//! Requests over HTTP/1.1: to one node after the other, with a deadline, a cap and a few attempts.

use super::answer::{Answerer, Asked, PATH, error_of};
use super::{RegistryError, RegistrySetupError};
use crate::cluster::Backoff;
use crate::config::{RegistryConfig, RegistryCredentials, RegistryUrl};
use crate::wire::{Network, Peer, Secured, Security};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A registry keeps a schema in one record of Kafka, a megabyte by default; JSON in JSON may double it.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Status line and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Through all nodes so often: enough for one that restarts behind a balancer. Whoever can wait longer comes again.
const ROUNDS_MAX: usize = 4;
/// At once, of all lanes together: a start that meets a hundred new ids must not be an attack.
const REQUESTS_AT_ONCE_MAX: usize = 8;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPTED: &str =
    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json; q=0.9, application/json; q=0.8";
const AGENT: &str = concat!("kafka-bridge/", env!("CARGO_PKG_VERSION"));

pub(super) struct Transport {
    end: &'static str,
    nodes: Vec<(RegistryUrl, Arc<str>)>,
    /// The node that answered last is asked first.
    first: AtomicUsize,
    authorization: Option<HeaderValue>,
    security: Security,
    network: Arc<dyn Network>,
    request_timeout: Duration,
    places: Semaphore,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<&str> = self.nodes.iter().map(|it| &*it.1).collect();
        f.write_str(&urls.join(", "))
    }
}

/// An answer, whatever it says.
struct Answered {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

/// No answer came, or none that was looked at.
enum Failure {
    Passing(String),
    /// TLS, or something that does not speak HTTP.
    Lasting(String),
}

impl Transport {
    pub(super) fn new(
        end: &'static str,
        config: &RegistryConfig,
        request_timeout: Duration,
        network: Arc<dyn Network>,
    ) -> Result<Self, RegistrySetupError> {
        let header = |text: String| {
            let mut header = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| RegistrySetupError::Token)?;
            // What prints a request leaves it out.
            header.set_sensitive(true);
            Ok::<_, RegistrySetupError>(header)
        };
        let authorization = match &config.credentials {
            None => None,
            Some(RegistryCredentials::Basic { username, password }) => {
                let pair = format!("{username}:{}", password.reveal());
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                Some(header(format!("Basic {encoded}"))?)
            }
            Some(RegistryCredentials::Bearer { token }) => Some(header(format!("Bearer {}", token.reveal()))?),
        };
        Ok(Self {
            end,
            nodes: config.urls.iter().map(|it| (it.clone(), Arc::from(it.to_string()))).collect(),
            first: AtomicUsize::new(0),
            authorization,
            security: Security::load(config.tls.as_ref())?,
            network,
            request_timeout,
            places: Semaphore::new(REQUESTS_AT_ONCE_MAX),
        })
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    /// The body of a good answer.
    pub(super) async fn ask(&self, asked: &Asked) -> Result<Bytes, RegistryError> {
        let mut backoff = Backoff::default();
        let mut passing = None;
        for round in 0..ROUNDS_MAX {
            let mut lasting = None;
            for step in 0..self.nodes.len() {
                let index = (self.first.load(Ordering::Relaxed) + step) % self.nodes.len();
                match self.ask_node(index, asked).await {
                    Err(error) if error.is_retriable() => {
                        tracing::debug!(%error, "the schema registry is asked again");
                        passing = Some(error);
                    }
                    // Another node may be the right one.
                    Err(error @ RegistryError::NotRegistry { .. }) => lasting = Some(error),
                    answered => {
                        self.first.store(index, Ordering::Relaxed);
                        return answered;
                    }
                }
            }
            match lasting {
                Some(error) if passing.is_none() => return Err(error),
                _ if round + 1 < ROUNDS_MAX => tokio::time::sleep(backoff.failed()).await,
                _ => {}
            }
        }
        Err(passing.unwrap_or_else(|| self.unreachable("was not asked")))
    }

    async fn ask_node(&self, index: usize, asked: &Asked) -> Result<Bytes, RegistryError> {
        let Some((node, url)) = self.nodes.get(index) else { return Err(self.unreachable("was not asked")) };
        let by = Answerer { end: self.end, url: Arc::clone(url), has_credentials: self.authorization.is_some() };
        // Never closed.
        let _place = self.places.acquire().await.ok();
        let exchanged = match tokio::time::timeout(self.request_timeout, self.exchange(node, asked)).await {
            Ok(exchanged) => exchanged,
            Err(_) => {
                let within = self.request_timeout.as_millis();
                Err(Failure::Passing(format!("did not answer within {within} ms")))
            }
        };
        let (end, url) = (by.end, Arc::clone(&by.url));
        match exchanged {
            Ok(Answered { status, location, body }) => {
                error_of(asked, &by, status, location.as_deref(), &body).map_or(Ok(body), Err)
            }
            Err(Failure::Passing(reason)) => Err(RegistryError::Unreachable { end, url, reason: reason.into() }),
            Err(Failure::Lasting(reason)) => Err(RegistryError::NotRegistry { end, url, reason: reason.into() }),
        }
    }

    /// Over a connection of its own: ids are asked for once each, and a kept connection is one more that can be dead.
    async fn exchange(&self, node: &RegistryUrl, asked: &Asked) -> Result<Answered, Failure> {
        let request = self.request(node, asked).map_err(|error| Failure::Lasting(error.to_string()))?;
        let secured = Secured::new(&self.security, Peer::Registry);
        let (host, port) = (node.address.host.as_str(), node.address.port);
        let socket = self.network.connect(host, port).await;
        let socket = socket.map_err(|error| Failure::Passing(format!("cannot be reached: {error}")))?;
        let stream =
            Secured::connect(&self.security, host, socket).await.map_err(|error| match secured.complaint(&error) {
                Some(complaint) => Failure::Lasting(complaint),
                None => Failure::Passing(format!("closed the connection during the TLS handshake: {error}")),
            })?;
        let of = |error: hyper::Error| failure_of(&error, &secured);
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(of)?;
        let exchanged = async move {
            let response = sender.send_request(request).await.map_err(of)?;
            let status = response.status();
            let location = response.headers().get(LOCATION);
            let location = location.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::Lasting(format!("answers with more than {BODY_BYTES_MAX} bytes. {PATH}"))
                } else {
                    Failure::Passing(format!("broke off its answer: {error}"))
                }
            })?;
            Ok(Answered { status, location, body: body.to_bytes() })
        };
        tokio::pin!(exchanged);
        tokio::select! {
            biased;
            exchanged = &mut exchanged => exchanged,
            // What it has read is still to be taken.
            _ = connection => exchanged.await,
        }
    }

    fn request(&self, node: &RegistryUrl, asked: &Asked) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(format!("{}{}", node.prefix, asked.path))
            .header(HOST, node.address.to_string())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, ACCEPTED)
            .header(CONNECTION, "close");
        if !asked.body.is_empty() {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(Full::new(asked.body.clone()))
    }

    fn url(&self) -> Arc<str> {
        let first = self.first.load(Ordering::Relaxed);
        self.nodes.get(first).map_or_else(|| Arc::from(""), |it| Arc::clone(&it.1))
    }

    pub(super) fn unreachable(&self, reason: &str) -> RegistryError {
        RegistryError::Unreachable { end: self.end, url: self.url(), reason: reason.into() }
    }

    pub(super) fn unusable(&self, what: &str, reason: String) -> RegistryError {
        RegistryError::Unusable { end: self.end, url: self.url(), what: what.into(), reason: reason.into() }
    }

    pub(super) fn malformed(&self, asked: &Asked, error: &str) -> RegistryError {
        let reason = format!("the answer about {} is malformed: {error}. {PATH}", asked.what).into();
        RegistryError::NotRegistry { end: self.end, url: self.url(), reason }
    }
}

fn failure_of(error: &hyper::Error, secured: &Secured) -> Failure {
    if let Some(complaint) = secured.complaint(error) {
        return Failure::Lasting(complaint);
    }
    if error.is_parse() {
        let hint =
            if secured.suspicion().is_none() { "Does it want TLS? Then write https:// and a tls table" } else { PATH };
        return Failure::Lasting(format!("does not answer in HTTP: {}. {hint}", innermost(error)));
    }
    let suspicion = secured.suspicion().map(|it| format!(". {it}")).unwrap_or_default();
    Failure::Passing(format!("closed the connection before it answered: {}{suspicion}", innermost(error)))
}

/// hyper's own words for it are the least of it.
fn innermost(error: &hyper::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
