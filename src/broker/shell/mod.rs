//! The cluster over sockets: it reads the clock, carries bytes, writes the data folder, and decides nothing. Whatever it
//! waits for is looked at in a fixed order, so that a simulation can repeat a run.

mod connection;
mod store;

#[cfg(test)]
mod tests;

pub use store::StoreError;

use super::cluster::{Action, Cluster, ConnectionId};
use super::nodes::ListenerId;
use super::settings::{Millis, Settings};
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Far above what a bridge and its tests open; a leak must not take the machine's descriptors.
const CONNECTIONS_MAX: usize = 4_096;
/// One answer at a time, and a close behind it.
const MAILBOX_LENGTH: usize = 4;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a listener's connections are secured. Whether clients need certificates is the rustls config's to say.
#[derive(Clone)]
pub enum ServerSecurity {
    Plaintext,
    Tls(Arc<ServerConfig>),
}

/// A running cluster. Dropping it ends everything at once; `shutdown` waits for that.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    timer: Notify,
    clock: Clock,
    ended: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

struct State {
    cluster: Cluster,
    store: Option<Store>,
    mailboxes: BTreeMap<ConnectionId, mpsc::Sender<Action>>,
    next_connection: u64,
    /// What the timer sleeps for.
    armed_ms: Option<Millis>,
}

/// The runtime's time, so that a test with paused time has paused it here too.
struct Clock {
    start_ms: Millis,
    start: Instant,
}

impl Clock {
    fn at(start_ms: Millis) -> Self {
        Self { start_ms, start: Instant::now() }
    }

    fn now_ms(&self) -> Millis {
        self.start_ms + Millis::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }

    fn instant(&self, at_ms: Millis) -> Instant {
        self.start + Duration::from_millis(u64::try_from(at_ms - self.start_ms).unwrap_or(0))
    }
}

impl Server {
    /// Runs a cluster in the current runtime. `now_ms` is the time that the cluster was made at.
    pub fn start(cluster: Cluster, now_ms: Millis) -> Self {
        Self::run(cluster, None, now_ms)
    }

    /// Runs a new cluster, or one that goes on where its data folder ends.
    pub fn open(settings: Settings, data_folder: Option<&Path>) -> Result<Self, StoreError> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = Millis::try_from(since_1970.as_millis()).unwrap_or(0);
        let Some(folder) = data_folder else { return Ok(Self::run(Cluster::new(settings, now_ms), None, now_ms)) };
        let (cluster, store) = Store::open(folder, Settings { durable: true, ..settings }, now_ms)?;
        Ok(Self::run(cluster, Some(store), now_ms))
    }

    fn run(cluster: Cluster, store: Option<Store>, now_ms: Millis) -> Self {
        let state = State { cluster, store, mailboxes: BTreeMap::new(), next_connection: 0, armed_ms: None };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            timer: Notify::new(),
            clock: Clock::at(now_ms),
            ended: watch::Sender::new(false),
            tasks: Mutex::new(JoinSet::new()),
        });
        shared.spawn(Arc::clone(&shared).keep_time());
        Self { shared }
    }

    /// Listens for clients of a node; port 0 takes a free one. Clients are sent to `host` and the port.
    pub async fn listen(
        &self,
        node: NodeId,
        listener: ListenerId,
        address: (&str, u16),
        host: &str,
        security: ServerSecurity,
    ) -> io::Result<SocketAddr> {
        let socket = TcpListener::bind(address).await?;
        let bound = socket.local_addr()?;
        self.with(|cluster, _| cluster.advertise(node, listener, host, bound.port()));
        self.shared.spawn(Arc::clone(&self.shared).accept(socket, node, listener, security));
        Ok(bound)
    }

    /// Serves one connection that somebody else has made: of a network in memory, say.
    pub fn attach(
        &self,
        node: NodeId,
        listener: ListenerId,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        self.shared.attach(node, listener, stream);
    }

    /// An operation on the cluster, with the cluster's time.
    pub fn with<T>(&self, operation: impl FnOnce(&mut Cluster, Millis) -> T) -> T {
        self.shared.with(operation)
    }

    /// Closes every connection and waits until all is written.
    pub async fn shutdown(self) {
        let _ = self.shared.ended.send(true);
        let mut tasks = std::mem::take(&mut *lock(&self.shared.tasks));
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.shared.ended.send(true);
        lock(&self.shared.tasks).abort_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Cluster, Millis) -> T) -> T {
        let mut state = lock(&self.state);
        // Read under the lock: the machine's time never goes back.
        let now_ms = self.clock.now_ms();
        let result = operation(&mut state.cluster, now_ms);
        state.drain();
        let due_ms = state.cluster.poll_timeout();
        if due_ms.is_some_and(|due| state.armed_ms.is_none_or(|armed| due < armed)) {
            state.armed_ms = due_ms;
            self.timer.notify_one();
        }
        result
    }

    async fn keep_time(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        loop {
            let due_ms = lock(&self.state).armed_ms;
            let due = due_ms.map(|it| self.clock.instant(it));
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = ended.wait_for(|it| *it) => return,
                () = sleep => {
                    lock(&self.state).armed_ms = None;
                    self.with(|cluster, now_ms| cluster.handle_timeout(now_ms));
                }
                () = self.timer.notified() => {}
            }
        }
    }

    async fn accept(
        self: Arc<Self>,
        socket: TcpListener,
        node: NodeId,
        listener: ListenerId,
        security: ServerSecurity,
    ) {
        let mut ended = self.ended.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = ended.wait_for(|it| *it) => return,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: they come back when connections end.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            match &security {
                ServerSecurity::Plaintext => self.attach(node, listener, stream),
                ServerSecurity::Tls(config) => {
                    let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
                    let shared = Arc::clone(&self);
                    self.spawn(async move {
                        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                            Ok(Ok(stream)) => shared.attach(node, listener, stream),
                            Ok(Err(error)) => tracing::debug!(%error, "in-process demo cluster: a handshake failed"),
                            Err(_) => {}
                        }
                    });
                }
            }
        }
    }

    fn attach(
        self: &Arc<Self>,
        node: NodeId,
        listener: ListenerId,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        let mut state = lock(&self.state);
        if state.mailboxes.len() >= CONNECTIONS_MAX {
            return;
        }
        let connection = ConnectionId(state.next_connection);
        state.next_connection += 1;
        if !state.cluster.connect(connection, node, listener) {
            return;
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX_LENGTH);
        state.mailboxes.insert(connection, sender);
        drop(state);
        self.spawn(connection::serve(Arc::clone(self), connection, stream, mailbox));
    }

    fn disconnect(&self, connection: ConnectionId) {
        let mut state = lock(&self.state);
        state.mailboxes.remove(&connection);
        state.cluster.disconnect(connection);
    }
}

impl State {
    /// What changed is written before anybody is told.
    fn drain(&mut self) {
        while let Some(change) = self.cluster.poll_change() {
            if let Some(store) = &mut self.store {
                store.append(&change);
            }
        }
        let mut written = true;
        if let Some(store) = &mut self.store {
            written = store.flush();
        }
        while let Some(output) = self.cluster.poll_output() {
            let Some(mailbox) = self.mailboxes.get(&output.connection) else { continue };
            let action = if written { output.action } else { Action::Close };
            if mailbox.try_send(action).is_err() {
                self.mailboxes.remove(&output.connection);
            }
        }
    }
}
