//! The whole product in one process: two in-process demo clusters and a schema registry behind mutual TLS, a producer of whose
//! events some are none, the bridge, and a checking consumer of both ends and of the dead letters, with or without faults. Ends
//! with a verdict.

mod chaos;
mod checker;
mod events;
mod letters;
mod pki;
mod producer;
pub mod registry;
mod screen;
mod verdict;
mod watch;
mod zone;

use crate::avro::SchemaError;
use crate::batch::Compression;
use crate::bridge::{self, Ends, RunError, Summary, Watcher};
use crate::broker::Settings;
use crate::cluster::ClusterError;
use crate::config::{Config, ConfigError, HostPort};
use crate::monitor::{Monitor, Server, ServerError};
use crate::positions::PositionsError;
use crate::produce::{self, RegisterError};
use crate::types::TopicPartition;
use crate::undelivered::UndeliveredError;
use chaos::{BRIDGE_CLIENT_ID, Chaos, Faults};
use events::Maker;
use letters::Letters;
use producer::{Producer, Quota};
use registry::RegistryServer;
use screen::{Screen, View};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch as channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
pub use verdict::Verdict;
use watch::Watch;
use zone::Zone;

const PARTITIONS: usize = 3;
/// The dead letters' topic has a partition for each.
const LANES: i32 = 8;
/// One topic for each codec.
const TOPICS: [(&str, Compression); 5] = [
    ("orders", Compression::Lz4),
    ("payments", Compression::Zstd),
    ("shipments", Compression::Snappy),
    ("clicks", Compression::Gzip),
    ("searches", Compression::None),
];
/// Records per second without `records`: enough to see it flow.
const RATE: f64 = 2_000.0;
/// With faults: slow enough that many of them meet the copy at work.
const CHAOS_RATE: f64 = 8_000.0;
/// After the last record and the last fault: longer than any back-off, time-out and transaction time-out together.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
/// A bridge that ends by itself is started again, as a service manager would; more often it is no accident.
const FAILURES_MAX: usize = 5;

#[derive(Clone, Debug)]
pub struct Options {
    /// None: until `stop`.
    pub records: Option<u64>,
    pub chaos: bool,
    /// Of what is produced and what goes wrong; when it happens is the machine's.
    pub seed: u64,
    /// Where the bridge's console is served, with contents of records.
    pub console: Option<HostPort>,
    /// Somebody looks on when the verdict is told: until then the bridge works on.
    pub hold: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Verifier(#[from] tokio_rustls::rustls::server::VerifierBuilderError),
    #[error("the demo's folder or ports: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the demo's schemas: {0}")]
    Register(#[from] RegisterError),
    #[error("the demo's schemas: {0}")]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Positions(#[from] PositionsError),
    #[error(transparent)]
    Undelivered(#[from] UndeliveredError),
    #[error(transparent)]
    Console(#[from] ServerError),
}

/// What the bridge did, over all its lives.
#[derive(Default)]
struct Life {
    starts: u64,
    /// Of lives that have ended, and of the one that runs.
    past: (u64, u64),
    now: (u64, u64),
    failed: usize,
    /// Each once.
    failures: Vec<String>,
}

impl Life {
    fn ended(&mut self) {
        self.past = self.transactions();
        self.now = (0, 0);
    }

    /// Committed and aborted.
    fn transactions(&self) -> (u64, u64) {
        (self.past.0 + self.now.0, self.past.1 + self.now.1)
    }
}

#[derive(Clone, Default)]
struct Lives(Arc<Mutex<Life>>);

impl Lives {
    fn with(&self) -> MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Lives {
    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn tell(&mut self, summary: &Summary) {
        self.with().now = (summary.transactions, summary.aborted);
    }
}

/// `folder`: for the certificates that a config has to name; its owner removes it. `told`: is shown the verdict while everything
/// still runs, and is waited for.
pub async fn run(
    options: &Options,
    folder: &Path,
    stop: impl Future<Output = ()>,
    told: impl AsyncFnOnce(&Verdict),
) -> Result<Verdict, DemoError> {
    let began = Instant::now();
    let (source, target) = zones(options.seed, folder).await?;
    let registry = Arc::new(source.registry().await?);
    let console = options.console.as_ref();
    let config = |file, client_id, console: Option<&HostPort>| {
        self::config(&folder.join(file), client_id, (&source, &target, &registry), console)
    };
    let (config, our_config) = (config("bridge.toml", BRIDGE_CLIENT_ID, console)?, config("demo.toml", "demo", None)?);
    let ends = Ends::new(&our_config)?;
    // One for all lives of the bridge: whoever looks sees it die and come back.
    let monitor = Monitor::new(&config);
    let _server = Server::start(&config, monitor.clone(), ends.clone()).await?;
    create_topics(&source);
    ends.connect().await?;
    let producers = producers(options.seed, &ends).await?;

    let (lives, kill_bridge, faults) = (Lives::default(), Arc::new(Notify::new()), Faults::default());
    let (stop_producing, producing) = channel::channel(false);
    let (stop_chaos, chaos_stopped) = channel::channel(false);
    let (stop_bridge, bridge_stopped) = channel::channel(false);
    let mut bridge = tokio::spawn(keep_alive(config, monitor, lives.clone(), Arc::clone(&kill_bridge), bridge_stopped));
    let of_topic = |topic: &str, count| (0..count).map(|it| TopicPartition::new(topic, it)).collect::<Vec<_>>();
    let partitions = TOPICS.iter().flat_map(|(topic, _)| of_topic(topic, PARTITIONS as i32));
    let dead_letters = of_topic(&our_config.dead_letter_topic(), LANES);
    let watch = Watch::start(&ends.source, &ends.target, partitions.collect(), dead_letters);
    let producers = produce(options, producers, &producing);
    let mut chaos = JoinSet::new();
    if options.chaos {
        let zones = [Arc::clone(&source), Arc::clone(&target)];
        let random = fastrand::Rng::with_seed(options.seed);
        let topics = TOPICS.map(|(topic, _)| (topic, PARTITIONS)).to_vec();
        let registry = Arc::clone(&registry);
        let made = Chaos { zones, registry, topics, kill_bridge, faults: faults.clone(), random };
        chaos.spawn(made.run(chaos_stopped));
    }
    let mut screen = Screen::new();
    let shown = async {
        loop {
            screen.show(&view(began, &watch, &lives, &faults));
            tokio::time::sleep(screen.interval()).await;
        }
    };
    let work = async {
        let mut producers = producers;
        tokio::select! {
            () = stop => {}
            () = async { while producers.join_next().await.is_some() {} } => {}
        }
        // Nobody listens where all have ended by themselves.
        let _ = stop_producing.send(true);
        while producers.join_next().await.is_some() {}
        let _ = stop_chaos.send(true);
        while chaos.join_next().await.is_some() {}
        tokio::select! {
            () = catch_up(&watch) => {}
            // Without a bridge nothing comes any more.
            _ = &mut bridge => {}
        }
        if !options.hold {
            end(&stop_bridge, &mut bridge).await;
        }
        read_out(&watch).await;
    };
    tokio::select! {
        _ = shown => {}
        () = work => {}
    }
    screen.show(&view(began, &watch, &lives, &faults));
    let letters = Letters::read(&our_config).await.map_err(|error| error.to_string());
    let ((transactions, aborted), failures) = {
        let life = lives.with();
        (life.transactions(), life.failures.clone())
    };
    let mut verdict = Verdict {
        partitions: watch.finish(),
        letters,
        faults: faults.all(),
        transactions,
        aborted,
        failures,
        seed: options.seed,
        elapsed: began.elapsed(),
    };
    told(&verdict).await;
    end(&stop_bridge, &mut bridge).await;
    verdict.failures.clone_from(&lives.with().failures);
    Ok(verdict)
}

async fn end(stop: &channel::Sender<bool>, bridge: &mut JoinHandle<()>) {
    // It may have ended by itself.
    let _ = stop.send(true);
    if !bridge.is_finished() {
        // It was never aborted, and what it panicked with was printed.
        let _ = bridge.await;
    }
}

fn view(began: Instant, watch: &Watch, lives: &Lives, faults: &Faults) -> View {
    let life = lives.with();
    let (transactions, aborted) = life.transactions();
    View {
        elapsed: began.elapsed(),
        counts: watch.counts(),
        behind: watch.behind(),
        transactions,
        aborted,
        bridge_starts: life.starts,
        faults: faults.all(),
    }
}

/// The source looks like a 3.9 broker, the target has transaction protocol v2.
async fn zones(seed: u64, folder: &Path) -> Result<(Arc<Zone>, Arc<Zone>), DemoError> {
    let settings = |name: &str, seed| {
        let topic_defaults = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
        let cluster_id = format!("in-process-demo-{name}");
        Settings { cluster_id, seed, topic_defaults, ..Settings::nodes(zone::NODES) }
    };
    let source = Zone::start("source", settings("source", seed).like_3_9(), folder).await?;
    let target = Zone::start("target", settings("target", !seed), folder).await?;
    Ok((Arc::new(source), Arc::new(target)))
}

fn config(
    file: &Path,
    client_id: &str,
    (source, target, registry): (&Zone, &Zone, &RegistryServer),
    console: Option<&HostPort>,
) -> Result<Config, DemoError> {
    let checked = |topics: &[&str], more: &str| {
        format!("[[topics]]\ninclude = {topics:?}\nvalue_schema = \"registry:{{topic}}-value\"\n{more}\n")
    };
    let rule = format!("rules = [{{ field = \"currency\", one_of = {:?} }}]\n", events::CURRENCIES);
    let (paid, others): (Vec<_>, Vec<_>) = events::CHECKED.iter().partition(|it| events::PAID.contains(it));
    let mut text = format!(
        "link = \"demo\"\n\n{}{}{}{}[[topics]]\ninclude = [\"*\"]\n\n[delivery]\nlanes = {LANES}\nrequest_timeout_ms = 2000\n",
        source.tables("source", client_id, Some(registry)),
        target.tables("target", client_id, None),
        checked(&paid, &rule),
        checked(&others, ""),
    );
    if let Some(listen) = console {
        text += &format!("\n[console]\nlisten = \"{listen}\"\nrecords = true\n");
    }
    std::fs::write(file, text)?;
    Ok(Config::load(file)?)
}

fn create_topics(source: &Zone) {
    for (topic, compression) in TOPICS {
        source.server.with(|cluster, _| {
            let configs =
                [("compression.type", if compression == Compression::None { "uncompressed" } else { "producer" })];
            // Names and counts are constants that a new cluster takes.
            let _ = cluster.create_topic(topic, PARTITIONS as i32, zone::NODES as i16, &configs);
        });
    }
}

/// One for each topic, its schema in the registry.
async fn producers(seed: u64, ends: &Ends) -> Result<Vec<Producer>, DemoError> {
    let mut producers = Vec::new();
    for (index, (topic, compression)) in TOPICS.into_iter().enumerate() {
        let id = match (events::schema(topic), &ends.schemas.source) {
            (Some(text), Some(registry)) => Some(produce::register(registry, &format!("{topic}-value"), &text).await?),
            _ => None,
        };
        let (maker, seed) = (Maker::new(topic, id)?, seed.wrapping_add(index as u64));
        producers.push(Producer::new(ends.source.clone(), topic, maker, compression, PARTITIONS, seed));
    }
    Ok(producers)
}

fn produce(options: &Options, all: Vec<Producer>, producing: &channel::Receiver<bool>) -> JoinSet<()> {
    let quota = Arc::new(Quota::new(options.records));
    let rate = match options {
        Options { chaos: true, .. } => Some(CHAOS_RATE),
        Options { records: None, .. } => Some(RATE),
        _ => None,
    };
    let rate = rate.map(|rate| rate / TOPICS.len() as f64);
    let mut running = JoinSet::new();
    for producer in all {
        running.spawn(producer.run(Arc::clone(&quota), rate, producing.clone()));
    }
    running
}

/// Runs the bridge until `stop`, and again whenever it is killed. A kill drops it where it stands: nothing is finished.
async fn keep_alive(config: Config, monitor: Monitor, lives: Lives, kill: Arc<Notify>, stop: channel::Receiver<bool>) {
    loop {
        lives.with().starts += 1;
        let (mut stop, mut watcher) = (stop.clone(), monitor.beside(lives.clone()));
        let stopped = async {
            // The sender lives as long as the demo.
            let _ = stop.wait_for(|it| *it).await;
        };
        let ended = tokio::select! {
            ended = async { bridge::run(&config, Ends::new(&config)?, &mut watcher, stopped).await } => Some(ended),
            () = kill.notified() => None,
        };
        let mut life = lives.with();
        match ended {
            Some(Ok(summary)) => {
                life.now = (summary.transactions, summary.aborted);
                if !summary.is_well() {
                    life.failures.push(summary.to_string());
                }
                return;
            }
            Some(Err(error)) => {
                life.ended();
                let told = error.to_string();
                life.failed += 1;
                if !life.failures.contains(&told) {
                    life.failures.push(told);
                }
                if life.failed >= FAILURES_MAX {
                    return;
                }
            }
            None => life.ended(),
        }
    }
}

/// Until the target has all that the source has, or time is up: then the verdict names what is missing.
async fn catch_up(watch: &Watch) {
    let complete = async {
        while !watch.is_complete().await.unwrap_or(false) {
            tokio::time::sleep(POLL).await;
        }
    };
    // The verdict says what the wait came to.
    let _ = tokio::time::timeout(CATCH_UP_LIMIT, complete).await;
}

/// The rest of the target, for whatever should not be there.
async fn read_out(watch: &Watch) {
    let read = async {
        while !watch.is_target_read().await.unwrap_or(false) {
            tokio::time::sleep(POLL).await;
        }
    };
    let _ = tokio::time::timeout(CATCH_UP_LIMIT, read).await;
}
