//! The bridge under test: the built binary with a generated configuration, its log, and signals.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::kafka::{ClusterPki, KafkaCluster};
use crate::pki::CertificateFiles;
use crate::process::Process;

/// One end of the link.
#[derive(Clone, Debug)]
pub struct End {
    pub bootstrap: Vec<String>,
    /// The authority's file, and the client certificate.
    pub tls: Option<(PathBuf, Option<CertificateFiles>)>,
    /// Further lines of the end's table.
    pub extra: String,
}

impl End {
    /// The cluster's client listener, with its certificates when it has any.
    pub fn of(cluster: &KafkaCluster) -> End {
        End::with(cluster.bootstrap(), cluster.pki())
    }

    pub(crate) fn with(bootstrap: Vec<String>, pki: Option<&ClusterPki>) -> End {
        let tls = pki.map(|pki| (pki.authority.ca_file(), Some(pki.client.clone())));
        End { bootstrap, tls, extra: String::new() }
    }
}

/// What becomes `bridge.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    pub link: String,
    pub source: End,
    pub target: End,
    pub include: Vec<String>,
    /// Further lines of the topics' table.
    pub topics_extra: String,
    /// Lines of `[delivery]`.
    pub delivery: String,
    /// Whole tables, at the end of the file.
    pub tables: String,
}

impl Config {
    pub fn new(link: &str, source: End, target: End, include: &[&str]) -> Config {
        Config {
            link: link.to_owned(),
            source,
            target,
            include: include.iter().map(|&pattern| pattern.to_owned()).collect(),
            topics_extra: String::new(),
            delivery: String::new(),
            tables: String::new(),
        }
    }

    pub fn to_toml(&self) -> String {
        let mut text = format!("link = {:?}\n", self.link);
        for (name, end) in [("source", &self.source), ("target", &self.target)] {
            let _ = writeln!(text, "\n[{name}]\nbootstrap_servers = {:?}\n{}", end.bootstrap, end.extra);
            if let Some((ca, client)) = &end.tls {
                let _ = writeln!(text, "[{name}.tls]\nca_file = {ca:?}");
                if let Some(client) = client {
                    let _ = writeln!(text, "cert_file = {:?}\nkey_file = {:?}", client.chain, client.key);
                }
            }
        }
        let _ = writeln!(text, "\n[[topics]]\ninclude = {:?}\n{}", self.include, self.topics_extra);
        if !self.delivery.is_empty() {
            let _ = writeln!(text, "\n[delivery]\n{}", self.delivery);
        }
        text + &self.tables
    }

    /// Writes `<name>.toml` into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, self.to_toml())?;
        Ok(path)
    }
}

/// A running `kafka-bridge`. Dropping it kills it.
pub struct Bridge {
    process: Process,
}

impl Bridge {
    /// `kafka-bridge run`, its log beside the configuration file.
    pub fn run(config: &Path) -> Result<Bridge> {
        Bridge::command("run", config, &[])
    }

    /// Any command that takes a configuration.
    pub fn command(command: &str, config: &Path, arguments: &[&str]) -> Result<Bridge> {
        Bridge::start(Command::new(binary()?), command, config, arguments)
    }

    /// `kafka-bridge run` of the build that can have a bug, with this one (`src/planted.rs`).
    pub fn run_with_bug(bug: &str, config: &Path) -> Result<Bridge> {
        let mut program = Command::new(planted_binary()?);
        program.env(crate::planted::SWITCH, bug);
        Bridge::start(program, "run", config, &[])
    }

    fn start(mut program: Command, command: &str, config: &Path, arguments: &[&str]) -> Result<Bridge> {
        let log = config.with_extension("log");
        program.arg(command).arg("--config").arg(config).args(arguments);
        Ok(Bridge { process: Process::start(&mut program, &log)? })
    }

    /// The end of the process: its exit code.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        self.process.wait(limit)
    }

    /// SIGTERM, and the exit code after the drain.
    pub fn terminate(&mut self, limit: Duration) -> Result<i32> {
        self.process.signal("TERM")?;
        self.process.wait(limit)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The bridge itself.
pub fn binary() -> Result<PathBuf> {
    match env::var_os("KAFKA_BRIDGE_BIN") {
        Some(path) => Ok(path.into()),
        None => program("kafka-bridge"),
    }
}

/// The same code with its planted bugs, beside it under another name.
pub fn planted_binary() -> Result<PathBuf> {
    program("kafka-bridge-planted")
}

/// One of these; all are built at once.
const PROGRAMS: [&str; 4] = ["kafka-bridge", "kafka-bridge-planted", "simulate", "visit"];

/// A program of this build's profile. Cargo builds a package's binaries for that package's own tests alone, and `kafka-bridge` is
/// another's; so they are built here, once.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    ensure!(PROGRAMS.contains(&name), "{name} is not built here");
    let folder = BUILT.get_or_init(|| build().map_err(|error| format!("{error:?}")));
    folder.clone().map(|it| it.join(name)).map_err(|error| anyhow::anyhow!(error))
}

/// Gives the folder they are in.
fn build() -> Result<PathBuf> {
    let (mut cargo, folder) = cargo()?;
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder)
}

/// What builds them, and where to.
pub(crate) fn cargo() -> Result<(Command, PathBuf)> {
    // A test is …/target/<profile>/deps/protocol_tests-<hash>, a program of this package …/target/<profile>/<name>.
    let executable = env::current_exe()?;
    let folder = executable.parent().context("the test is not in a target folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let target = folder.parent().context("the test is not in a target folder")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("protocol-tests has no parent")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Both packages, as for the tests: with the same selection the dependencies get the same features, and nothing is built twice.
    cargo.args(["build", "-q", "-p", "kafka-bridge", "-p", "protocol-tests"]);
    cargo.args(PROGRAMS.iter().flat_map(|it| ["--bin", it]));
    cargo.arg("--target-dir").arg(target).current_dir(root);
    // Cargo tells a test of its package. ring's build script asks for the same names: with others than the build before had,
    // ring is built anew, and all that is above it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    Ok((cargo, folder.to_owned()))
}
