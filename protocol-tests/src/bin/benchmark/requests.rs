//! How many requests the brokers have had, by their own count: it is the same for all copiers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

const PROGRAM: &str = include_str!("Requests.java");

/// Asks all brokers by JMX. A virtual machine of its own, which sleeps while nobody asks.
pub(crate) struct Requests {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Of both ends, since the brokers began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) fetch: u64,
    pub(crate) produce: u64,
    pub(crate) end_txn: u64,
}

impl Counted {
    pub(crate) fn since(self, before: Counted) -> Counted {
        Counted {
            fetch: self.fetch - before.fetch,
            produce: self.produce - before.produce,
            end_txn: self.end_txn - before.end_txn,
        }
    }
}

impl Requests {
    pub(crate) fn of(brokers: impl Iterator<Item = u32>, folder: &Path) -> Result<Requests> {
        let file = folder.join("Requests.java");
        fs::write(&file, PROGRAM)?;
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--add-modules", "jdk.attach"]).arg(file);
        command.args(brokers.map(|it| it.to_string())).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("java")?;
        let questions = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut requests = Requests { child, questions, answers };
        requests.counted()?;
        Ok(requests)
    }

    pub(crate) fn counted(&mut self) -> Result<Counted> {
        writeln!(self.questions)?;
        let mut counts = BTreeMap::<String, u64>::new();
        loop {
            let mut line = String::new();
            ensure!(self.answers.read_line(&mut line)? > 0, "the brokers cannot be asked (this needs a JDK)");
            let Some((request, count)) = line.trim_end().split_once(' ') else { break };
            *counts.entry(request.to_owned()).or_default() += count.parse::<u64>()?;
        }
        let of = |request: &str| counts.get(request).copied().unwrap_or_default();
        Ok(Counted { fetch: of("Fetch"), produce: of("Produce"), end_txn: of("EndTxn") })
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
