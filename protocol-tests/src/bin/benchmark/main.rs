//! `cargo run --release -p protocol-tests --bin benchmark`: kafka-bridge beside MirrorMaker 2, on real Kafka over mutual TLS.
//!
//! All copiers work in turn on the same clusters and the same records, and are compared by the medians of their runs. CPU time is the
//! figure that a busy machine disturbs least; wall time includes both brokers on the same cores.

mod batches;
mod ceiling;
mod copier;
mod copying;
mod floor;
mod latency;
mod mirror;
mod profile;
mod report;
mod requests;
mod stage;
mod start;
mod usage;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use protocol_tests::raw::Codec;

use self::copier::{Contender, Copier};
use self::copying::{WarmUp, Workload};
use self::stage::Stage;

/// Measures kafka-bridge, MirrorMaker 2 and what the brokers and TLS alone allow, side by side.
#[derive(Parser)]
struct Arguments {
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "json,avro,tiny,many,latency,idle,start,floor")]
    only: Vec<Figure>,
    /// Who is measured.
    #[arg(long, value_delimiter = ',', default_value = "bridge,checked,mirror-maker,ceiling")]
    copiers: Vec<Copier>,
    /// Of each copier; medians are compared.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Uncompressed megabytes of the workload `json`; the others take their share of it.
    #[arg(long, default_value_t = 2000)]
    megabytes: usize,
    /// Of the brokers and of MirrorMaker 2, which not every release has on Maven Central.
    #[arg(long, default_value = "4.3.1")]
    kafka: String,
    /// A folder for profiles of the bridge's copies, made with `perf`.
    #[arg(long)]
    profile: Option<PathBuf>,
    /// Further lines of `[delivery]`, `;` between them, to try what they cost. Given several times, a bridge is measured with each.
    #[arg(long, default_value = "")]
    delivery: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// JSON of 1 KB, lz4, 8 partitions.
    Json,
    /// Avro events of 200 bytes, zstd and uncompressed, plain and checked.
    Avro,
    /// Batches of one record.
    Tiny,
    /// 1,000 partitions, 50 of them busy.
    Many,
    /// 1,000 records/s.
    Latency,
    /// Nothing to copy.
    Idle,
    /// From the start of the process to the first committed record.
    Start,
    /// TLS in, check, rewrite, TLS out, and nothing else.
    Floor,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut stage = Stage::set(&arguments.kafka)?;
    let contenders = Contender::all(&arguments.copiers, &arguments.delivery);
    let wanted = |figure| arguments.only.contains(&figure);
    let warm_up = WarmUp::new()?;
    warm_up.run(&mut stage)?;
    if wanted(Figure::Floor) {
        warm_up.floor(&mut stage, arguments.rounds)?;
    }
    stage.profiles.clone_from(&arguments.profile);
    for (figure, workloads) in [
        (Figure::Json, vec![Workload::json(arguments.megabytes)]),
        (Figure::Avro, [Codec::Zstd, Codec::None].map(|it| Workload::avro(it, arguments.megabytes / 4)).into()),
        (Figure::Tiny, vec![Workload::tiny(arguments.megabytes / 10)]),
        (Figure::Many, vec![Workload::many(arguments.megabytes / 4)]),
    ] {
        for workload in workloads.iter().filter(|_| wanted(figure)) {
            copying::measure(&mut stage, workload, &contenders, arguments.rounds)?;
        }
    }
    if wanted(Figure::Start) {
        start::measure(&mut stage, &contenders, arguments.rounds)?;
    }
    if wanted(Figure::Latency) {
        latency::measure(&mut stage, &contenders, arguments.rounds)?;
    }
    if wanted(Figure::Idle) {
        latency::idle(&mut stage, &contenders)?;
    }
    Ok(())
}
