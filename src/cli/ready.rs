//! `kafka-bridge ready`: what a container's health check runs, in an image that holds nothing but the bridge.

use super::exit::{Exit, Usage};
use super::output::tell;
use super::printable;
use crate::config::{Config, HostPort};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const HELP: &str = "Asks the bridge that runs with this config, at its `console.listen`, for /readyz. Exits with 0 where the link copies what \
it is to copy; with 1 where it does not, and says what is wrong, or where nothing answers.\n\nExample:\n  \
kafka-bridge ready --config bridge.toml";

/// It is answered from memory: whoever needs longer is not ready.
const LIMIT: Duration = Duration::from_secs(5);
/// Problems of some thousand lanes; whoever sends more is no bridge.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const READY: u16 = 200;
const NOT_READY: u16 = 503;

#[derive(Deserialize)]
struct Told {
    problems: Vec<String>,
}

pub(super) fn ready(config: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(config)?;
    let Some(console) = config.console else {
        return Err(Usage("the config has no console.listen: nobody can be asked; add `[console] listen`").into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { tokio::time::timeout(LIMIT, ask(&console.listen)).await });
    let answer = asked.unwrap_or_else(|_| bail!("no answer within {} s", LIMIT.as_secs()));
    let (is_ready, problems) = answer.with_context(|| format!("console.listen {}", console.listen))?;
    if is_ready {
        tell("ready\n")?;
        return Ok(Exit::Done);
    }
    problems.iter().try_for_each(|it| tell(&format!("not ready: {}\n", printable(it))))?;
    Ok(Exit::Failed)
}

async fn ask(listen: &HostPort) -> anyhow::Result<(bool, Vec<String>)> {
    let mut stream = TcpStream::connect((listen.host.as_str(), listen.port)).await?;
    // A name that every console knows.
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    read(&answer)
}

/// Whether it is ready, and what is wrong.
fn read(answer: &[u8]) -> anyhow::Result<(bool, Vec<String>)> {
    let text = std::str::from_utf8(answer).context("the answer is no text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer is none of a bridge")?;
    match head.split(' ').nth(1).and_then(|it| it.parse().ok()) {
        Some(READY) => Ok((true, Vec::new())),
        Some(NOT_READY) => {
            let told: Told = serde_json::from_str(body).context("the answer is none of a bridge")?;
            Ok((false, told.problems))
        }
        _ => bail!("the answer is none of a bridge: {}", printable(head.lines().next().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bridge_that_says_so_is_ready() {
        let answer = |status: &str, body: &str| read(format!("HTTP/1.1 {status}\r\na: b\r\n\r\n{body}").as_bytes());
        assert_eq!(answer("200 OK", r#"{"is_well":true,"problems":[]}"#).unwrap(), (true, Vec::new()));
        let told = answer("503 Service Unavailable", r#"{"is_well":false,"problems":["it ends"]}"#).unwrap();
        assert_eq!(told, (false, vec!["it ends".to_owned()]));
        for (status, body) in [("404 Not Found", "{}"), ("503 Service Unavailable", "<html>"), ("x", "")] {
            assert!(answer(status, body).is_err(), "{status}");
        }
        assert!(read(b"").is_err());
        assert!(read(b"\xff\r\n\r\n").is_err());
    }
}
