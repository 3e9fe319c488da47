//! Runs inputs: in a worker's process, watched by another, so that a death or a hang has an input too.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Arguments;
use crate::mutate::minimised;
use crate::targets::{Taken, Target, Verdict};

/// What one input may add to the process: no decoder is allowed more, and a length that is believed takes gigabytes.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Of one input of 64 KiB, on a machine that does other things too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);
/// A worker that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Between two signs of life.
const CHUNK: u64 = 500;
const SHORTENING_BYTES_MAX: usize = 16 << 10;

fn input(target: &Target, corpus: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    // The corpus itself first: it must hold.
    match usize::try_from(number).ok().and_then(|it| corpus.get(it)) {
        Some(sample) => sample.clone(),
        None => (target.mutate)(&mut fastrand::Rng::with_seed(seed.wrapping_mul(1 << 40) ^ number), corpus),
    }
}

/// Runs one input, and says why it is a failure.
fn judge(target: &Target, planted: Option<&str>, input: &[u8]) -> Verdict {
    let (begun, memory) = (Instant::now(), virtual_bytes());
    let run = || {
        if let Some(planted) = planted.filter(|_| input.len() > 20) {
            plant(planted)?;
        }
        (target.run)(input)
    };
    let verdict = catch_unwind(AssertUnwindSafe(run));
    let taken = verdict.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        Err(format!("panic: {}", message.unwrap_or_default()))
    })?;
    let (lasted, grown) = (begun.elapsed(), virtual_bytes().saturating_sub(memory));
    if grown > MEMORY_BYTES_MAX {
        return Err(format!("it took {} MiB of memory", grown >> 20));
    }
    if lasted > INPUT_TIME_MAX { Err(format!("it took {lasted:?}")) } else { Ok(taken) }
}

fn plant(what: &str) -> Result<(), String> {
    match what {
        "panic" => panic!("planted"),
        "memory" => drop(std::hint::black_box(Vec::<u8>::with_capacity(2 * MEMORY_BYTES_MAX as usize))),
        "death" => std::process::abort(),
        _ => return Err("planted".to_owned()),
    }
    Ok(())
}

/// The most that the process has had; 0 where the system does not say. Reserved memory counts: taken by a length that is
/// believed, it is never touched.
fn virtual_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    peak.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// A worker: a line for each chunk, and one for the first failure. False: it has found one.
pub(crate) fn work(target: &Target, arguments: &Arguments, from: u64) -> Result<bool> {
    // Messages of panics go into the verdict; a trace for each try of the shortening would bury it.
    std::panic::set_hook(Box::new(|_| ()));
    let corpus = (target.corpus)();
    let planted = arguments.planted.as_deref();
    let begun = Instant::now();
    let mut number = from;
    let mut taken = 0;
    while number < arguments.inputs && begun.elapsed() < Duration::from_secs(arguments.seconds) {
        if arguments.trace {
            println!("at {number}");
        }
        let bytes = input(target, &corpus, arguments.seed, number);
        let verdict = judge(target, planted, &bytes);
        taken += u64::from(verdict == Ok(Taken::Yes));
        if let Err(why) = verdict {
            let is_short = bytes.len() <= SHORTENING_BYTES_MAX && !why.starts_with("it took");
            let bytes = if is_short { minimised(&bytes, |it| judge(target, planted, it).is_err()) } else { bytes };
            let file = keep(target, arguments, &bytes)?;
            println!("failure {number} {} {}", file.display(), why.replace('\n', " "));
            return Ok(false);
        }
        number += 1;
        if number.is_multiple_of(CHUNK) {
            println!("done {number}");
        }
    }
    println!("taken {taken}");
    println!("done {number}");
    Ok(true)
}

fn keep(target: &Target, arguments: &Arguments, bytes: &[u8]) -> Result<PathBuf> {
    let folder = match arguments.planted {
        Some(_) => std::env::temp_dir().join("kafka-bridge-planted"),
        None => folder().join(target.name),
    };
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{:08x}", crc32c::crc32c(bytes)));
    fs::write(&file, bytes)?;
    Ok(file)
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions/fuzz")
}

/// What a worker has said.
struct End {
    /// The number of its last input, or of the next.
    last: u64,
    taken: u64,
    failure: Option<String>,
    /// All its inputs hold. Neither this nor a failure: it has died, or hangs.
    is_well: bool,
}

/// A worker and what it says.
struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(target: &Target, arguments: &Arguments, from: u64, is_traced: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--target", target.name, "--worker", &from.to_string(), "--seed", &arguments.seed.to_string()]);
        command.args(["--seconds", &arguments.seconds.to_string(), "--inputs", &arguments.inputs.to_string()]);
        command.args(is_traced.then_some("--trace"));
        command.args(arguments.planted.iter().flat_map(|it| ["--planted", it]));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn watch(mut self) -> Result<End> {
        let mut end = End { last: 0, taken: 0, failure: None, is_well: false };
        while let Ok(line) = self.lines.recv_timeout(SILENCE_MAX) {
            match line.split_once(' ') {
                Some(("done" | "at", number)) => end.last = number.parse()?,
                Some(("taken", number)) => end.taken = number.parse()?,
                Some(("failure", rest)) => end.failure = Some(rest.to_owned()),
                _ => bail!("a worker says {line:?}"),
            }
        }
        let has_ended = self.child.try_wait()?.is_some() || {
            std::thread::sleep(Duration::from_millis(100));
            self.child.try_wait()?.is_some()
        };
        if !has_ended {
            self.child.kill()?;
        }
        let code = self.child.wait()?.code();
        end.is_well = has_ended && code == Some(0);
        Ok(end)
    }
}

/// False: there was a failure, which is told.
pub(crate) fn supervise(target: &Target, arguments: &Arguments) -> Result<bool> {
    let begun = Instant::now();
    let end = Worker::start(target, arguments, 0, false)?.watch()?;
    if end.is_well {
        let (last, seconds) = (end.last, begun.elapsed().as_secs_f64());
        let percent = 100 * end.taken / last.max(1);
        println!("{}: {last} inputs hold, {percent} % taken, {seconds:.1} s, seed {}", target.name, arguments.seed);
        return Ok(true);
    }
    let told = match end.failure {
        Some(failure) => failure,
        None => {
            // It could not say which input it was; the same ones again, and each said before.
            let number = Worker::start(target, arguments, end.last, true)?.watch()?.last;
            let bytes = input(target, &(target.corpus)(), arguments.seed, number);
            format!("{number} {} it ends the process, or hangs", keep(target, arguments, &bytes)?.display())
        }
    };
    println!("{}: seed {}, input {told}", target.name, arguments.seed);
    Ok(false)
}

pub(crate) fn file(target: &Target, arguments: &Arguments, file: &Path) -> Result<bool> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match judge(target, arguments.planted.as_deref(), &bytes) {
        Ok(_) => Ok(true),
        Err(why) => {
            println!("{}: {}: {why}", target.name, file.display());
            Ok(false)
        }
    }
}
