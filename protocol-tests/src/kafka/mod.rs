//! Real Apache Kafka: clusters of one or three nodes, ZooKeeper or KRaft, any version, with or without mutual TLS.

mod archive;
mod properties;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use self::archive::Classes;
use crate::jars;
use crate::pki::{Authority, CertificateFiles, Purpose, Validity};
use crate::ports;
use crate::process::Process;
use crate::raw::RawClient;

/// How long a node may take until it answers; a cold start is 3–6 s, a loaded machine several times that.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A heap this small keeps four nodes and the tests within a small CI machine.
const HEAP: &str = "-Xmx400m";
/// C1 alone and the serial collector halve the time until a broker answers.
const FAST_START: [&str; 4] = [HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true"];
/// Of a broker as its start script has it.
const RELEASED_HEAP: [&str; 2] = ["-Xmx1g", "-Xms1g"];
/// What Kafka's own start scripts say. C1 alone has no AES, and makes a broker over TLS several times as expensive as it is.
pub const AS_RELEASED: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// Short, so that a killed node may come back soon; long enough for a machine that runs several JVMs on two cores.
const SESSION_TIMEOUT_MS: u32 = 4000;
/// 22 characters of URL-safe base64 that do not begin with `-`.
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    ZooKeeper,
    KRaft,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    pub version: String,
    pub mode: Mode,
    pub nodes: usize,
    /// Mutual TLS on the client listener.
    pub tls: bool,
    /// The `transaction.version` finalized at format; None is the release's default.
    pub transaction_version: Option<u8>,
    /// Further lines of `server.properties`.
    pub extra: Vec<(String, String)>,
    /// The ports that the client listener advertises, one per node, when proxies stand before the brokers.
    pub advertised_ports: Vec<u16>,
    /// As Kafka's start script runs it, for measurements; else for a quick start.
    pub as_released: bool,
}

impl Spec {
    pub fn zookeeper(version: &str) -> Spec {
        Spec { mode: Mode::ZooKeeper, ..Spec::kraft(version) }
    }

    pub fn kraft(version: &str) -> Spec {
        Spec {
            version: version.to_owned(),
            mode: Mode::KRaft,
            nodes: 1,
            tls: false,
            transaction_version: None,
            extra: vec![],
            advertised_ports: vec![],
            as_released: false,
        }
    }

    /// JVM and threads as a release has them, so that what is measured is Kafka and not a hurried start of it.
    pub fn as_released(self) -> Spec {
        Spec { as_released: true, ..self }
    }

    pub fn nodes(self, nodes: usize) -> Spec {
        Spec { nodes, ..self }
    }

    pub fn with_tls(self) -> Spec {
        Spec { tls: true, ..self }
    }

    pub fn transaction_version(self, version: u8) -> Spec {
        Spec { transaction_version: Some(version), ..self }
    }

    pub fn property(mut self, key: &str, value: &str) -> Spec {
        self.extra.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Nobody may do anything but what ACLs say; the tests' own client on the plaintext listener, the
    /// brokers, and the cluster's client certificate may do all.
    pub fn with_authorizer(self) -> Spec {
        let class = match self.mode {
            Mode::ZooKeeper => "kafka.security.authorizer.AclAuthorizer",
            Mode::KRaft => "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        };
        self.property("authorizer.class.name", class).property("super.users", "User:ANONYMOUS;User:CN=client")
    }

    /// Lets clients connect to these ports (of proxies) instead of the brokers' own.
    pub fn advertised(self, advertised_ports: Vec<u16>) -> Spec {
        Spec { advertised_ports, ..self }
    }
}

/// The certificates of a cluster with mutual TLS.
pub struct ClusterPki {
    pub authority: Authority,
    pub server: CertificateFiles,
    pub client: CertificateFiles,
}

struct Node {
    id: usize,
    client_port: u16,
    /// Plaintext: for the tests' own client and between the brokers, so that a fault on the client listener is the only fault.
    control_port: u16,
    controller_port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

/// A running cluster. Dropping it kills the nodes and removes their data (unless `KAFKA_BRIDGE_TEST_KEEP` is set).
pub struct KafkaCluster {
    spec: Spec,
    jars: PathBuf,
    classes: Classes,
    nodes: Vec<Node>,
    zookeeper: Option<Process>,
    zookeeper_port: u16,
    pki: Option<ClusterPki>,
    // Last: the nodes must be dead before their folder goes.
    folder: TempDir,
}

impl KafkaCluster {
    /// Starts the cluster and returns when every node answers and knows the others.
    pub fn start(spec: Spec) -> Result<KafkaCluster> {
        jars::broker(&spec.version)?;
        let classes = archive::of(&spec.version, spec.mode).map_or(Classes::Jars, Classes::Archive);
        KafkaCluster::start_with(spec, classes)
    }

    fn start_with(spec: Spec, classes: Classes) -> Result<KafkaCluster> {
        ensure!(matches!(spec.nodes, 1 | 3), "a cluster has one or three nodes");
        ensure!(
            spec.advertised_ports.is_empty() || spec.advertised_ports.len() == spec.nodes,
            "one advertised port per node"
        );
        let jars = jars::broker(&spec.version)?;
        let mut folder = tempfile::Builder::new().prefix("kafka-bridge-").tempdir()?;
        folder.disable_cleanup(std::env::var_os("KAFKA_BRIDGE_TEST_KEEP").is_some());
        let pki = if spec.tls { Some(mint(&folder.path().join("pki"))?) } else { None };
        let mut nodes = vec![];
        for id in 0..spec.nodes {
            let node_folder = folder.path().join(format!("node-{id}"));
            fs::create_dir_all(&node_folder)?;
            nodes.push(Node {
                id,
                client_port: ports::free()?,
                control_port: ports::free()?,
                controller_port: ports::free()?,
                folder: node_folder,
                process: None,
            });
        }
        let zookeeper_port = ports::free()?;
        let mut cluster = KafkaCluster { spec, jars, classes, nodes, zookeeper: None, zookeeper_port, pki, folder };
        cluster.configure()?;
        if cluster.spec.mode == Mode::ZooKeeper {
            cluster.start_zookeeper()?;
        }
        for id in 0..cluster.nodes.len() {
            cluster.spawn(id)?;
        }
        for id in 0..cluster.nodes.len() {
            cluster.wait_ready(id)?;
        }
        Ok(cluster)
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The client listener: mutual TLS when the spec says so, through the proxies when there are any.
    pub fn bootstrap(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|id| format!("localhost:{}", self.advertised_port(id))).collect()
    }

    /// The plaintext listener that no proxy and no TLS stands before.
    pub fn plaintext_bootstrap(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("localhost:{}", node.control_port)).collect()
    }

    /// Where a proxy before the node's client listener has to connect.
    pub fn client_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].client_port)
    }

    pub fn pki(&self) -> Option<&ClusterPki> {
        self.pki.as_ref()
    }

    /// A client on the plaintext listener.
    pub fn client(&self) -> RawClient {
        RawClient::new(self.plaintext_bootstrap())
    }

    /// The replication factor that suits the number of nodes.
    pub fn replication_factor(&self) -> i16 {
        if self.nodes.len() == 3 { 3 } else { 1 }
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.kill();
        }
    }

    /// Starts a killed or stopped node again on its ports and data.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.kill(node);
        let start = Instant::now();
        loop {
            self.spawn(node)?;
            match self.wait_ready(node) {
                Ok(()) => return Ok(()),
                // ZooKeeper keeps the killed broker's ephemeral node until its session ends; a broker that finds it exits.
                Err(_) if start.elapsed() < START_LIMIT && self.exited(node) => {}
                Err(error) => return Err(error),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// SIGTERM: an orderly shutdown that hands leadership over.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.signal("TERM")?;
            process.wait(Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// SIGSTOP: the node keeps its connections and answers nothing.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.process(node)?.signal("STOP")
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.process(node)?.signal("CONT")
    }

    /// The log of a node so far, for error messages and checks.
    pub fn log(&self, node: usize) -> String {
        let bytes = fs::read(self.nodes[node].folder.join("log.txt")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Of the nodes that run.
    pub fn processes(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::id).collect()
    }

    fn process(&self, node: usize) -> Result<&Process> {
        self.nodes[node].process.as_ref().with_context(|| format!("node {node} is not running"))
    }

    fn exited(&mut self, node: usize) -> bool {
        self.nodes[node].process.as_mut().is_none_or(|process| !matches!(process.exit_code(), Ok(None)))
    }

    fn advertised_port(&self, id: usize) -> u16 {
        self.spec.advertised_ports.get(id).copied().unwrap_or(self.nodes[id].client_port)
    }

    /// The folder with a node's log segments.
    pub fn data_folder(&self, node: usize) -> PathBuf {
        self.nodes[node].folder.join("data")
    }

    fn java(&self, classes: Option<String>, main: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        if self.spec.as_released {
            command.args(RELEASED_HEAP).args(AS_RELEASED);
        } else {
            command.args(FAST_START);
        }
        command.args(classes);
        command.args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]);
        command.arg("-cp").arg(jars::classpath(&self.jars)).arg(main).args(arguments);
        command.current_dir(self.folder.path());
        command
    }

    fn spawn(&mut self, id: usize) -> Result<()> {
        let folder = self.nodes[id].folder.clone();
        let properties = folder.join("server.properties").to_string_lossy().into_owned();
        let mut command = self.java(self.classes.of_broker(), "kafka.Kafka", &[&properties]);
        self.nodes[id].process = Some(Process::start(&mut command, &folder.join("log.txt"))?);
        Ok(())
    }

    /// A node is ready when its own plaintext listener answers and names every node that should be alive.
    fn wait_ready(&mut self, id: usize) -> Result<()> {
        let start = Instant::now();
        let alive = self.nodes.iter().filter(|node| node.process.is_some()).count();
        let address = format!("localhost:{}", self.nodes[id].control_port);
        loop {
            if self.exited(id) {
                bail!("node {id} of Kafka {} exited; its log ends with:\n{}", self.spec.version, self.tail(id));
            }
            // A fresh client each time: bootstrap alone, no remembered connection.
            let brokers = RawClient::new(vec![address.clone()]).brokers_once();
            if brokers.is_ok_and(|brokers| brokers.len() >= alive && brokers.contains_key(&(id as i32))) {
                return Ok(());
            }
            if start.elapsed() > START_LIMIT {
                bail!("node {id} does not answer after {START_LIMIT:?}; its log ends with:\n{}", self.tail(id));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tail(&self, id: usize) -> String {
        self.nodes[id].process.as_ref().map(|process| process.log_tail(25)).unwrap_or_default()
    }

    fn start_zookeeper(&mut self) -> Result<()> {
        let folder = self.folder.path().join("zookeeper");
        fs::create_dir_all(&folder)?;
        let config = folder.join("zookeeper.properties");
        let text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=500\nmaxClientCnxns=0\nadmin.enableServer=false\n",
            folder.join("data").display(),
            self.zookeeper_port
        );
        fs::write(&config, text)?;
        let mut command = self.java(
            self.classes.of_tool(),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            &[&config.to_string_lossy()],
        );
        // Without waiting: a broker tries to connect until it can, and both JVMs start at the same time.
        self.zookeeper = Some(Process::start(&mut command, &folder.join("log.txt"))?);
        Ok(())
    }

    /// Writes every node's `server.properties`, and formats the storage when there is no ZooKeeper.
    fn configure(&self) -> Result<()> {
        let cluster_id: String = (0..22)
            .map(|index| if index == 21 { 'A' } else { ID_ALPHABET[fastrand::usize(..ID_ALPHABET.len())] as char })
            .collect();
        let mut formats = vec![];
        for node in &self.nodes {
            let config = node.folder.join("server.properties");
            let lines: Vec<String> =
                self.properties(node).into_iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            fs::write(&config, lines.concat())?;
            if self.spec.mode == Mode::KRaft {
                let config = config.to_string_lossy().into_owned();
                let mut command = self.java(
                    self.classes.of_tool(),
                    "kafka.tools.StorageTool",
                    &["format", "-t", &cluster_id, "-c", &config],
                );
                if let Some(version) = self.spec.transaction_version {
                    command.arg("--feature").arg(format!("transaction.version={version}"));
                }
                formats.push(Process::start(&mut command, &node.folder.join("format.txt"))?);
            }
        }
        for mut format in formats {
            let code = format.wait(START_LIMIT)?;
            ensure!(code == 0, "formatting failed with exit code {code}:\n{}", format.log_tail(20));
        }
        Ok(())
    }
}

/// The certificates of one cluster, in a folder.
pub fn mint(folder: &Path) -> Result<ClusterPki> {
    let authority = Authority::create(folder, "cluster authority")?;
    let server = authority.issue("server", Purpose::Server, Validity::Now)?;
    let client = authority.issue("client", Purpose::Client, Validity::Now)?;
    Ok(ClusterPki { authority, server, client })
}
