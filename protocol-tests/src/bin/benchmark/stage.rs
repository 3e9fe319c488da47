//! Both clusters, and what is asked of them while somebody copies.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Code, RawClient};

use crate::requests::{Counted, Requests};
use crate::usage::cpu_seconds;

/// Often enough to time what takes seconds, seldom enough to cost the brokers nothing.
pub(crate) const POLL: Duration = Duration::from_millis(50);
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// A cluster has one.
pub(crate) const NODE: i32 = 0;
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER: a topic that is being made.
const NOT_THERE: [i16; 3] = [3, 5, 6];

pub(crate) struct Stage {
    /// Ends first: it would miss its brokers.
    requests: Requests,
    pub(crate) pair: Pair,
    pub(crate) kafka: String,
    /// Where profiles go.
    pub(crate) profiles: Option<PathBuf>,
    runs: usize,
}

impl Stage {
    pub(crate) fn set(kafka: &str) -> Result<Stage> {
        let spec = || Spec::kraft(kafka).with_tls().as_released();
        let pair = Pair::start(spec(), spec())?;
        println!(
            "Kafka {kafka} at both ends, one node each, mutual TLS; brokers and copiers share the cores of this machine"
        );
        let brokers = pair.source.processes().into_iter().chain(pair.target.processes());
        let requests = Requests::of(brokers, pair.folder())?;
        Ok(Stage { pair, kafka: kafka.to_owned(), profiles: None, requests, runs: 0 })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.pair.folder()
    }

    /// Nothing of an earlier run is taken up: the name of a run is in all that it makes.
    pub(crate) fn name_of_run(&mut self, copier: &str) -> String {
        self.runs += 1;
        format!("{copier}{}", self.runs)
    }

    pub(crate) fn requests(&mut self) -> Result<Counted> {
        self.requests.counted()
    }

    /// CPU seconds of all brokers since they began: source, target.
    pub(crate) fn brokers(&self) -> Result<[f64; 2]> {
        let of = |processes: Vec<u32>| processes.into_iter().map(cpu_seconds).sum::<Result<f64>>();
        Ok([of(self.pair.source.processes())?, of(self.pair.target.processes())?])
    }
}

/// Records and markers of all partitions below their last stable offsets; 0 where there is no such topic yet.
pub(crate) fn committed(client: &mut RawClient, topic: &str, partitions: i32) -> Result<i64> {
    match client.last_stable_offsets(NODE, topic, partitions) {
        Ok(offsets) => Ok(offsets.into_iter().sum()),
        Err(error) if error.downcast_ref::<Code>().is_some_and(|it| NOT_THERE.contains(&it.0)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Returns when every partition has a leader.
pub(crate) fn create(client: &mut RawClient, topic: &str, partitions: i32) -> Result<()> {
    client.create_topic(topic, partitions, 1, &[("retention.ms", "-1")])?;
    (0..partitions).try_for_each(|partition| client.offsets(topic, partition).map(drop))
}

/// Looks every `pause` until it is done, and gives how long that took.
pub(crate) fn until(pause: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < LIMIT, "not done after {LIMIT:?}");
        std::thread::sleep(pause);
    }
    Ok(start.elapsed())
}

pub(crate) fn median(mut of: Vec<f64>) -> Result<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().context("nothing was measured")
}
