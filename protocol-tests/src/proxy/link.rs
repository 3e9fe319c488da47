//! One proxied connection: two pumps, and what they do to single requests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Action, FRAME_BYTES_MAX, Hold, POLL, RELEASED_ANSWER_LIMIT, Shared, State, Taken};

pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        if shared.lock().closed {
            return;
        }
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(POLL);
            continue;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(client, &shared));
    }
}

/// One connection: the client's socket, the broker's, and what both directions know.
struct Link {
    shared: Arc<Shared>,
    client: TcpStream,
    broker: TcpStream,
    generation: u64,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// Correlation ids whose answers are to be dropped.
    drop_answers: Vec<[u8; 4]>,
    /// The broker's side must stay open for a held request.
    keep_broker: bool,
    answers: usize,
    broker_gone: bool,
}

enum Fate {
    Pass,
    Cut,
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let (upstream, generation) = {
        let mut state = shared.lock();
        if state.refuse || state.closed {
            state.refused += 1;
            return;
        }
        state.accepted += 1;
        (state.upstream, state.generation)
    };
    let Some(Ok(broker)) = upstream.map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5))) else {
        return;
    };
    for socket in [&client, &broker] {
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_nodelay(true);
        let _ = socket.set_read_timeout(Some(POLL));
    }
    let link = Arc::new(Link { shared: Arc::clone(shared), client, broker, generation, state: Mutex::default() });
    let back = Arc::clone(&link);
    let answers = thread::spawn(move || back.pump_answers());
    let _ = link.pump_requests();
    link.lock().keep_broker = false;
    let _ = link.broker.shutdown(Shutdown::Both);
    let _ = link.client.shutdown(Shutdown::Both);
    let _ = answers.join();
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self) -> bool {
        let state = self.shared.lock();
        state.closed || state.generation != self.generation
    }

    fn pump_requests(&self) -> io::Result<()> {
        loop {
            let chunk = if self.shared.frames { self.read_frame(&self.client)? } else { self.read_some(&self.client)? };
            self.wait_while(|state| state.stall_to_broker)?;
            if self.shared.frames && matches!(self.apply_rules(&chunk)?, Fate::Cut) {
                return Ok(());
            }
            let bytes_per_second = self.shared.lock().bytes_per_second_to_broker;
            if bytes_per_second > 0 {
                thread::sleep(Duration::from_secs_f64(chunk.len() as f64 / bytes_per_second as f64));
            }
            (&self.broker).write_all(&chunk)?;
        }
    }

    fn pump_answers(&self) {
        let mut client_gone = false;
        loop {
            let chunk = if self.shared.frames { self.read_frame(&self.broker) } else { self.read_some(&self.broker) };
            let Ok(chunk) = chunk else { break };
            let dropped = {
                let mut state = self.lock();
                state.answers += 1;
                self.shared.frames && chunk.len() >= 8 && state.drop_answers.iter().any(|id| id[..] == chunk[4..8])
            };
            if dropped {
                self.shared.change(|state| state.answers_dropped += 1);
                break;
            }
            // While a request is held for it the broker's side is read on, though nobody wants the answers any more.
            client_gone = client_gone
                || self.wait_while(|state| state.stall_to_client).is_err()
                || (&self.client).write_all(&chunk).is_err();
            if client_gone && !self.lock().keep_broker {
                break;
            }
        }
        self.lock().broker_gone = true;
        let _ = self.client.shutdown(Shutdown::Both);
    }

    fn apply_rules(&self, frame: &[u8]) -> io::Result<Fate> {
        if frame.len() < 12 {
            return Ok(Fate::Pass);
        }
        let api_key = i16::from_be_bytes([frame[4], frame[5]]);
        let rule = self.shared.change(|state| {
            *state.requests.entry(api_key).or_default() += 1;
            let applies = |text: &[u8]| text.is_empty() || frame.windows(text.len()).any(|window| window == text);
            let index = state.rules.iter().position(|rule| rule.api_key == api_key && applies(&rule.text))?;
            if state.rules[index].passes > 0 {
                state.rules[index].passes -= 1;
                return None;
            }
            Some(state.rules.remove(index))
        });
        let Some(rule) = rule else { return Ok(Fate::Pass) };
        match rule.action {
            Action::DropRequest => {
                self.shared.change(|state| state.requests_dropped += 1);
                Ok(Fate::Cut)
            }
            Action::DropAnswer => {
                self.lock().drop_answers.push([frame[8], frame[9], frame[10], frame[11]]);
                Ok(Fate::Pass)
            }
            Action::Hold => self.hold(rule.taken, frame).map(|()| Fate::Cut),
        }
    }

    /// Waits for the release, delivers the frame and waits for the broker's answer, since Kafka may drop a request whose
    /// connection ends before it was read. The connection is cut afterwards: it has been late for too long.
    fn hold(&self, taken: Taken, frame: &[u8]) -> io::Result<()> {
        self.lock().keep_broker = true;
        self.shared.change(|state| state.holds.insert(taken, Hold::Waiting));
        let mut state = self.shared.lock();
        while state.holds.get(&taken) == Some(&Hold::Waiting) && !state.closed {
            state = self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let before = self.lock().answers;
        let sent = (&self.broker).write_all(frame);
        let start = Instant::now();
        while sent.is_ok() && start.elapsed() < RELEASED_ANSWER_LIMIT {
            let link = self.lock();
            if link.answers > before || link.broker_gone {
                break;
            }
            drop(link);
            thread::sleep(POLL);
        }
        let end = if self.lock().answers > before { Hold::Delivered } else { Hold::Failed };
        self.shared.change(|state| state.holds.insert(taken, end));
        sent
    }

    /// Waits while the direction is stalled; an error when the connection was cut meanwhile.
    fn wait_while(&self, stalled: impl Fn(&State) -> bool) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.stalled += usize::from(stalled(&state));
        while stalled(&state) && !state.closed && state.generation == self.generation {
            state = self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed || state.generation != self.generation { Err(cut()) } else { Ok(()) }
    }

    fn read_some(&self, socket: &TcpStream) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        let count = self.read(socket, &mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    fn read_frame(&self, socket: &TcpStream) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        self.read_full(socket, &mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a Kafka frame"));
        }
        frame.resize(4 + length, 0);
        self.read_full(socket, &mut frame[4..])?;
        Ok(frame)
    }

    fn read_full(&self, socket: &TcpStream, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read(socket, buffer)?;
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// One read that is interrupted by a cut, unless a request is held for this broker.
    fn read(&self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match socket.read(buffer) {
                Ok(0) => return Err(cut()),
                Ok(count) => return Ok(count),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            if self.is_cut() {
                if !self.lock().keep_broker {
                    return Err(cut());
                }
                let _ = self.client.shutdown(Shutdown::Both);
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut")
}
