//! Kafka's own command line tools: foreign hands that write what is copied, and read the copy.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::jars;

/// A tool starts in a second or two; on a loaded machine, with a group's first coordinator, in many times that.
const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// How long the console consumer waits for more before it ends: it has no notion of the end of a log.
const CONSUMER_TIMEOUT_MS: &str = "5000";
/// Small heaps and C1 alone: the tools run beside the brokers.
const JVM: [&str; 5] = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", QUIET];
const QUIET: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// The tools of one release. They speak plaintext, to the listener that no proxy stands before.
pub struct Tools {
    classpath: String,
    console_producer: &'static str,
    folder: TempDir,
}

impl Tools {
    /// Of 3.9.2 or 4.3.1; the artifacts of other releases are not complete on Maven Central.
    pub fn new(version: &str) -> Result<Tools> {
        let mut classpath = jars::classpath(&jars::tools(version)?);
        let mut console_producer = "org.apache.kafka.tools.ConsoleProducer";
        // Until 4.0 the console producer was part of the broker.
        if version.starts_with("3.") {
            classpath = format!("{classpath}:{}", jars::classpath(&jars::broker(version)?));
            console_producer = "kafka.tools.ConsoleProducer";
        }
        Ok(Tools { classpath, console_producer, folder: tempfile::tempdir()? })
    }

    /// The start of a command line that runs the console consumer, for a reader who wants to try it.
    pub fn consumer_command(&self) -> String {
        self.command(CONSOLE_CONSUMER)
    }

    pub fn producer_command(&self) -> String {
        self.command(self.console_producer)
    }

    pub fn groups_command(&self) -> String {
        self.command(CONSUMER_GROUPS)
    }

    fn command(&self, main: &str) -> String {
        format!("java {QUIET} -cp '{}' {main}", self.classpath)
    }

    /// `kafka-console-producer`: lines of headers, key and value, `h:v<tab>key<tab>value`.
    pub fn console_produce(&self, bootstrap: &str, topic: &str, codec: &str, lines: &[String]) -> Result<()> {
        let input = self.folder.path().join("lines.txt");
        fs::write(&input, lines.join("\n") + "\n")?;
        let arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--compression-codec", codec];
        let properties = ["--property", "parse.key=true", "--property", "parse.headers=true"];
        let output = self.run(self.console_producer, &[&arguments[..], &properties[..]].concat(), Some(input))?;
        ensure!(!output.contains("ERROR"), "the console producer failed:\n{output}");
        Ok(())
    }

    /// `kafka-verifiable-producer`: numbered values behind a prefix, plain and in batches of its own making.
    pub fn verifiable_produce(&self, bootstrap: &str, topic: &str, count: usize) -> Result<()> {
        let count = count.to_string();
        let arguments = ["--bootstrap-server", bootstrap, "--topic", topic, "--max-messages", &count];
        let more = ["--acks", "-1", "--value-prefix", "7", "--repeating-keys", "5"];
        let output =
            self.run("org.apache.kafka.tools.VerifiableProducer", &[&arguments[..], &more[..]].concat(), None)?;
        ensure!(output.contains(&format!("\"acked\":{count}")), "the verifiable producer sent less:\n{output}");
        Ok(())
    }

    /// `kafka-console-consumer --isolation-level read_committed`: a line for each record of a partition, with timestamp,
    /// headers, key and value.
    pub fn console_consume(&self, bootstrap: &str, topic: &str, partition: i32) -> Result<String> {
        let partition = partition.to_string();
        let mut arguments = vec!["--bootstrap-server", bootstrap, "--topic", topic, "--partition", &partition];
        arguments.extend(["--offset", "earliest", "--isolation-level", "read_committed"]);
        arguments.extend(["--timeout-ms", CONSUMER_TIMEOUT_MS]);
        for property in ["print.timestamp=true", "print.headers=true", "print.key=true"] {
            arguments.extend(["--property", property]);
        }
        let (output, _) = self.outputs(CONSOLE_CONSUMER, &arguments, None)?;
        Ok(output)
    }

    /// `kafka-consumer-groups`.
    pub fn consumer_groups(&self, bootstrap: &str, arguments: &[&str]) -> Result<String> {
        let arguments = [&["--bootstrap-server", bootstrap][..], arguments].concat();
        self.run(CONSUMER_GROUPS, &arguments, None)
    }

    fn run(&self, main: &str, arguments: &[&str], input: Option<PathBuf>) -> Result<String> {
        let (output, errors) = self.outputs(main, arguments, input)?;
        Ok(output + &errors)
    }

    /// Standard output and standard error.
    fn outputs(&self, main: &str, arguments: &[&str], input: Option<PathBuf>) -> Result<(String, String)> {
        let input = input.map_or(Ok(Stdio::null()), |path| File::open(path).map(Stdio::from))?;
        let (out, err) = (self.folder.path().join("out.txt"), self.folder.path().join("err.txt"));
        let mut child = Command::new("java")
            .args(JVM)
            .args(["-cp", &self.classpath, main])
            .args(arguments)
            .stdin(input)
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .context("cannot start java")?;
        let start = Instant::now();
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        while child.try_wait()?.is_none() {
            if start.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                bail!("{main} still ran after {LIMIT:?}:\n{}", text(&err)?);
            }
            std::thread::sleep(POLL);
        }
        Ok((text(&out)?, text(&err)?))
    }
}
