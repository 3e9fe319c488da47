//! A first look: two real clusters, a filled source, the bridge between them, and the comparison afterwards.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use protocol_tests::bridge::{self, Bridge};
use protocol_tests::jars;
use protocol_tests::java::Tools;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::ledger::{self, Ledger};
use protocol_tests::pair::{Pair, differences};
use protocol_tests::workload::{Workload, Written};

const USAGE: &str = "\
Starts two real Kafka clusters with mutual TLS (a CA of its own on each side), fills one, copies its topics to the other
with kafka-bridge, and compares the two record by record. Needs Java 17, and Maven for the jars the first time.

Usage: cargo run -p protocol-tests --bin two-clusters [-- OPTIONS]

  --keep     leave everything running until Ctrl-C, and say what to try
  --short    with less data
  --help     this text

Exit codes: 0 the copy is equal; 1 it is not, or something failed; 2 wrong usage; 69 Java or Maven is missing.";

const SOURCE: &str = "3.9.2";
const TARGET: &str = "4.4.0";
/// The newest release whose command line tools are complete on Maven Central.
const TOOLS: &str = "4.3.1";
const LINK: &str = "orders-dmz";
const PREFIX: &str = "orders";
const SEED: u64 = 1;
const BATCHES: usize = 100;
const BATCHES_SHORT: usize = 5;
/// A copy takes seconds; on a machine that is busy with other things, minutes.
const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(500);
const EX_UNAVAILABLE: u8 = 69;

#[derive(Clone, Copy, Default)]
struct Options {
    keep: bool,
    short: bool,
}

fn main() -> ExitCode {
    let mut options = Options::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => options.keep = true,
            "--short" => options.short = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("two-clusters: unknown option {other}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if let Err(reason) = jars::available(&[SOURCE, TARGET]) {
        eprintln!("two-clusters: {reason}.\nOn Debian or Ubuntu: apt-get install openjdk-17-jre-headless maven");
        return ExitCode::from(EX_UNAVAILABLE);
    }
    match interrupts().and_then(|interrupted| run(options, &interrupted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two-clusters: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options, interrupted: &AtomicBool) -> Result<()> {
    println!("1  Building kafka-bridge, and starting two clusters (Maven fetches their jars the first time)");
    bridge::binary()?;
    let pair = Pair::start(Spec::zookeeper(SOURCE).with_tls(), Spec::kraft(TARGET).with_tls())?;
    println!("   source: Kafka {SOURCE} with ZooKeeper at {}", pair.source.bootstrap().join(", "));
    println!("   target: Kafka {TARGET} with KRaft at {}", pair.target.bootstrap().join(", "));
    ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");

    println!(
        "2  Filling the source: every codec, plain, idempotent and transactional producers, one transaction in five aborted"
    );
    let batches_per_partition = if options.short { BATCHES_SHORT } else { BATCHES };
    let workload = Workload { batches_per_partition, compacted: false, ..Workload::new(SEED, PREFIX) };
    let written = workload.write(&mut pair.source.client())?;
    println!("   {} records, and {} aborted ones", written.visible_records, written.aborted_records);

    let config = pair.config(LINK, &[&format!("{PREFIX}-*")]).write(pair.folder(), "bridge")?;
    let binary = bridge::binary()?;
    println!("3  {} run --config {}", binary.display(), config.display());
    let start = Instant::now();
    let mut bridge = Bridge::run(&config)?;
    follow(&pair, &mut bridge, &written, interrupted)?;
    println!("   copied after {:.1} s, the bridge's own start included", start.elapsed().as_secs_f64());

    println!("4  Comparing record by record");
    let partitions = compare(&pair, &written)?;
    println!(
        "\nEQUAL: {} records in {partitions} partitions of {} topics are the same at both ends: partition, order, key, value,\n\
         headers and timestamp; nothing is lost, doubled or left over of an aborted transaction.\n",
        written.visible_records,
        written.topics.len()
    );
    look_around(&pair, &config, options.keep)?;
    while options.keep && !interrupted.load(Ordering::Relaxed) {
        if let Some(code) = bridge.process().exit_code()? {
            bail!("the bridge has ended with exit code {code}:\n{}", bridge.process().log_tail(20));
        }
        std::thread::sleep(POLL);
    }
    let code = bridge.terminate(LIMIT)?;
    ensure!(code == 0, "the bridge ended with exit code {code}:\n{}", bridge.process().log_tail(20));
    println!("The bridge finished what was open and ended with exit code 0; both clusters are stopped and removed.");
    Ok(())
}

/// Shows how many records the ledger counts, until it is all of them.
fn follow(pair: &Pair, bridge: &mut Bridge, written: &Written, interrupted: &AtomicBool) -> Result<()> {
    let mut client = pair.target.client();
    let is_terminal = std::io::stdout().is_terminal();
    let (start, mut told) = (Instant::now(), None);
    let topic = ledger::topic(LINK);
    loop {
        if let Some(code) = bridge.process().exit_code()? {
            bail!("the bridge has ended with exit code {code}:\n{}", bridge.process().log_tail(20));
        }
        let is_there = client.topic_id(&topic)?.is_some();
        let ledger = if is_there { Ledger::read(&mut client, LINK)? } else { Ledger::default() };
        let copied = ledger.positions.values().map(|position| position.records).sum::<u64>();
        if told != Some(copied) {
            let before = if is_terminal { "\r" } else { "" };
            let behind = if is_terminal { "" } else { "\n" };
            print!("{before}   {copied} of {} records{behind}", written.visible_records);
            std::io::stdout().flush()?;
            told = Some(copied);
        }
        if copied >= written.visible_records as u64 {
            println!("{}", if is_terminal { "" } else { "   that is all" });
            return Ok(());
        }
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        ensure!(start.elapsed() < LIMIT, "not copied after {LIMIT:?}:\n{}", bridge.process().log_tail(20));
        std::thread::sleep(POLL);
    }
}

/// The number of partitions that were compared.
fn compare(pair: &Pair, written: &Written) -> Result<i32> {
    let (mut source, mut target) = (pair.source.client(), pair.target.client());
    let found = differences(&mut source, &mut target, &written.topics)?;
    if let Some(first) = found.first() {
        bail!("DIFFERENT: {} records differ, the first: {first}", found.len());
    }
    written.topics.iter().map(|topic| target.partition_count(topic)).sum()
}

fn look_around(pair: &Pair, config: &std::path::Path, keep: bool) -> Result<()> {
    let end = |name: &str, cluster: &KafkaCluster| {
        let ca = cluster.pki().map(|pki| pki.authority.ca_file().display().to_string()).unwrap_or_default();
        println!("{name}  {} (mutual TLS, CA {ca})", cluster.bootstrap().join(", "));
        println!("        {} (plaintext, to try things out)", cluster.plaintext_bootstrap().join(", "));
    };
    end("source", &pair.source);
    end("target", &pair.target);
    println!("config  {}\nlog     {}\n", config.display(), config.with_extension("log").display());
    if !keep {
        println!("To look around while everything runs: cargo run -p protocol-tests --bin two-clusters -- --keep\n");
        return Ok(());
    }
    let tools = Tools::new(TOOLS)?;
    let (source, target) = (pair.source.plaintext_bootstrap().join(","), pair.target.plaintext_bootstrap().join(","));
    println!("Try in other terminals:");
    println!("- see what the bridge finds\n  {} check --config {}\n", bridge::binary()?.display(), config.display());
    println!(
        "- write to the source, a line a record\n  {} --bootstrap-server {source} --topic {PREFIX}-zstd\n",
        tools.producer_command()
    );
    let consumer = tools.consumer_command();
    let committed = "--from-beginning --isolation-level read_committed";
    println!("- read the copy\n  {consumer} --bootstrap-server {target} --topic {PREFIX}-zstd {committed}\n");
    println!(
        "- see where the link stands: a position for every partition\n  {consumer} --bootstrap-server {target} --topic \
         {LINK}.ledger {committed} --formatter-property print.key=true\n"
    );
    println!("- see its group\n  {} --bootstrap-server {target} --describe --group {LINK}\n", tools.groups_command());
    println!("Ctrl-C ends the bridge in good order, and both clusters.");
    Ok(())
}

/// Set by Ctrl-C or SIGTERM; the second of them ends at once. Brokers and bridge are in process groups of their own, so that
/// the signal does not reach them, and die with this process.
fn interrupts() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let waiting = std::thread::Builder::new().spawn(move || {
        runtime.block_on(async {
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(1);
                }
            }
        });
    });
    waiting.map_err(|error| anyhow!(error))?;
    Ok(interrupted)
}
