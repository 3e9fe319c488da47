//! How fast a topic is copied, and what that costs copier and brokers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use protocol_tests::orders;
use protocol_tests::raw::{Codec, RawClient};
use protocol_tests::registry::Registry;

use crate::batches::Batches;
use crate::ceiling;
use crate::copier::{Contender, Copier};
use crate::floor::Floor;
use crate::mirror;
use crate::profile::Profile;
use crate::report::{self, Cost};
use crate::stage::{LIMIT, POLL, Stage, committed, create, median};
use crate::usage::{cpu_seconds, peak_mebibytes};

/// Markers count as offsets too, so a sum of offsets says that the end is near, and this that it is reached.
const QUIET: Duration = Duration::from_secs(2);
/// A producer's request, while the source is filled.
const FILL_BYTES: usize = 800_000;

/// Brokers are warm when a copy costs them no less than another before it, but for so much.
const STILL_WARMING: f64 = 0.95;
const WARM_UP_COPIES_MAX: usize = 10;
const WARM_UP_MEGABYTES: usize = 2000;
/// Of a copy that takes several seconds.
const UNTIL_BUSY: Duration = Duration::from_secs(1);

pub(crate) struct Workload {
    name: &'static str,
    what: &'static str,
    topic: &'static str,
    partitions: i32,
    /// Of these.
    busy: i32,
    codec: Codec,
    kind: Kind,
    megabytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json { records: usize },
    Avro,
}

impl Workload {
    pub(crate) fn json(megabytes: usize) -> Workload {
        Workload {
            name: "json",
            what: "JSON records of 1 KB, lz4",
            topic: "json",
            partitions: 8,
            busy: 8,
            codec: Codec::Lz4,
            kind: Kind::Json { records: 64 },
            megabytes,
        }
    }

    pub(crate) fn avro(codec: Codec, megabytes: usize) -> Workload {
        let (name, what) = match codec {
            Codec::None => ("avro-none", "Avro events of 200 bytes, uncompressed"),
            _ => ("avro-zstd", "Avro events of 200 bytes, zstd"),
        };
        Workload { name, what, topic: name, codec, kind: Kind::Avro, ..Workload::json(megabytes) }
    }

    pub(crate) fn tiny(megabytes: usize) -> Workload {
        let what = "JSON records of 1 KB, uncompressed, one in each batch";
        let kind = Kind::Json { records: 1 };
        Workload { name: "tiny", what, topic: "tiny", codec: Codec::None, kind, megabytes, ..Workload::json(0) }
    }

    pub(crate) fn many(megabytes: usize) -> Workload {
        let what = "JSON records of 1 KB, lz4, in 50 of 1,000 partitions";
        let json = Workload::json(megabytes);
        Workload { name: "many", what, topic: "many", partitions: 1000, busy: 50, ..json }
    }

    fn is_for(&self, copier: Copier) -> bool {
        copier != Copier::Checked || self.kind == Kind::Avro
    }

    /// With the registry that knows their schema.
    fn batches(&self, registry: &Registry) -> Result<Batches> {
        match self.kind {
            Kind::Json { records } => Batches::json(self.codec, records),
            Kind::Avro => {
                let id = registry.register(&format!("{}-value", self.topic), orders::SCHEMA)?;
                Batches::avro(self.codec, 400, id)
            }
        }
    }
}

pub(crate) fn measure(stage: &mut Stage, workload: &Workload, contenders: &[Contender], rounds: usize) -> Result<()> {
    let registry = Registry::plaintext()?;
    let batches = workload.batches(&registry)?;
    let load = Load::of(workload, &batches, &registry);
    load.fill(&mut stage.pair.source.client())?;
    println!(
        "\n{}: {}; {} partitions, {} MB uncompressed in batches of {:.1} KB ({:.1} KB on the wire)",
        workload.name,
        workload.what,
        workload.partitions,
        load.count * batches.plain_bytes / 1_000_000,
        batches.plain_bytes as f64 / 1e3,
        batches.wire_bytes() as f64 / 1e3
    );
    if contenders.iter().any(|it| it.copier == Copier::MirrorMaker) && workload.name == "json" {
        let settings: Vec<_> = mirror::SETTINGS.iter().map(|(key, value)| format!("{key}={value}")).collect();
        println!("  MirrorMaker 2: {}", settings.join(", "));
    }
    let mut costs = Vec::new();
    for _ in 0..rounds {
        // In turn: what the machine does meanwhile meets all of them.
        for contender in contenders.iter().filter(|it| workload.is_for(it.copier)) {
            let cost = match contender.copier {
                Copier::Ceiling => load.ceiling(stage, contender)?,
                _ => load.copy(stage, contender)?,
            };
            println!("  {cost}");
            costs.push(cost);
        }
    }
    report::compare(&costs)
}

/// Copies that nobody counts. A JVM compiles what it runs most for a minute: without them whoever comes later is measured on faster
/// brokers.
pub(crate) struct WarmUp {
    workload: Workload,
    batches: Batches,
    registry: Registry,
}

impl WarmUp {
    pub(crate) fn new() -> Result<WarmUp> {
        let workload = Workload { topic: "warm-up", ..Workload::json(WARM_UP_MEGABYTES) };
        let registry = Registry::plaintext()?;
        Ok(WarmUp { batches: workload.batches(&registry)?, workload, registry })
    }

    fn load(&self) -> Load<'_> {
        Load::of(&self.workload, &self.batches, &self.registry)
    }

    pub(crate) fn run(&self, stage: &mut Stage) -> Result<()> {
        let load = self.load();
        load.fill(&mut stage.pair.source.client())?;
        let (mut least, mut copies, mut is_warm) = (f64::INFINITY, 0, false);
        while !is_warm && copies < WARM_UP_COPIES_MAX {
            let ceiling = load.ceiling(stage, &Contender::plain(Copier::Ceiling))?;
            let bridge = load.copy(stage, &Contender::plain(Copier::Bridge))?;
            let cost = ceiling.cpu_seconds_of_brokers() + bridge.cpu_seconds_of_brokers();
            copies += 2;
            is_warm = cost > STILL_WARMING * least;
            least = least.min(cost);
        }
        let how = if is_warm { "are warm" } else { "still get faster" };
        println!("both brokers {how} after {copies} copies of {WARM_UP_MEGABYTES} MB that nobody counts");
        Ok(())
    }

    /// The floor alone, and while both brokers are as busy as in a copy: cores that share their caches and their clock do less then.
    pub(crate) fn floor(&self, stage: &mut Stage, rounds: usize) -> Result<()> {
        println!("\nfloor: TLS in, checksum, header, TLS out on one thread, the batches of json");
        let floor = Floor::of(&self.batches)?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(floor.run()?);
            beside.push(std::thread::scope(|scope| {
                let floor = scope.spawn(|| {
                    std::thread::sleep(UNTIL_BUSY);
                    floor.run()
                });
                self.load().ceiling(stage, &Contender::plain(Copier::Ceiling))?;
                ensure!(floor.is_finished(), "the brokers were not busy until the end");
                floor.join().map_err(|_| anyhow!("the floor panicked"))?
            })?);
        }
        println!("  {:.3} CPU-s/GB alone, {:.3} beside busy brokers", median(alone)?, median(beside)?);
        Ok(())
    }
}

struct Load<'a> {
    workload: &'a Workload,
    batches: &'a Batches,
    count: usize,
    registry: &'a Registry,
}

impl<'a> Load<'a> {
    fn of(workload: &'a Workload, batches: &'a Batches, registry: &'a Registry) -> Load<'a> {
        let count = (workload.megabytes * 1_000_000).div_ceil(batches.plain_bytes);
        Load { workload, batches, count, registry }
    }

    fn records(&self) -> i64 {
        (self.count * self.batches.records) as i64
    }

    fn gigabytes(&self) -> f64 {
        (self.count * self.batches.plain_bytes) as f64 / 1e9
    }

    fn fill(&self, source: &mut RawClient) -> Result<()> {
        let Workload { topic, partitions, busy, .. } = self.workload;
        if source.topic_names()?.iter().any(|name| name == topic) {
            return Ok(());
        }
        create(source, topic, *partitions)?;
        ceiling::fill(source, topic, *busy, self.batches, self.count, FILL_BYTES)
    }

    fn copy(&self, stage: &mut Stage, contender: &Contender) -> Result<Cost> {
        let copier = contender.copier;
        let Workload { topic, partitions, .. } = self.workload;
        let run = stage.name_of_run(copier.name());
        let into = copier.into(&run, topic);
        let mut target = stage.pair.target.client();
        let requests = stage.requests()?;
        let start = Instant::now();
        let mut working = contender.begin(stage, &run, topic, Some(self.registry))?;
        let id = working.id();
        let folder = stage.profiles.as_ref().filter(|_| copier.is_bridge());
        let profile = folder.map(|folder| Profile::of(id, folder, &into)).transpose()?;
        // Since the first committed record: the start is a figure of its own.
        let mut first = None;
        let mut last = (0, Instant::now(), 0.0, [0.0; 2]);
        while last.0 < self.records() || last.1.elapsed() < QUIET {
            working.is_alive()?;
            ensure!(start.elapsed() < LIMIT, "{} of {} after {LIMIT:?}:\n{}", last.0, self.records(), working.log());
            let now = committed(&mut target, &into, *partitions)?;
            if now != last.0 {
                last = (now, Instant::now(), cpu_seconds(id)?, stage.brokers()?);
                first.get_or_insert(last);
            }
            std::thread::sleep(POLL);
        }
        let first = first.context("nothing was copied")?;
        let peak_mebibytes = peak_mebibytes(id)?;
        let log = working.end()?;
        profile.map_or(Ok(()), Profile::end)?;
        let requests = stage.requests()?.since(requests);
        // One after the other they would fill the disk.
        target.delete_topic(&into)?;
        if copier != Copier::MirrorMaker {
            ensure!(log.contains(&format!("copied {} records", self.records())), "not everything was copied:\n{log}");
            ensure!(!log.contains("dead letters:"), "not everything passed:\n{log}");
        }
        let gigabytes = self.gigabytes() * (last.0 - first.0) as f64 / last.0 as f64;
        Ok(Cost {
            contender: contender.clone(),
            first_ms: (first.1 - start).as_secs_f64() * 1e3,
            megabytes_per_second: gigabytes * 1e3 / (last.1 - first.1).as_secs_f64(),
            records_per_cpu_second: (last.0 - first.0) as f64 / (last.2 - first.2),
            cpu_seconds: (last.2 - first.2) / gigabytes,
            cpu_seconds_of_source: (last.3[0] - first.3[0]) / gigabytes,
            cpu_seconds_of_target: (last.3[1] - first.3[1]) / gigabytes,
            peak_mebibytes,
            fetches_per_megabyte: requests.fetch as f64 / (1e3 * self.gigabytes()),
            produces_per_megabyte: requests.produce as f64 / (1e3 * self.gigabytes()),
            transactions_per_second: requests.end_txn as f64 / (last.1 - first.1).as_secs_f64(),
            summary: log.lines().find(|line| line.contains("copied ")).map(str::to_owned),
        })
    }

    fn ceiling(&self, stage: &mut Stage, contender: &Contender) -> Result<Cost> {
        let Workload { topic, partitions, busy, .. } = self.workload;
        let run = stage.name_of_run("ceiling");
        create(&mut stage.pair.target.client(), &run, *partitions)?;
        let (before, requests) = (stage.brokers()?, stage.requests()?);
        let took = ceiling::run(stage, topic, &run, *busy, self.batches, self.count)?;
        let (after, requests) = (stage.brokers()?, stage.requests()?.since(requests));
        stage.pair.target.client().delete_topic(&run)?;
        let gigabytes = self.gigabytes();
        Ok(Cost {
            contender: contender.clone(),
            first_ms: f64::NAN,
            megabytes_per_second: gigabytes * 1e3 / took.as_secs_f64(),
            records_per_cpu_second: f64::NAN,
            cpu_seconds: f64::NAN,
            cpu_seconds_of_source: (after[0] - before[0]) / gigabytes,
            cpu_seconds_of_target: (after[1] - before[1]) / gigabytes,
            peak_mebibytes: f64::NAN,
            fetches_per_megabyte: requests.fetch as f64 / (1e3 * self.gigabytes()),
            produces_per_megabyte: requests.produce as f64 / (1e3 * self.gigabytes()),
            transactions_per_second: f64::NAN,
            summary: None,
        })
    }
}
