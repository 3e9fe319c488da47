//! A TCP proxy before one broker: it cuts, refuses and stalls connections, and holds single Kafka requests back.
//!
//! A stalled direction keeps its bytes and delivers them later, as a network that heals does: TCP loses nothing, it is
//! late. That lateness is the fault (KAFKA-17754), so bytes are never dropped.

mod link;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::ports;

/// A request of a test is never larger.
const FRAME_BYTES_MAX: usize = 128 << 20;
/// How long the broker may take to answer a released request before its connection goes on (or away).
const RELEASED_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often a thread that waits on a socket or for an order looks at the proxy's state.
const POLL: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToBroker,
    ToClient,
    Both,
}

/// What happens to the request that a rule waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The request, and all behind it on its connection, waits for `release`. It reaches the broker even when the client
    /// has given the connection up in between.
    Hold,
    /// The broker gets the request; its answer is dropped, and the connection cut.
    DropAnswer,
    /// The request never reaches the broker, and the connection is cut.
    DropRequest,
}

/// Names a request that is to be taken, to wait for it and to release it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken(usize);

struct Rule {
    taken: Taken,
    api_key: i16,
    /// Found in the request's bytes: a topic's or a transactional id's name.
    text: Vec<u8>,
    /// How many more of these requests pass before the rule takes one.
    passes: usize,
    action: Action,
}

/// How far a held request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Waiting,
    Released,
    /// The broker has answered it. One that never was answered must not count as a fault that happened.
    Delivered,
    Failed,
}

#[derive(Default)]
struct State {
    upstream: Option<SocketAddr>,
    refuse: bool,
    stall_to_broker: bool,
    stall_to_client: bool,
    /// 0: as many as come.
    bytes_per_second_to_broker: u64,
    closed: bool,
    /// Connections opened before the last cut belong to an older generation.
    generation: u64,
    accepted: usize,
    rules: Vec<Rule>,
    rules_made: usize,
    requests: BTreeMap<i16, usize>,
    holds: BTreeMap<Taken, Hold>,
    answers_dropped: usize,
    requests_dropped: usize,
    refused: usize,
    stalled: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the bytes are Kafka frames in plaintext; through TLS only whole connections can be hit.
    frames: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

/// The proxy. Dropping it cuts everything and stops listening.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

impl Proxy {
    /// Listens on a port of its own; brokers advertise it, so it exists before they do. `frames` when no TLS passes through.
    pub fn bind(frames: bool) -> Result<Proxy> {
        let port = ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), frames });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || link::accept(&listener, &accepting));
        Ok(Proxy { shared, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the broker listens; until it is known, connections are refused.
    pub fn set_upstream(&self, address: &str) -> Result<()> {
        let address = address.parse()?;
        self.shared.change(|state| state.upstream = Some(address));
        Ok(())
    }

    /// Closes every open connection, except to the broker where a request is held.
    pub fn cut_all(&self) {
        self.shared.change(|state| state.generation += 1);
    }

    /// Closes new connections at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.change(|state| state.refuse = refuse);
    }

    /// Stops the bytes of one or both directions, on open and new connections.
    pub fn stall(&self, direction: Direction) {
        self.set_stall(direction, true);
    }

    /// Lets them flow again; what was stopped is delivered late.
    pub fn resume(&self, direction: Direction) {
        self.set_stall(direction, false);
    }

    /// Each connection carries no more to the broker than so many bytes in a second, from now on.
    pub fn slow_down(&self, bytes_per_second: u64) {
        self.shared.change(|state| state.bytes_per_second_to_broker = bytes_per_second);
    }

    /// Takes the `nth` (from 1) request of this API that arrives from now on.
    pub fn take_request(&self, api_key: i16, nth: usize, action: Action) -> Result<Taken> {
        self.take_request_with(api_key, "", nth, action)
    }

    /// Counts only requests that hold this text somewhere.
    pub fn take_request_with(&self, api_key: i16, text: &str, nth: usize, action: Action) -> Result<Taken> {
        ensure!(self.shared.frames, "a proxy without frames cannot tell requests apart");
        ensure!(nth > 0, "requests are counted from 1");
        Ok(self.shared.change(|state| {
            state.rules_made += 1;
            let taken = Taken(state.rules_made);
            state.rules.push(Rule { taken, api_key, text: text.into(), passes: nth - 1, action });
            taken
        }))
    }

    /// Waits until the request is held: the proof that the fault happens.
    pub fn wait_held(&self, taken: Taken, limit: Duration) -> Result<()> {
        self.wait("the request was not held", limit, |state| state.holds.contains_key(&taken))
    }

    /// Lets a held request go on and waits until the broker has answered it.
    pub fn release(&self, taken: Taken) -> Result<()> {
        let held = self.shared.change(|state| {
            let hold = state.holds.get_mut(&taken)?;
            *hold = Hold::Released;
            Some(())
        });
        ensure!(held.is_some(), "nothing is held that could be released");
        self.wait("the released request was not answered", RELEASED_ANSWER_LIMIT * 2, |state| {
            state.holds.get(&taken) != Some(&Hold::Released)
        })?;
        let end = self.shared.lock().holds.get(&taken).copied();
        ensure!(end == Some(Hold::Delivered), "the broker never answered the released request");
        Ok(())
    }

    /// How many requests of an API arrived.
    pub fn requests(&self, api_key: i16) -> usize {
        self.shared.lock().requests.get(&api_key).copied().unwrap_or(0)
    }

    pub fn connections(&self) -> usize {
        self.shared.lock().accepted
    }

    pub fn answers_dropped(&self) -> usize {
        self.shared.lock().answers_dropped
    }

    pub fn requests_dropped(&self) -> usize {
        self.shared.lock().requests_dropped
    }

    /// Connections that came while they were refused.
    pub fn refused(&self) -> usize {
        self.shared.lock().refused
    }

    /// Pieces of a stream that came while their direction was stalled.
    pub fn stalled(&self) -> usize {
        self.shared.lock().stalled
    }

    fn set_stall(&self, direction: Direction, stall: bool) {
        self.shared.change(|state| {
            if direction != Direction::ToClient {
                state.stall_to_broker = stall;
            }
            if direction != Direction::ToBroker {
                state.stall_to_client = stall;
            }
        });
    }

    fn wait(&self, failure: &str, limit: Duration, done: impl Fn(&State) -> bool) -> Result<()> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        while !done(&state) {
            if start.elapsed() > limit {
                bail!("{failure} within {limit:?}");
            }
            state = self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.closed = true);
    }
}
