//! What lies under a connection: TCP, or whatever a simulation puts in its place.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

pub trait Network: Debug + Send + Sync {
    /// TLS, where it is wanted, comes on top.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a>;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let socket = TcpStream::connect((host, port)).await?;
            // A request is written whole; waiting for more would only delay it.
            socket.set_nodelay(true)?;
            Ok(Box::new(socket) as Box<dyn Stream>)
        })
    }
}
