//! Two real clusters and a folder for the bridge between them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::bridge::{Bridge, Config, End};
use crate::compare::{self, Difference, Timestamps};
use crate::kafka::{KafkaCluster, Spec};
use crate::raw::RawClient;

/// What one-node clusters cannot give.
const ACCEPT_WEAK: &str = "accept_weak = [\"target_min_insync_replicas\"]\n";
const POLL: Duration = Duration::from_millis(250);
/// Enough to see what is wrong, little enough to read.
const DIFFERENCES_SHOWN: usize = 8;

pub struct Pair {
    pub source: KafkaCluster,
    pub target: KafkaCluster,
    folder: TempDir,
}

impl Pair {
    pub fn start(source: Spec, target: Spec) -> Result<Pair> {
        let folder = tempfile::tempdir()?;
        Ok(Pair { source: KafkaCluster::start(source)?, target: KafkaCluster::start(target)?, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self, link: &str, include: &[&str]) -> Config {
        let mut config = Config::new(link, End::of(&self.source), End::of(&self.target), include);
        config.delivery = ACCEPT_WEAK.to_owned();
        config
    }

    pub fn run(&self, config: &Config, name: &str) -> Result<Bridge> {
        Bridge::run(&config.write(self.folder(), name)?)
    }

    /// Waits until a read_committed reader of the target sees what one of the source sees: no more, no less, in order.
    pub fn until_equal(&self, topics: &[String], limit: Duration) -> Result<()> {
        let (mut source, mut target) = (self.source.client(), self.target.client());
        let start = Instant::now();
        loop {
            let found = differences(&mut source, &mut target, topics);
            match found {
                Ok(found) if found.is_empty() => return Ok(()),
                Ok(found) if start.elapsed() > limit => {
                    let shown: Vec<_> = found.iter().take(DIFFERENCES_SHOWN).map(ToString::to_string).collect();
                    bail!("{} differences after {limit:?}: {}", found.len(), shown.join("; "));
                }
                Err(error) if start.elapsed() > limit => return Err(error).context("the copy cannot be read"),
                Ok(_) | Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

/// Of all topics, which have the same name at both ends.
pub fn differences(source: &mut RawClient, target: &mut RawClient, topics: &[String]) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for topic in topics {
        found.extend(compare::topics((source, topic), (target, topic), Timestamps::Equal)?);
    }
    Ok(found)
}
