//! A network in memory, between the bridges and the nodes of both clusters: delays, stalls, cuts and refusals, each in one
//! direction or both. Bytes of a connection arrive in order or not at all, as TCP's do; what a stall holds back arrives when
//! it ends, even if nobody waits for it any more.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_bridge::broker::Server;
use kafka_bridge::demo::registry::RegistryServer;
use kafka_bridge::wire::{self, Connecting};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// As much as a socket's buffers take before a writer has to wait.
const PIPE_BYTES_MAX: usize = 1 << 20;
/// More in one millisecond of virtual time is a loop without end.
const CHUNKS_PER_INSTANT_MAX: u64 = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Source,
    Target,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            End::Source => "source",
            End::Target => "target",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToBroker,
    ToBridge,
    Both,
}

impl Direction {
    fn covers(self, of: usize) -> bool {
        match self {
            Direction::ToBroker => of == TO_BROKER,
            Direction::ToBridge => of == TO_BRIDGE,
            Direction::Both => true,
        }
    }
}

/// An end's schema registry among its nodes, and its host.
pub(super) const REGISTRY: i32 = -1;
pub(super) const REGISTRY_NAME: &str = "registry";
const TO_BROKER: usize = 0;
const TO_BRIDGE: usize = 1;

/// Which connections are meant; None is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub host: Option<u32>,
    pub end: Option<End>,
    pub node: Option<i32>,
}

impl Route {
    fn covers(self, place: Place) -> bool {
        self.host.is_none_or(|it| it == place.host)
            && self.end.is_none_or(|it| it == place.end)
            && self.node.is_none_or(|it| it == place.node)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    host: u32,
    end: End,
    node: i32,
}

/// Something that lasts until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing arrives; connections are not made.
    Stall(Direction),
    /// Connections are refused.
    Refuse,
    /// Everything takes up to so long.
    Slow(u64),
    /// New connections bring the bridge so many bytes at the most, and then the end.
    BreakOff(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TroubleId(u64);

#[derive(Default)]
struct State {
    random: fastrand::Rng,
    troubles: BTreeMap<TroubleId, (Route, Trouble)>,
    next_trouble: u64,
    wires: Vec<(Place, Weak<Mutex<Wire>>)>,
    servers: BTreeMap<End, Arc<Server>>,
    registries: BTreeMap<End, Arc<RegistryServer>>,
    delay_ms_max: u64,
    trace: Trace,
}

/// A fingerprint of all that was delivered, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub hash: u64,
    pub chunks: u64,
    pub bytes: u64,
    instant_ms: u64,
    in_instant: u64,
}

impl Trace {
    fn add(&mut self, at_ms: u64, place: Place, direction: usize, bytes: &[u8]) {
        let sum = u64::from(crc32c::crc32c(bytes));
        for word in [at_ms, u64::from(place.host), place.end as u64, place.node as u64, direction as u64, sum] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.chunks += 1;
        self.bytes += bytes.len() as u64;
        self.in_instant = if self.instant_ms == at_ms { self.in_instant + 1 } else { 0 };
        self.instant_ms = at_ms;
        assert!(self.in_instant < CHUNKS_PER_INSTANT_MAX, "a loop without end, in which no time passes");
    }
}

/// All of one simulation.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    began: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub fn new(seed: u64, delay_ms_max: u64) -> Network {
        let random = fastrand::Rng::with_seed(seed);
        let state = State { random, delay_ms_max, ..State::default() };
        Network { state: Arc::new(Mutex::new(state)), began: Instant::now() }
    }

    pub fn serve(&self, end: End, server: Arc<Server>) {
        lock(&self.state).servers.insert(end, server);
    }

    pub(super) fn serve_registry(&self, end: End, server: Arc<RegistryServer>) {
        lock(&self.state).registries.insert(end, server);
    }

    /// The network as a process on this host has it.
    pub fn of_host(&self, host: u32, end: End) -> Arc<dyn wire::Network> {
        Arc::new(Port { network: self.clone(), host, end })
    }

    pub fn trace(&self) -> Trace {
        lock(&self.state).trace
    }

    pub fn begin(&self, route: Route, trouble: Trouble) -> TroubleId {
        let mut state = lock(&self.state);
        let id = TroubleId(state.next_trouble);
        state.next_trouble += 1;
        state.troubles.insert(id, (route, trouble));
        if let Trouble::Stall(direction) = trouble {
            for wire in state.wires_on(route) {
                let mut wire = lock(&wire);
                for (of, pipe) in wire.pipes.iter_mut().enumerate() {
                    pipe.stalled |= direction.covers(of);
                }
            }
        }
        id
    }

    /// Of the connections that were stalled some go on, and some never do.
    pub fn heal(&self, id: TroubleId) {
        let mut state = lock(&self.state);
        let Some((route, Trouble::Stall(_))) = state.troubles.remove(&id) else { return };
        let stalls: Vec<_> = state.troubles.values().copied().collect();
        for (place, wire) in state.live() {
            if !route.covers(place) {
                continue;
            }
            let is_lost = state.random.u8(..4) == 0;
            let mut wire = lock(&wire);
            for (of, pipe) in wire.pipes.iter_mut().enumerate().filter(|(_, pipe)| pipe.stalled) {
                let is_held = |(route, trouble): &(Route, Trouble)| {
                    matches!(trouble, Trouble::Stall(direction) if direction.covers(of)) && route.covers(place)
                };
                if !is_lost && !stalls.iter().any(is_held) {
                    pipe.stalled = false;
                    pipe.wake();
                }
            }
        }
    }

    /// Connections break once so many more bytes have gone in that direction; None: at once.
    pub fn cut(&self, route: Route, direction: Direction, after_bytes: Option<usize>) -> usize {
        let mut state = lock(&self.state);
        let wires = state.wires_on(route);
        for wire in &wires {
            let mut wire = lock(wire);
            match after_bytes {
                None => wire.pipes.iter_mut().for_each(Pipe::reset),
                Some(bytes) => {
                    for (_, pipe) in wire.pipes.iter_mut().enumerate().filter(|(of, _)| direction.covers(*of)) {
                        pipe.cut_after = Some(bytes);
                    }
                }
            }
        }
        wires.len()
    }

    /// The machine is gone: whatever it had sent is lost, and nobody is told.
    pub fn power_off(&self, host: u32) {
        let mut state = lock(&self.state);
        for wire in state.wires_on(Route { host: Some(host), end: None, node: None }) {
            for pipe in &mut lock(&wire).pipes {
                pipe.stalled = true;
            }
        }
    }

    /// Connections that a host still holds.
    pub fn open_at(&self, host: u32) -> usize {
        let mut state = lock(&self.state);
        let route = Route { host: Some(host), end: None, node: None };
        state.wires_on(route).iter().filter(|it| lock(it).is_open_at_bridge).count()
    }
}

impl State {
    fn live(&mut self) -> Vec<(Place, Arc<Mutex<Wire>>)> {
        self.wires.retain(|(_, wire)| wire.strong_count() > 0);
        self.wires.iter().filter_map(|(place, wire)| Some((*place, wire.upgrade()?))).collect()
    }

    fn wires_on(&mut self, route: Route) -> Vec<Arc<Mutex<Wire>>> {
        self.live().into_iter().filter(|(place, _)| route.covers(*place)).map(|it| it.1).collect()
    }

    fn delay(&mut self, place: Place) -> Duration {
        let slow = self.troubles.values().filter_map(|(route, trouble)| match trouble {
            Trouble::Slow(ms) if route.covers(place) => Some(*ms),
            _ => None,
        });
        let ms_max = slow.max().unwrap_or(self.delay_ms_max);
        Duration::from_millis(self.random.u64(..=ms_max))
    }

    /// None: whole answers.
    fn breaks_off(&mut self, place: Place) -> Option<usize> {
        let bytes_max = self.troubles.values().find_map(|(route, trouble)| match trouble {
            Trouble::BreakOff(bytes) if route.covers(place) => Some(*bytes),
            _ => None,
        });
        bytes_max.map(|it| self.random.usize(1..=it))
    }

    /// Who listens there; None: nobody.
    fn listener(&self, Place { end, node, .. }: Place) -> Option<Listener> {
        if node == REGISTRY {
            return self.registries.get(&end).cloned().map(Listener::Registry);
        }
        let server = self.servers.get(&end).filter(|it| it.with(|cluster, _| cluster.is_node_alive(node)));
        server.cloned().map(Listener::Cluster)
    }

    fn is(&self, place: Place, wanted: impl Fn(Trouble) -> bool) -> bool {
        self.troubles.values().any(|(route, trouble)| route.covers(place) && wanted(*trouble))
    }
}

enum Listener {
    Cluster(Arc<Server>),
    Registry(Arc<RegistryServer>),
}

#[derive(Clone)]
struct Port {
    network: Network,
    host: u32,
    end: End,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "host {} to the {}", self.host, self.end.name())
    }
}

impl wire::Network for Port {
    /// Nodes are called `node-<id>`, and an end's schema registry as `REGISTRY_NAME` says.
    fn connect<'a>(&'a self, name: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let node = match name {
                REGISTRY_NAME => Some(REGISTRY),
                name => name.strip_prefix("node-").and_then(|it| it.parse().ok()),
            };
            let node = node.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
            let place = Place { host: self.host, end: self.end, node };
            let (delay, is_stalled) = {
                let mut state = lock(&self.network.state);
                (state.delay(place), state.is(place, |it| matches!(it, Trouble::Stall(_))))
            };
            tokio::time::sleep(delay).await;
            if is_stalled {
                return pending().await;
            }
            let (is_refused, listener, breaks_off) = {
                let mut state = lock(&self.network.state);
                (state.is(place, |it| it == Trouble::Refuse), state.listener(place), state.breaks_off(place))
            };
            match listener.filter(|_| !is_refused) {
                None => Err(io::ErrorKind::ConnectionRefused.into()),
                Some(listener) => {
                    let mut wire = Wire::new();
                    wire.pipes[TO_BRIDGE].cut_after = breaks_off;
                    let wire = Arc::new(Mutex::new(wire));
                    lock(&self.network.state).wires.push((place, Arc::downgrade(&wire)));
                    let side = |reads| Side {
                        wire: Arc::clone(&wire),
                        network: self.network.clone(),
                        place,
                        reads,
                        sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
                    };
                    match listener {
                        Listener::Cluster(server) => server.attach(node, 0, side(TO_BROKER)),
                        Listener::Registry(server) => server.attach(side(TO_BROKER)),
                    }
                    Ok(Box::new(side(TO_BRIDGE)) as Box<dyn wire::Stream>)
                }
            }
        })
    }
}

struct Wire {
    pipes: [Pipe; 2],
    is_open_at_bridge: bool,
}

/// One direction.
struct Pipe {
    queue: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    /// When the last byte arrives.
    last: Instant,
    /// When the reader sees the end.
    end: Option<Instant>,
    reader_is_gone: bool,
    is_reset: bool,
    stalled: bool,
    cut_after: Option<usize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            queue: VecDeque::new(),
            queued_bytes: 0,
            last: Instant::now(),
            end: None,
            reader_is_gone: false,
            is_reset: false,
            stalled: false,
            cut_after: None,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.wake();
    }
}

impl Wire {
    fn new() -> Wire {
        Wire { pipes: [Pipe::new(), Pipe::new()], is_open_at_bridge: true }
    }
}

/// One end of a connection.
struct Side {
    wire: Arc<Mutex<Wire>>,
    network: Network,
    place: Place,
    reads: usize,
    sleep: Pin<Box<Sleep>>,
}

impl Side {
    fn writes(&self) -> usize {
        1 - self.reads
    }
}

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wire = Arc::clone(&this.wire);
        let mut wire = lock(&wire);
        let pipe = &mut wire.pipes[this.reads];
        if pipe.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        pipe.reader = Some(context.waker().clone());
        if pipe.stalled {
            return Poll::Pending;
        }
        let now = Instant::now();
        let due = match (pipe.queue.front(), pipe.end) {
            (Some((due, _)), _) => *due,
            (None, Some(end)) => end,
            (None, None) => return Poll::Pending,
        };
        if due > now {
            this.sleep.as_mut().reset(due);
            // It is not due: it only remembers whom to wake.
            let _ = this.sleep.as_mut().poll(context);
            return Poll::Pending;
        }
        let Some((_, chunk)) = pipe.queue.front_mut() else { return Poll::Ready(Ok(())) };
        let count = chunk.len().min(into.remaining());
        into.put_slice(&chunk[..count]);
        let at_ms = u64::try_from((now - this.network.began).as_millis()).unwrap_or(u64::MAX);
        lock(&this.network.state).trace.add(at_ms, this.place, this.reads, &chunk[..count]);
        chunk.advance(count);
        if chunk.is_empty() {
            pipe.queue.pop_front();
        }
        pipe.queued_bytes -= count;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let delay = lock(&this.network.state).delay(this.place);
        let mut wire = lock(&this.wire);
        let writes = this.writes();
        let pipe = &mut wire.pipes[writes];
        if pipe.is_reset || pipe.reader_is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.queued_bytes >= PIPE_BYTES_MAX {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut kept = bytes;
        let mut is_cut = false;
        if let Some(left) = &mut pipe.cut_after {
            kept = &bytes[..bytes.len().min(*left)];
            *left -= kept.len();
            is_cut = *left == 0;
        }
        pipe.last = pipe.last.max(Instant::now() + delay);
        if !kept.is_empty() {
            pipe.queue.push_back((pipe.last, Bytes::copy_from_slice(kept)));
            pipe.queued_bytes += kept.len();
        }
        if is_cut {
            // The reader gets what came through, and then the end; the writer learns it from its own reading.
            pipe.end = Some(pipe.last);
            pipe.reader_is_gone = true;
            wire.pipes[this.reads].reset();
        }
        if let Some(reader) = wire.pipes[writes].reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let writes = this.writes();
        let pipe = &mut lock(&this.wire).pipes[writes];
        let last = pipe.last;
        pipe.end.get_or_insert(last);
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let delay = lock(&self.network.state).delay(self.place);
        let writes = self.writes();
        let mut wire = lock(&self.wire);
        if self.reads == TO_BRIDGE {
            wire.is_open_at_bridge = false;
        }
        let pipe = &mut wire.pipes[writes];
        let end = pipe.last.max(Instant::now() + delay);
        pipe.end.get_or_insert(end);
        pipe.wake();
        let pipe = &mut wire.pipes[self.reads];
        pipe.reader_is_gone = true;
        pipe.wake();
    }
}
