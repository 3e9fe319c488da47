//! The jars of one Kafka release: from `KAFKA_HOME` when it holds that version, else fetched once by Maven into a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};

/// The Scala version every supported release is published for.
const SCALA: &str = "2.13";

/// Whether real-Kafka trials with these versions can run here, and if not, what is missing.
pub fn available(versions: &[&str]) -> Result<(), String> {
    static JAVA: LazyLock<bool> = LazyLock::new(|| runs("java", "-version"));
    static MAVEN: LazyLock<bool> = LazyLock::new(|| runs("mvn", "-version"));
    if !*JAVA {
        return Err("java is not installed; Kafka's brokers need Java 17".to_owned());
    }
    let missing: Vec<&str> = versions.iter().copied().filter(|version| present(version).is_none()).collect();
    if missing.is_empty() || *MAVEN {
        return Ok(());
    }
    Err(format!(
        "mvn is not installed, and the jars of Kafka {} are neither in KAFKA_HOME nor in {}",
        missing.join(", "),
        cache_root().display()
    ))
}

/// The folder with the broker's jars of `version`.
pub fn broker(version: &str) -> Result<PathBuf> {
    match present(version) {
        Some(folder) => Ok(folder),
        None => fetch(version, &format!("kafka-{version}"), &format!("kafka_{SCALA}"), &marker(version)),
    }
}

/// The folder with the command line tools' jars (console consumer, verifiable producer); some releases lack them on
/// Maven Central (4.2.2 and 4.4.0), which is an error here.
pub fn tools(version: &str) -> Result<PathBuf> {
    let marker = format!("kafka-tools-{version}.jar");
    if let Some(folder) = kafka_home(version).filter(|folder| folder.join(&marker).exists()) {
        return Ok(folder);
    }
    let name = format!("kafka-tools-{version}");
    let cached = cache_root().join(&name);
    if cached.join(&marker).exists() {
        return Ok(cached);
    }
    fetch(version, &name, "kafka-tools", &marker)
}

/// The folder with the jars of MirrorMaker 2, for the releases whose tools are complete.
pub fn mirror_maker(version: &str) -> Result<PathBuf> {
    let name = format!("connect-mirror-{version}");
    let cached = cache_root().join(&name);
    let marker = format!("{name}.jar");
    if cached.join(&marker).exists() {
        return Ok(cached);
    }
    fetch(version, &name, "connect-mirror", &marker)
}

/// The classpath of a folder of jars, as `java -cp` takes it.
pub fn classpath(folder: &Path) -> String {
    format!("{}/*", folder.display())
}

fn marker(version: &str) -> String {
    format!("kafka_{SCALA}-{version}.jar")
}

/// The folder that this cache keeps the broker's jars in, if they are from here.
pub fn cached(version: &str) -> Option<PathBuf> {
    let cached = cache_root().join(format!("kafka-{version}"));
    (kafka_home(version).is_none() && cached.join(marker(version)).exists()).then_some(cached)
}

fn present(version: &str) -> Option<PathBuf> {
    kafka_home(version).or_else(|| cached(version))
}

fn kafka_home(version: &str) -> Option<PathBuf> {
    let libs = PathBuf::from(std::env::var_os("KAFKA_HOME")?).join("libs");
    libs.join(marker(version)).exists().then_some(libs)
}

fn cache_root() -> PathBuf {
    if let Some(folder) = std::env::var_os("KAFKA_BRIDGE_TEST_CACHE") {
        return PathBuf::from(folder);
    }
    let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
    home.join(".cache").join("kafka-bridge")
}

/// Fetches into a folder of its own and renames it into place: whoever sees the final name sees all jars, and two trials
/// that fetch at the same time both end with a complete folder, without a lock that a killed trial would leave behind.
fn fetch(version: &str, name: &str, artifact: &str, marker: &str) -> Result<PathBuf> {
    let root = cache_root();
    fs::create_dir_all(&root).with_context(|| format!("cannot create the jar cache {}", root.display()))?;
    let work = tempfile::Builder::new().prefix(".fetching-").tempdir_in(&root)?;
    let pom = work.path().join("pom.xml");
    fs::write(&pom, pom_text(version, artifact))?;
    let jars = work.path().join("jars");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .stdin(Stdio::null())
        .output()
        .context("cannot run mvn")?;
    if !output.status.success() {
        bail!("mvn could not fetch {artifact} {version}: {}", String::from_utf8_lossy(&output.stdout));
    }
    ensure!(jars.join(marker).exists(), "mvn fetched {artifact} {version}, but {marker} is not among the jars");
    let target = root.join(name);
    if let Err(error) = fs::rename(&jars, &target) {
        // Another trial was faster: its folder is as complete as ours.
        ensure!(target.join(marker).exists(), "cannot move the jars to {}: {error}", target.display());
    }
    Ok(target)
}

fn pom_text(version: &str, artifact: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>test</groupId><artifactId>jars</artifactId><version>1</version><dependencies>\
         <dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\
         <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>\
         </dependencies></project>"
    )
}

fn runs(program: &str, argument: &str) -> bool {
    let status =
        Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
