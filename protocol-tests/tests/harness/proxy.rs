//! Each fault of the proxy, shown to happen, on an echo server that speaks in Kafka's frames.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::proxy::{Action, Direction, Proxy};

use crate::trial;

const END_TXN: i16 = 26;
const PRODUCE: i16 = 0;
const SOON: Duration = Duration::from_secs(5);
const STALLED: Duration = Duration::from_millis(200);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("harness", "proxy_passes_and_counts", passes),
        trial("harness", "proxy_cuts_and_refuses", cuts_and_refuses),
        trial("harness", "proxy_delivers_stalled_bytes_late", || {
            stalls(Direction::ToBroker, 0)?;
            stalls(Direction::ToClient, 1)?;
            stalls(Direction::Both, 0)
        }),
        trial("harness", "proxy_delivers_a_held_request_after_its_client_left", holds),
        trial("harness", "proxy_holds_the_request_that_names_a_topic", holds_by_text),
        trial("harness", "proxy_drops_an_answer_after_the_broker_had_the_request", drops_answer),
        trial("harness", "proxy_drops_a_request", drops_request),
    ]
}

type Seen = Arc<Mutex<Vec<(i16, i32)>>>;

/// Notes (API key, correlation id) of each frame and sends the correlation id back.
fn echo() -> Result<(Proxy, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = Proxy::bind(true)?;
    proxy.set_upstream(&listener.local_addr()?.to_string())?;
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let noted = Arc::clone(&noted);
            thread::spawn(move || answer(socket, &noted));
        }
    });
    Ok((proxy, seen))
}

fn answer(mut socket: TcpStream, seen: &Seen) {
    let mut length = [0; 4];
    while socket.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if socket.read_exact(&mut frame).is_err() {
            return;
        }
        let api_key = i16::from_be_bytes([frame[0], frame[1]]);
        let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        if let Ok(mut seen) = seen.lock() {
            seen.push((api_key, correlation_id));
        }
        let mut answer = vec![0, 0, 0, 4];
        answer.extend(correlation_id.to_be_bytes());
        let _ = socket.write_all(&answer);
    }
}

fn connect(proxy: &Proxy) -> Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", proxy.port()))?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

fn send(socket: &TcpStream, api_key: i16, correlation_id: i32) -> Result<()> {
    send_with(socket, api_key, correlation_id, "")
}

fn send_with(mut socket: &TcpStream, api_key: i16, correlation_id: i32, text: &str) -> Result<()> {
    let mut frame = u32::try_from(8 + text.len())?.to_be_bytes().to_vec();
    frame.extend(api_key.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(correlation_id.to_be_bytes());
    frame.extend(text.as_bytes());
    Ok(socket.write_all(&frame)?)
}

fn receive(mut socket: &TcpStream) -> Result<i32> {
    let mut frame = [0; 8];
    socket.read_exact(&mut frame)?;
    Ok(i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]))
}

fn ask(socket: &TcpStream, api_key: i16, correlation_id: i32) -> Result<()> {
    send(socket, api_key, correlation_id)?;
    ensure!(receive(socket)? == correlation_id, "another answer");
    Ok(())
}

fn seen(seen: &Seen) -> Vec<(i16, i32)> {
    seen.lock().map(|seen| seen.clone()).unwrap_or_default()
}

fn passes() -> Result<()> {
    let (proxy, _) = echo()?;
    let socket = connect(&proxy)?;
    for id in 0..100 {
        ask(&socket, PRODUCE, id)?;
    }
    ensure!(proxy.requests(PRODUCE) == 100 && proxy.requests(END_TXN) == 0 && proxy.connections() == 1, "wrong counts");
    Ok(())
}

fn cuts_and_refuses() -> Result<()> {
    let (proxy, _) = echo()?;
    let socket = connect(&proxy)?;
    ask(&socket, PRODUCE, 1)?;
    proxy.cut_all();
    ensure!(receive(&socket).is_err(), "a cut connection must end");
    ask(&connect(&proxy)?, PRODUCE, 2).context("a new connection works after a cut")?;
    proxy.refuse(true);
    ensure!(ask(&connect(&proxy)?, PRODUCE, 3).is_err(), "a refused connection must not answer");
    ensure!(proxy.refused() == 1, "{} were refused", proxy.refused());
    proxy.refuse(false);
    ask(&connect(&proxy)?, PRODUCE, 4)
}

fn stalls(direction: Direction, seen_meanwhile: usize) -> Result<()> {
    let (proxy, noted) = echo()?;
    let socket = connect(&proxy)?;
    proxy.stall(direction);
    send(&socket, PRODUCE, 1)?;
    socket.set_read_timeout(Some(STALLED))?;
    ensure!(receive(&socket).is_err(), "{direction:?} is stalled, but an answer came");
    ensure!(proxy.stalled() == 1, "{} pieces were stalled", proxy.stalled());
    ensure!(seen(&noted).len() == seen_meanwhile, "{direction:?}: the broker saw {:?}", seen(&noted));
    proxy.resume(direction);
    socket.set_read_timeout(Some(SOON))?;
    ensure!(receive(&socket)? == 1, "the late answer");
    Ok(())
}

fn holds() -> Result<()> {
    let (proxy, noted) = echo()?;
    let socket = connect(&proxy)?;
    let held = proxy.take_request(END_TXN, 2, Action::Hold)?;
    ensure!(proxy.release(held).is_err(), "nothing is held yet");
    ask(&socket, END_TXN, 1)?;
    send(&socket, END_TXN, 2)?;
    proxy.wait_held(held, SOON)?;
    drop(socket);
    proxy.cut_all();
    let retry = connect(&proxy)?;
    ask(&retry, END_TXN, 3)?;
    ensure!(seen(&noted) == [(END_TXN, 1), (END_TXN, 3)], "held, yet seen: {:?}", seen(&noted));
    proxy.release(held)?;
    ensure!(seen(&noted) == [(END_TXN, 1), (END_TXN, 3), (END_TXN, 2)], "not delivered late: {:?}", seen(&noted));
    ask(&retry, PRODUCE, 4)
}

/// Two requests are held on two connections; each goes when it is told to.
fn holds_by_text() -> Result<()> {
    let (proxy, noted) = echo()?;
    let (one, two) = (connect(&proxy)?, connect(&proxy)?);
    let of_ledger = proxy.take_request_with(PRODUCE, "the.ledger", 1, Action::Hold)?;
    send_with(&one, PRODUCE, 1, "the.data")?;
    ensure!(receive(&one)? == 1, "another topic's request is not held");
    send_with(&one, PRODUCE, 2, "xx the.ledger xx")?;
    proxy.wait_held(of_ledger, SOON)?;
    let other = proxy.take_request(PRODUCE, 1, Action::Hold)?;
    send_with(&two, PRODUCE, 3, "")?;
    proxy.wait_held(other, SOON)?;
    proxy.release(other)?;
    ensure!(seen(&noted) == [(PRODUCE, 1), (PRODUCE, 3)], "only one was released: {:?}", seen(&noted));
    proxy.release(of_ledger)?;
    ensure!(seen(&noted) == [(PRODUCE, 1), (PRODUCE, 3), (PRODUCE, 2)], "not delivered: {:?}", seen(&noted));
    Ok(())
}

fn drops_answer() -> Result<()> {
    let (proxy, noted) = echo()?;
    let socket = connect(&proxy)?;
    proxy.take_request(END_TXN, 1, Action::DropAnswer)?;
    ask(&socket, PRODUCE, 1)?;
    ensure!(ask(&socket, END_TXN, 2).is_err(), "the answer was not dropped");
    ensure!(seen(&noted) == [(PRODUCE, 1), (END_TXN, 2)], "the broker did not get it: {:?}", seen(&noted));
    ensure!(proxy.answers_dropped() == 1, "not counted");
    ask(&connect(&proxy)?, END_TXN, 3)
}

fn drops_request() -> Result<()> {
    let (proxy, noted) = echo()?;
    proxy.take_request(END_TXN, 1, Action::DropRequest)?;
    ensure!(ask(&connect(&proxy)?, END_TXN, 1).is_err(), "an answer to a dropped request");
    ensure!(seen(&noted).is_empty() && proxy.requests_dropped() == 1, "the broker saw {:?}", seen(&noted));
    ask(&connect(&proxy)?, END_TXN, 2)
}
