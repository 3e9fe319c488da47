//! One connection: a request is read, answered, and only then the next one is looked at, as Kafka mutes a channel.

use super::Shared;
use crate::broker::cluster::{Action, ConnectionId};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// `socket.request.max.bytes`.
const FRAME_BYTES_MAX: usize = 100 << 20;
/// What is read ahead while an answer is waited for: enough to see that the client is gone, and for pipelined requests.
const READ_AHEAD_BYTES: usize = 256 << 10;
const LENGTH_BYTES: usize = 4;

pub(super) async fn serve(
    shared: Arc<Shared>,
    connection: ConnectionId,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    mailbox: mpsc::Receiver<Action>,
) {
    let mut ended = shared.ended.subscribe();
    tokio::select! {
        biased;
        // Whatever ends it, the client sees a closed connection; there is nothing to report.
        _ = converse(&shared, connection, stream, mailbox) => {}
        _ = ended.wait_for(|it| *it) => {}
    }
    shared.disconnect(connection);
}

async fn converse(
    shared: &Shared,
    connection: ConnectionId,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut mailbox: mpsc::Receiver<Action>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = BytesMut::new();
    loop {
        // A node that dies closes connections on which nothing was asked.
        let frame = loop {
            if let Some(frame) = take_frame(&mut input)? {
                break frame;
            }
            tokio::select! {
                biased;
                read = reader.read_buf(&mut input) => if read? == 0 { return Ok(()) },
                action = mailbox.recv() => return finish(&mut writer, action).await,
            }
        };
        shared.with(|cluster, now_ms| cluster.handle(now_ms, connection, &frame));
        let action = loop {
            tokio::select! {
                biased;
                action = mailbox.recv() => break action,
                read = reader.read_buf(&mut input), if input.len() < READ_AHEAD_BYTES => if read? == 0 { return Ok(()) },
            }
        };
        match action {
            Some(Action::Send(frame)) => {
                writer.write_all(&frame).await?;
                writer.flush().await?;
            }
            Some(Action::Next) => {}
            other => return finish(&mut writer, other).await,
        }
    }
}

async fn finish(writer: &mut (impl AsyncWrite + Unpin), action: Option<Action>) -> io::Result<()> {
    if let Some(Action::SendThenClose(bytes)) = action {
        writer.write_all(&bytes).await?;
    }
    writer.shutdown().await
}

/// None: it is not complete. The buffer grows with what has come, not with what the length claims.
fn take_frame(input: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = input.first_chunk() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|it| *it <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a length that no request has"))?;
    if input.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}
