//! A connection: requests go out in the order of the calls, answers come back in that order (Kafka answers the requests of
//! one connection in order), and when it dies every waiter learns why.

use super::certificate::Certificate;
use super::error::WireError;
use super::in_flight::{IN_FLIGHT_MAX, InFlight};
use super::network::{Network, Stream};
use super::security::{Identity, Loaded, Peer, Security, Session};
use super::shapes;
use super::versions::{Versions, name};
use crate::config::HostPort;
use crate::latest::Latest;
use crate::shape::{self, Misshapen};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

/// Metadata of some hundred thousand partitions.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;
const API_VERSIONS_MAX: i16 = 4;
const UNSUPPORTED_VERSION: i16 = 35;
/// A reader on a broken connection ends at once; this is for one that does not.
const LAST_WORDS: Duration = Duration::from_secs(1);
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Behind length, API key and version, in every version of a request's header.
const CORRELATION_ID: Range<usize> = 8..12;

#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    pub client_id: String,
    /// For TCP, TLS and the negotiation of versions together.
    pub connect_timeout: Duration,
    /// Largest answer to a Fetch: its byte limit plus one batch that may exceed it (KIP-74).
    pub fetch_answer_bytes_max: usize,
    /// Between socket and TLS: rustls reads a few KiB at a time, and large reads save system calls where records are fetched.
    pub read_buffer_bytes: usize,
    pub network: Arc<dyn Network>,
}

/// A handle, cheap to clone. The connection closes with its last handle.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    client_id: StrBytes,
    versions: Versions,
    session: Option<Session>,
    /// The certificates that it was opened with count as seen; None without TLS.
    certificates: Option<Latest<Arc<Loaded>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.fail(&WireError::closed(&self.shared.address, "its owner let it go"));
    }
}

struct Shared {
    address: Arc<str>,
    /// None without TLS.
    identity: Option<Arc<Identity>>,
    fetch_answer_bytes_max: usize,
    state: Mutex<State>,
}

struct State {
    /// A waiter is gone when the caller gave up; the answer is then read and thrown away, so that the next one finds its
    /// owner.
    in_flight: InFlight<oneshot::Sender<Result<Bytes, WireError>>>,
    outgoing: mpsc::Sender<Vec<Bytes>>,
}

impl Connection {
    pub async fn open(
        address: &HostPort,
        security: &Security,
        settings: &ConnectionSettings,
    ) -> Result<Self, WireError> {
        let name: Arc<str> = address.to_string().into();
        match tokio::time::timeout(settings.connect_timeout, Self::establish(address, &name, security, settings)).await
        {
            Ok(opened) => opened,
            Err(_) => Err(WireError::ConnectTimeout { address: name, within: settings.connect_timeout }),
        }
    }

    async fn establish(
        address: &HostPort,
        name: &Arc<str>,
        security: &Security,
        settings: &ConnectionSettings,
    ) -> Result<Self, WireError> {
        let refused =
            |error: io::Error| WireError::Connect { address: Arc::clone(name), reason: error.to_string().into() };
        let socket = settings.network.connect(&address.host, address.port).await.map_err(refused)?;
        let socket = BufReader::with_capacity(settings.read_buffer_bytes, socket);
        let (mut session, mut certificates, mut identity) = (None, None, None);
        let stream: Box<dyn Stream> = match security {
            Security::Plaintext => Box::new(socket),
            Security::Tls(tls) => {
                let server = ServerName::try_from(address.host.clone()).map_err(|error| WireError::Connect {
                    address: Arc::clone(name),
                    reason: error.to_string().into(),
                })?;
                let mut current = tls.current.clone();
                let loaded = current.look();
                let secured = loaded.connector.connect(server, socket).await;
                let secured = secured.map_err(|error| match WireError::io(name, &error, Some(&loaded.identity)) {
                    WireError::Closed { address, .. } => WireError::NotKafka {
                        address,
                        reason: "the connection was closed during the TLS handshake".into(),
                    },
                    other => other,
                })?;
                session = Some(session_of(secured.get_ref().1));
                identity = Some(Arc::clone(&loaded.identity));
                certificates = Some(current);
                Box::new(secured)
            }
        };
        let (shared, tasks) = Shared::start(Arc::clone(name), identity.clone(), stream, settings);
        let client_id = StrBytes::from_string(settings.client_id.clone());
        let versions = Versions::default();
        let mut inner = Inner { shared, client_id, versions, session, certificates, tasks };
        inner.versions = inner.negotiate().await.map_err(|error| match error {
            WireError::Closed { address, reason } => {
                let why = match &identity {
                    // With TLS 1.3 the client's certificate is looked at when the client is done, and an alert can get lost.
                    Some(identity) => identity.refused(Peer::Broker, SystemTime::now()),
                    None => "Does it want TLS? Then the tls table is missing in the config".to_owned(),
                };
                WireError::Closed { address, reason: format!("{reason}, before it answered anything. {why}").into() }
            }
            other => other,
        })?;
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn versions(&self) -> &Versions {
        &self.inner.versions
    }

    /// None without TLS.
    pub fn session(&self) -> Option<&Session> {
        self.inner.session.as_ref()
    }

    /// The newest version of this request, up to `max`, that both sides have.
    pub fn version<R: Request>(&self, max: i16) -> Result<i16, WireError> {
        self.inner.versions.newest::<R>(max, &self.inner.shared.address)
    }

    /// Queues the request before it returns; the future is for the answer alone.
    pub fn send<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response, WireError>> + Send + 'static + use<R> {
        self.inner.send(version, request, timeout)
    }

    /// As `send`, with the request's body already encoded, so that payloads are not copied into it.
    pub fn send_encoded<R: Request>(
        &self,
        version: i16,
        body: Vec<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response, WireError>> + Send + 'static + use<R> {
        self.inner.send_encoded::<R>(version, Ok(body), timeout)
    }

    pub fn is_dead(&self) -> bool {
        self.inner.shared.state().in_flight.is_dead()
    }

    /// Every request was answered.
    pub fn is_idle(&self) -> bool {
        self.inner.shared.state().in_flight.is_idle()
    }

    /// It was opened with other certificates than new connections are.
    pub fn is_outdated(&self) -> bool {
        self.inner.certificates.as_ref().is_some_and(Latest::has_changed)
    }

    /// Waits until it is.
    pub async fn outdated(&self) {
        if let Some(mut certificates) = self.inner.certificates.clone()
            && certificates.changed().await.is_some()
        {
            return;
        }
        // Nobody is left who could renew them.
        std::future::pending().await
    }

    /// Closes the TCP connection at once; whatever waits learns it.
    pub fn close(&self) {
        self.inner.tasks.iter().for_each(AbortHandle::abort);
        self.inner.shared.fail(&WireError::closed(&self.inner.shared.address, "the bridge closed it"));
    }
}

impl Inner {
    fn send<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response, WireError>> + Send + 'static + use<R> {
        let mut body = BytesMut::new();
        let unencodable = |error: String| WireError::Unencodable { api: name(R::KEY), version, reason: error.into() };
        let encoded = request.encode(&mut body, version).map_err(|error| unencodable(format!("{error:#}")));
        self.send_encoded::<R>(version, encoded.map(|()| vec![body.freeze()]), timeout)
    }

    fn send_encoded<R: Request>(
        &self,
        version: i16,
        body: Result<Vec<Bytes>, WireError>,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response, WireError>> + Send + 'static + use<R> {
        let queued = body.and_then(|body| self.queue::<R>(version, body));
        let address = Arc::clone(&self.shared.address);
        async move {
            let api = name(R::KEY);
            let frame = match tokio::time::timeout(timeout, queued?).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err(WireError::closed(&address, "it ended without an answer")),
                Err(_) => return Err(WireError::Timeout { address, api, within: timeout }),
            };
            decode::<R>(version, frame).map_err(|Misshapen(reason)| WireError::Malformed {
                address,
                api,
                version,
                reason: reason.into(),
            })
        }
    }

    fn queue<R: Request>(
        &self,
        version: i16,
        body: Vec<Bytes>,
    ) -> Result<oneshot::Receiver<Result<Bytes, WireError>>, WireError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(self.client_id.clone()));
        let unencodable = |reason: String| WireError::Unencodable { api: name(R::KEY), version, reason: reason.into() };
        let mut head = BytesMut::with_capacity(64);
        head.put_i32(0);
        header.encode(&mut head, R::header_version(version)).map_err(|error| unencodable(format!("{error:#}")))?;
        let length = head.len() - 4 + body.iter().map(Bytes::len).sum::<usize>();
        let length = i32::try_from(length).map_err(|_| unencodable("it is larger than 2 GiB".to_owned()))?;
        head[..4].copy_from_slice(&length.to_be_bytes());
        let (answer, receiver) = oneshot::channel();
        let fetch_max = self.shared.fetch_answer_bytes_max;
        let bytes_max = if R::KEY == FETCH { fetch_max } else { ANSWER_BYTES_MAX.min(fetch_max) };
        // Until the frame is in the queue: requests go out in the order of their ids.
        let mut state = self.shared.state();
        let correlation_id = state.in_flight.queue(name(R::KEY), bytes_max, answer)?;
        head[CORRELATION_ID].copy_from_slice(&correlation_id.to_be_bytes());
        let mut frame = Vec::with_capacity(1 + body.len());
        frame.push(head.freeze());
        frame.extend(body);
        // Never full: what is queued also waits, and that was counted. The writer ends only with the connection.
        let _ = state.outgoing.try_send(frame);
        Ok(receiver)
    }

    /// A broker that does not know our version answers 35 in the layout of v0, with the versions it does know.
    async fn negotiate(&self) -> Result<Versions, WireError> {
        let timeout = Duration::MAX;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("kafka-bridge"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut answer = self.send(API_VERSIONS_MAX, &request, timeout).await?;
        if answer.error_code == UNSUPPORTED_VERSION {
            let last = answer.api_keys.iter().find(|it| it.api_key == API_VERSIONS).map_or(0, |it| it.max_version);
            let version = last.clamp(0, API_VERSIONS_MAX);
            let request = if version >= 3 { request } else { ApiVersionsRequest::default() };
            answer = self.send(version, &request, timeout).await?;
        }
        match answer.error_code {
            0 => Ok(Versions::of(&answer)),
            code => Err(WireError::NotKafka {
                address: Arc::clone(&self.shared.address),
                reason: format!("ApiVersions answered error code {code}").into(),
            }),
        }
    }
}

fn decode<R: Request>(version: i16, frame: Bytes) -> Result<R::Response, Misshapen> {
    let table = shapes::table(R::KEY).ok_or_else(|| Misshapen("its shape is not known".to_owned()))?;
    let header = shape::header_length(R::Response::header_version(version), &frame)?;
    let mut body = frame.slice(header..);
    let mut version = version;
    // The fallback: two bytes of error code, then the layout of v0.
    if R::KEY == API_VERSIONS && body.get(..2) == Some(&UNSUPPORTED_VERSION.to_be_bytes()) {
        version = 0;
    }
    shape::check(table, version, &body)?;
    R::Response::decode(&mut body, version).map_err(|error| Misshapen(format!("{error:#}")))
}

impl Shared {
    fn start(
        address: Arc<str>,
        identity: Option<Arc<Identity>>,
        stream: Box<dyn Stream>,
        settings: &ConnectionSettings,
    ) -> (Arc<Self>, [AbortHandle; 2]) {
        let (outgoing, queue) = mpsc::channel(IN_FLIGHT_MAX);
        let state = Mutex::new(State { in_flight: InFlight::new(Arc::clone(&address)), outgoing });
        let fetch_answer_bytes_max = settings.fetch_answer_bytes_max;
        let shared = Arc::new(Self { address, identity, fetch_answer_bytes_max, state });
        let (reader, writer) = tokio::io::split(stream);
        let writing = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                if let Err(error) = write(writer, queue).await {
                    // What the broker said before it closed is in the reader's hands, and tells more than a broken pipe.
                    tokio::time::sleep(LAST_WORDS).await;
                    shared.fail(&shared.io(&error));
                }
            }
        });
        let reading = tokio::spawn({
            let shared = Arc::clone(&shared);
            let writing = writing.abort_handle();
            async move {
                let error = shared.read(reader).await;
                shared.fail(&error);
                writing.abort();
            }
        });
        let tasks = [writing.abort_handle(), reading.abort_handle()];
        (shared, tasks)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, error: &io::Error) -> WireError {
        WireError::io(&self.address, error, self.identity.as_deref())
    }

    /// The first reason stays.
    fn fail(&self, error: &WireError) {
        let mut state = self.state();
        let (error, waiters) = state.in_flight.fail(error);
        for waiter in waiters {
            // The caller may have given up waiting.
            let _ = waiter.send(Err(error.clone()));
        }
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> WireError {
        loop {
            match self.read_one(&mut reader).await {
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    async fn read_one(&self, reader: &mut (impl AsyncRead + Unpin)) -> Result<(), WireError> {
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => WireError::closed(&self.address, "the broker closed it"),
            _ => self.io(&error),
        };
        let mut prefix = [0; 4];
        reader.read_exact(&mut prefix).await.map_err(lost)?;
        let length = self.state().in_flight.length(prefix)?;
        let mut frame = BytesMut::with_capacity(length);
        while frame.len() < length {
            let left = length - frame.len();
            if (&mut *reader).take(left as u64).read_buf(&mut frame).await.map_err(lost)? == 0 {
                return Err(WireError::closed(&self.address, "the broker closed it within an answer"));
            }
        }
        let frame = frame.freeze();
        let correlation_id = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let waiter = self.state().in_flight.answered(correlation_id)?;
        // The caller may have given up waiting.
        let _ = waiter.send(Ok(frame));
        Ok(())
    }
}

fn session_of(connection: &ClientConnection) -> Session {
    let version = connection.protocol_version().and_then(|it| it.as_str()).unwrap_or("TLS");
    let peer = connection.peer_certificates().and_then(|chain| Certificate::parse(chain.first()?));
    Session { version, peer }
}

async fn write(writer: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Vec<Bytes>>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer);
    while let Some(frame) = queue.recv().await {
        for part in &frame {
            writer.write_all(part).await?;
        }
        if queue.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}
