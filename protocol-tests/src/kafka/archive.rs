//! Class archives of the JVM: a broker starts in half the processor time where its classes need not be parsed and verified anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{KafkaCluster, Mode, Spec};
use crate::jars;
use crate::raw::{Codec, Isolation, NewRecord};

/// Those that could not be recorded. One recording at a time; who comes meanwhile waits for it instead of recording too.
static FAILED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Where the brokers of a cluster have their classes from.
pub(super) enum Classes {
    Jars,
    Archive(PathBuf),
    /// From the jars; the archive is written when the broker ends.
    RecordedTo(PathBuf),
}

impl Classes {
    /// The JVM's argument for a broker.
    pub(super) fn of_broker(&self) -> Option<String> {
        match self {
            Classes::RecordedTo(path) => Some(format!("-XX:ArchiveClassesAtExit={}", path.display())),
            _ => self.of_tool(),
        }
    }

    /// The JVM's argument for what else is among the broker's jars.
    pub(super) fn of_tool(&self) -> Option<String> {
        match self {
            Classes::Archive(path) => Some(format!("-XX:SharedArchiveFile={}", path.display())),
            _ => None,
        }
    }
}

/// The archive of a release in a mode, recorded at its first use; none where it cannot be had: a broker starts without it too.
pub(super) fn of(version: &str, mode: Mode) -> Option<PathBuf> {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(format!("{}-{mode:?}.jsa", jars::cached(version)?.display()));
    if !path.exists()
        && !failed.contains(&path)
        && let Err(error) = record(version, mode, &path)
    {
        eprintln!("no class archive of Kafka {version}: {error:#}");
        failed.insert(path.clone());
    }
    path.exists().then_some(path)
}

/// What most trials make a broker do, so that most of what it will need is in the archive. An orderly end writes it.
fn record(version: &str, mode: Mode, path: &PathBuf) -> Result<()> {
    let folder = tempfile::tempdir_in(path.parent().context("an archive is in the cache")?)?;
    let recorded = folder.path().join("classes.jsa");
    let spec = Spec { mode, ..Spec::kraft(version).with_tls() };
    let mut cluster = KafkaCluster::start_with(spec, Classes::RecordedTo(recorded.clone()))?;
    let mut client = cluster.client();
    client.create_topic("recorded", 1, 1, &[])?;
    let mut producer = client.producer(Some("recorder"))?;
    producer.send(&mut client, "recorded", 0, Codec::Lz4, vec![NewRecord::default()])?;
    producer.commit(&mut client)?;
    client.read("recorded", 0, Isolation::ReadCommitted)?;
    client.set_group_offset("recorder", "recorded", 0, 1)?;
    cluster.stop(0)?;
    // As with the jars: whoever sees the final name sees all of it.
    fs::rename(recorded, path).with_context(|| format!("the broker has left no archive; its log:\n{}", cluster.log(0)))
}
