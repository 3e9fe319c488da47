//! Two real clusters and a folder for the bridge between them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::bridge::{Bridge, Config, End, binary};
use crate::compare::{self, Difference, Timestamps};
use crate::kafka::{KafkaCluster, Spec};
use crate::proxy::Proxy;
use crate::raw::RawClient;

/// What one-node clusters cannot give.
const ACCEPT_WEAK: &str = "accept_weak = [\"target_min_insync_replicas\"]\n";
const POLL: Duration = Duration::from_millis(250);
/// Enough to see what is wrong, little enough to read.
const DIFFERENCES_SHOWN: usize = 8;

pub struct Pair {
    pub source: KafkaCluster,
    pub target: KafkaCluster,
    /// One before each node's client listener, where the pair was started with them.
    pub source_proxies: Vec<Proxy>,
    pub target_proxies: Vec<Proxy>,
    folder: TempDir,
}

impl Pair {
    pub fn start(source: Spec, target: Spec) -> Result<Pair> {
        // Now, where it is not built yet: whoever measures the first start would measure the compiler.
        binary()?;
        let folder = tempfile::tempdir()?;
        let (source, target) = both(|| KafkaCluster::start(source), || KafkaCluster::start(target))?;
        Ok(Pair { source, target, source_proxies: vec![], target_proxies: vec![], folder })
    }

    /// With a proxy before every node: clients on the client listener pass through it, those on the plaintext one do not.
    pub fn start_behind_proxies(source: Spec, target: Spec) -> Result<Pair> {
        let bind = |spec: &Spec| (0..spec.nodes).map(|_| Proxy::bind(!spec.tls)).collect::<Result<Vec<_>>>();
        let (source_proxies, target_proxies) = (bind(&source)?, bind(&target)?);
        let ports = |proxies: &[Proxy]| proxies.iter().map(Proxy::port).collect();
        let source = source.advertised(ports(&source_proxies));
        let pair = Pair::start(source, target.advertised(ports(&target_proxies)))?;
        for (cluster, proxies) in [(&pair.source, &source_proxies), (&pair.target, &target_proxies)] {
            for (node, proxy) in proxies.iter().enumerate() {
                proxy.set_upstream(&cluster.client_address(node))?;
            }
        }
        Ok(Pair { source_proxies, target_proxies, ..pair })
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
        let mut rest: Vec<&String> = topics.iter().collect();
        until_none(limit, || {
            // One after the other, so that waiting for one does not read all the others again and again.
            while let Some(topic) = rest.last() {
                let found = compare::topics((&mut source, topic), (&mut target, topic), Timestamps::Equal)?;
                if !found.is_empty() {
                    return Ok(found);
                }
                rest.pop();
            }
            let found = differences(&mut source, &mut target, topics)?;
            if !found.is_empty() {
                rest = topics.iter().collect();
            }
            Ok(found)
        })
    }
}

/// Waits until there is no difference any more.
pub fn until_none(limit: Duration, mut find: impl FnMut() -> Result<Vec<Difference>>) -> Result<()> {
    let start = Instant::now();
    loop {
        match find() {
            Ok(found) if found.is_empty() => return Ok(()),
            Ok(found) if start.elapsed() > limit => bail!("after {limit:?}: {}", shown(&found)),
            Err(error) if start.elapsed() > limit => return Err(error).context("the copy cannot be read"),
            Ok(_) | Err(_) => thread::sleep(POLL),
        }
    }
}

/// At the same time: a broker's start, as that of another JVM, waits more than it works.
pub fn both<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        let other = other.join().map_err(|_| anyhow!("one of two panicked"))?;
        Ok((one?, other?))
    })
}

/// The first of them, for an error.
pub fn shown(found: &[Difference]) -> String {
    let shown: Vec<_> = found.iter().take(DIFFERENCES_SHOWN).map(ToString::to_string).collect();
    format!("{} differences: {}", found.len(), shown.join("; "))
}

/// Of all topics, which have the same name at both ends.
pub fn differences(source: &mut RawClient, target: &mut RawClient, topics: &[String]) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for topic in topics {
        found.extend(compare::topics((source, topic), (target, topic), Timestamps::Equal)?);
    }
    Ok(found)
}
