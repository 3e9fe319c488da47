//! What a bridge serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// For one that answers from memory, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// Status and body.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    ask(TcpStream::connect(("127.0.0.1", port))?, "localhost", path)
}

/// Of one that is known by this name, and connected already.
pub fn ask(mut stream: TcpStream, host: &str, path: &str) -> Result<(u16, String)> {
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).context("no status")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((status, body.to_owned()))
}

/// Asks for JSON until it is so.
pub fn until(port: u16, path: &str, limit: Duration, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let start = Instant::now();
    loop {
        let (status, body) = get(port, path)?;
        let told = serde_json::from_str(&body).with_context(|| format!("{path}: {status} {body}"))?;
        if is(&told) {
            return Ok(told);
        }
        ensure!(start.elapsed() < limit, "{path}: not so within {limit:?}: {told:#}");
        thread::sleep(POLL);
    }
}
