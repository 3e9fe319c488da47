//! What cannot be saved: TLS in, the checksum of each batch, its header rewritten, TLS out, on one thread.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use kafka_bridge::batch::{split, stamp};
use kafka_bridge::types::ProducerIdentity;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto::ring,
};

use crate::batches::Batches;
use crate::usage::of_this_thread;

/// As large as an answer to a Fetch.
const FRAME_BYTES: usize = 1 << 20;
const MEGABYTES: usize = 1_000;
const READ_BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct Floor {
    frame: Bytes,
    frames: usize,
    /// Of uncompressed records, in all frames.
    gigabytes: f64,
}

impl Floor {
    pub(crate) fn of(batches: &Batches) -> Result<Floor> {
        let mut frame = Vec::new();
        let mut count = 0;
        while frame.len() + batches.wire_bytes() < FRAME_BYTES {
            frame.extend_from_slice(&batches.encoded[count % batches.encoded.len()]);
            count += 1;
        }
        ensure!(count > 0, "a batch is larger than a frame");
        let gigabytes = (count * batches.plain_bytes) as f64 / 1e9;
        let frames = (MEGABYTES as f64 / 1e3 / gigabytes).ceil() as usize;
        Ok(Floor { frame: Bytes::from(frame), frames, gigabytes: gigabytes * frames as f64 })
    }

    /// CPU seconds for a gigabyte.
    pub(crate) fn run(&self) -> Result<f64> {
        Ok(run(&self.frame, self.frames)? / self.gigabytes)
    }
}

/// CPU seconds of the thread in the middle.
fn run(frame: &Bytes, frames: usize) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let pki = protocol_tests::kafka::mint(folder.path())?;
    let provider = || Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.authority.ca_file())?)?;
    let chain = CertificateDer::pem_file_iter(&pki.server.chain)?.collect::<Result<Vec<_>, _>>()?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pki.server.key)?)?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server, client) = (Arc::new(server), Arc::new(client));
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let addresses = (one.local_addr()?, other.local_addr()?);
    let length = frame.len();
    thread::scope(|scope| {
        let writing = scope.spawn({
            let server = Arc::clone(&server);
            move || -> Result<()> {
                let mut stream = StreamOwned::new(ServerConnection::new(server)?, one.accept()?.0);
                (0..frames).try_for_each(|_| stream.write_all(frame))?;
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            }
        });
        let reading = scope.spawn(move || -> Result<usize> {
            let mut stream = StreamOwned::new(ServerConnection::new(server)?, other.accept()?.0);
            let (mut buffer, mut total) = (vec![0; READ_BUFFER_BYTES], 0);
            while total < length * frames {
                total += stream.read(&mut buffer)?;
            }
            Ok(total)
        });
        let connect = |address| -> Result<_> {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            let connection = ClientConnection::new(Arc::clone(&client), ServerName::try_from("localhost")?)?;
            Ok((connection, socket))
        };
        let (connection, socket) = connect(addresses.0)?;
        let mut input = StreamOwned::new(connection, Buffered(BufReader::with_capacity(READ_BUFFER_BYTES, socket)));
        let (connection, socket) = connect(addresses.1)?;
        let mut output = StreamOwned::new(connection, socket);
        let before = of_this_thread()?;
        for number in 0..frames {
            let mut records = vec![0; length];
            input.read_exact(&mut records)?;
            for batch in split(Bytes::from(records)) {
                let batch = batch?;
                batch.verify_crc()?;
                let sequence = i32::try_from(number)?;
                let stamped = stamp(&batch, ProducerIdentity { producer_id: 1, producer_epoch: 1 }, sequence);
                output.write_all(&stamped.header)?;
                output.write_all(&stamped.body)?;
            }
        }
        output.flush()?;
        let used = of_this_thread()? - before;
        writing.join().map_err(|_| anyhow!("the writer panicked"))??;
        let total =
            reading.join().map_err(|_| anyhow!("the reader panicked"))?.context("what was written is not read")?;
        ensure!(total == length * frames, "{total} bytes came");
        Ok(used)
    })
}

/// Reads ahead, and writes through.
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().flush()
    }
}
