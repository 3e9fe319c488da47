//! nginx with the rendered configuration, consoles that stand in for the bridges', and a client that says exactly what it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use protocol_tests::ports;
use protocol_tests::process::Process;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

/// Whom nginx runs as: root's workers would become another user by themselves, and the master would stay root.
const NOBODY: u32 = 65534;
const START_LIMIT: Duration = Duration::from_secs(30);
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "correct horse battery";
/// `operator` and the above, as a header says it.
pub(crate) const LOGIN: &str = "Authorization: Basic b3BlcmF0b3I6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5";

/// A console: it answers anything with 200, and remembers what it was asked. Events come when the trial says so.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    events: Sender<String>,
}

impl Upstream {
    pub(crate) fn start() -> Result<Upstream> {
        Upstream::start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(address: &str) -> Result<Upstream> {
        let listener = TcpListener::bind(address)?;
        let (address, asked) = (listener.local_addr()?, Arc::default());
        let (events, told) = channel();
        let (remembered, told) = (Arc::clone(&asked), Arc::new(Mutex::new(told)));
        // It ends with this process; a connection that nobody uses waits until then.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, told) = (Arc::clone(&remembered), Arc::clone(&told));
                thread::spawn(move || drop(answer(stream, &asked, &told)));
            }
        });
        Ok(Upstream { address, asked, events })
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn tell(&self, event: &str) -> Result<()> {
        self.events.send(event.to_owned()).context("nobody takes events")
    }
}

/// One request after the other.
fn answer(stream: TcpStream, asked: &Mutex<Vec<String>>, told: &Mutex<Receiver<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(reader.read_line(&mut head)? > 0, "the client has gone");
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
        if ["GET /api/events ", "GET /kafka-ui/api/clusters/source/topics/orders/messages/v2?"]
            .iter()
            .any(|it| head.starts_with(it))
        {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            while let Ok(event) = told.recv() {
                let event = format!("data: {event}\n\n");
                write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
            }
            return Ok(());
        }
        // With headers that the proxy must not pass on.
        let policy = "Content-Security-Policy: default-src 'self'\r\nX-Frame-Options: SAMEORIGIN\r\nServer: bridge\r\n";
        let open =
            "Access-Control-Allow-Origin: https://evil.example.org\r\nAccess-Control-Allow-Credentials: true\r\n";
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/html\r\n{policy}{open}\r\nconsole")?;
    }
}

/// A running nginx. Dropping it kills it.
pub(crate) struct Proxy {
    pub(crate) https: u16,
    pub(crate) http: u16,
    pub(crate) folder: TempDir,
    _process: Process,
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")
}

/// A script of the repository.
pub(crate) fn script(path: &str, settings: &[(&str, String)], arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new("bash");
    command.arg(root()?.join(path)).args(arguments).envs(settings.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Who reads nothing may be gone.
    let _ = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
    Ok(child.wait_with_output()?)
}

pub(crate) fn succeeds(path: &str, settings: &[(&str, String)], arguments: &[&str], input: &str) -> Result<()> {
    let output = script(path, settings, arguments, input)?;
    ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Proxy {
    /// Before these consoles; `settings` as the environment has them.
    pub(crate) fn start(upstreams: &[SocketAddr], settings: &[(&str, &str)]) -> Result<Proxy> {
        Proxy::start_edited(upstreams, settings, |it| it)
    }

    /// With a configuration that is not as it should be: what a check says then shows that it can fail.
    pub(crate) fn start_edited(
        upstreams: &[SocketAddr],
        settings: &[(&str, &str)],
        edit: impl Fn(String) -> String,
    ) -> Result<Proxy> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        succeeds(
            "pki/mint.sh",
            &[],
            &["--out", &path("pki"), "--server", "proxy/proxy:localhost,127.0.0.1", "--client", "proxy/operator"],
            "",
        )?;
        succeeds("proxy/login.sh", &[], &["--file", &path("login"), "operator"], PASSWORD)?;
        let (https, http, health) = (ports::free()?, ports::free()?, ports::free()?);
        let upstreams: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        let mut environment: BTreeMap<&str, String> = BTreeMap::from([
            ("PROXY_UPSTREAMS", upstreams.join(" ")),
            ("PROXY_CERT_FILE", path("pki/proxy/proxy.pem")),
            ("PROXY_KEY_FILE", path("pki/proxy/proxy.key")),
            ("PROXY_LOGIN_FILE", path("login")),
            ("PROXY_CLIENT_CA_FILE", path("pki/proxy/ca.pem")),
            ("PROXY_HTTPS_LISTEN", format!("127.0.0.1:{https}")),
            ("PROXY_HTTP_LISTEN", format!("127.0.0.1:{http}")),
            ("PROXY_HEALTH_LISTEN", format!("127.0.0.1:{health}")),
            ("PROXY_PUBLIC_PORT", https.to_string()),
            ("PROXY_TMP", path("tmp")),
            ("PROXY_ACCESS_LOG", path("access.log")),
        ]);
        environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let environment: Vec<_> = environment.into_iter().collect();
        succeeds("proxy/render.sh", &environment, &[&path("nginx.conf")], "")?;
        let rendered = fs::read_to_string(path("nginx.conf"))?;
        fs::write(path("nginx.conf"), edit(rendered))?;
        fs::create_dir(path("tmp"))?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c", &path("nginx.conf"), "-g", "daemon off;"]);
        if fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0) {
            give(folder.path())?;
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut process = Process::start(&mut command, &folder.path().join("nginx.log"))?;
        let start = Instant::now();
        // It listens on one after the other.
        while [health, https].into_iter().any(|port| TcpStream::connect(("127.0.0.1", port)).is_err()) {
            let ended = process.exit_code()?;
            ensure!(ended.is_none() && start.elapsed() < START_LIMIT, "nginx does not serve: {}", process.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Proxy { https, http, folder, _process: process })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection of one TLS version, or of any.
    pub(crate) fn connect(&self, only: Option<&'static SupportedProtocolVersion>, is_known: bool) -> Result<Tls> {
        let mut roots = RootCertStore::empty();
        for it in CertificateDer::pem_file_iter(self.file("pki/proxy/ca.pem"))? {
            roots.add(it?)?;
        }
        let versions = only.map_or(vec![&version::TLS12, &version::TLS13], |it| vec![it]);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)?
            .with_root_certificates(roots);
        let config = if is_known {
            let chain = CertificateDer::pem_file_iter(self.file("pki/proxy/operator.pem"))?;
            let chain = chain.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(self.file("pki/proxy/operator.key"))?)?
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(("127.0.0.1", self.https))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Tls(tls))
    }

    /// `GET` with a login.
    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{LOGIN}\r\n"))
    }

    /// All of a request but the end of its head.
    pub(crate) fn ask(&self, request: &str) -> Result<Answer> {
        self.connect(None, false)?.ask(request)
    }

    pub(crate) fn ask_plain(&self, request: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "{request}Connection: close\r\n\r\n")?;
        Answer::read(&mut stream)
    }
}

/// The folder and what is in it, to whom nginx runs as.
fn give(folder: &Path) -> Result<()> {
    chown(folder, Some(NOBODY), Some(NOBODY))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { give(&path)? } else { chown(&path, Some(NOBODY), Some(NOBODY))? }
    }
    Ok(())
}

pub(crate) struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    pub(crate) fn ask(mut self, request: &str) -> Result<Answer> {
        self.send(&format!("{request}Connection: close\r\n\r\n"))?;
        Answer::read(&mut self.0)
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.0.write_all(text.as_bytes())?;
        Ok(self.0.flush()?)
    }

    /// Reads until this text has come; false where nothing comes for so long.
    pub(crate) fn hears(&mut self, text: &str, limit: Duration) -> Result<bool> {
        self.0.sock.set_read_timeout(Some(limit))?;
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        while !heard.contains(text) {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn read(stream: &mut impl Read) -> Result<Answer> {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            // nginx may close without a word of TLS, or before it has read what it refuses.
            Err(error) if !bytes.is_empty() && error.kind() != ErrorKind::WouldBlock => {}
            read => drop(read?),
        }
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).context("no status")?;
        let headers = head.lines().skip(1).filter_map(|it| it.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Ok(Answer { status, headers, body: body.to_owned() })
    }

    /// All of this name.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str()).collect()
    }
}
