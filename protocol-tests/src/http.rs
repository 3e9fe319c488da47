//! What a bridge serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// For one that answers from memory, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);

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
