//! Gathers events, and writes them in rounds: a batch for each partition, all of them one transaction where it is wanted.

use super::event::{Event, POISON, PRODUCER, SEQUENCE};
use super::feed::{Feed, now_ms};
use super::gather::{End, Gather};
use super::lines::LineFault;
use super::partitioner::partition_of;
use super::report::{PartitionReport, Progress, Report};
use super::writer::{Delivery, Writer};
use crate::avro::{Framing, Marker, Schema};
use crate::batch::{BatchBuilder, BatchError, Compression, RawBatch};
use crate::cluster::{Cluster, ClusterError};
use crate::types::TopicName;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncBufRead;
use tokio::time::Instant;

/// A broker that restarts is back within a minute (`delivery.timeout.ms` of Java's producer is two).
const PATIENCE: Duration = Duration::from_secs(60);

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct Job {
    pub topic: TopicName,
    pub schema: Schema,
    pub framing: Framing,
    pub marker: Marker,
    /// The field whose value is the record's key.
    pub key: Option<String>,
    pub codec: Compression,
    pub delivery: Delivery,
    /// Of transactions that are written, aborted, and written once more; 0 to 1.
    pub abort_ratio: f64,
    /// Of events that are made invalid; 0 to 1.
    pub poison_ratio: f64,
    /// Events per second.
    pub rate: Option<f64>,
    pub count: Option<u64>,
    pub seed: u64,
    /// Names the run.
    pub producer: String,
}

pub enum Input<R> {
    Lines(R),
    Made,
}

#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{end}: there is no topic {topic}. Create it first: kafka-bridge produce does not")]
    NoTopic { end: &'static str, topic: TopicName },
    #[error("line {number}: {fault}")]
    Line { number: u64, fault: LineFault },
    #[error("the events cannot be written as a batch: {0}")]
    Batch(#[from] BatchError),
}

struct Run<'a> {
    job: &'a Job,
    writer: Writer,
    random: Rng,
    partitions: i32,
    /// Where events without a key go in this round.
    turn: i32,
    counts: BTreeMap<i32, Counts>,
    report: Report,
    progress: &'a Progress,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    events: u64,
    next_sequence: u64,
}

/// Until the input's end, the count's, or `stop`: then what was gathered is still written. Fails at the first wrong line; the
/// lines before it are written, and the report counts them.
pub async fn produce<R: AsyncBufRead + Unpin>(
    cluster: &Cluster,
    job: &Job,
    input: Input<R>,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> (Report, Result<(), ProduceError>) {
    let began = Instant::now();
    let report = Report {
        end: cluster.end(),
        topic: job.topic.to_string(),
        producer: job.producer.clone(),
        framing: job.framing.name(),
        schema_id: if let Marker::Id(id) = job.marker { Some(id) } else { None },
        events: 0,
        bytes: 0,
        poison: BTreeMap::new(),
        transactions: 0,
        aborted: 0,
        partitions: Vec::new(),
        seconds: 0.0,
        is_stopped: false,
    };
    let mut run = Run {
        job,
        writer: Writer::new(cluster.clone(), job.topic.clone(), job.delivery.clone(), PATIENCE),
        random: Rng::with_seed(!job.seed),
        partitions: 0,
        turn: 0,
        counts: BTreeMap::new(),
        report,
        progress,
    };
    let done = run.all(cluster, input, stop).await;
    let partition = |(partition, it): (&i32, &Counts)| PartitionReport {
        partition: *partition,
        events: it.events,
        next_sequence: it.next_sequence,
    };
    run.report.partitions = run.counts.iter().map(partition).collect();
    run.report.seconds = began.elapsed().as_secs_f64();
    (run.report, done)
}

impl Run<'_> {
    async fn all<R: AsyncBufRead + Unpin>(
        &mut self,
        cluster: &Cluster,
        input: Input<R>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ProduceError> {
        let topic = &self.job.topic;
        let metadata = cluster.metadata(Some(std::slice::from_ref(topic))).await?;
        let known = metadata.topics.get(topic).filter(|it| it.error_code == 0);
        self.partitions = known.map_or(0, |it| i32::try_from(it.partitions.len()).unwrap_or(i32::MAX));
        if self.partitions == 0 {
            return Err(ProduceError::NoTopic { end: cluster.end(), topic: topic.clone() });
        }
        self.writer.begin().await?;
        let mut gather = Gather::new(Feed::new(self.job, input));
        tokio::pin!(stop);
        loop {
            let (round, end) = gather.round(stop.as_mut()).await;
            self.round(&round).await?;
            match end {
                None => {}
                Some(End::Input(ended)) => return ended,
                Some(End::Stopped) => {
                    self.report.is_stopped = true;
                    return Ok(());
                }
            }
        }
    }

    async fn round(&mut self, round: &[Event]) -> Result<(), ProduceError> {
        if round.is_empty() {
            return Ok(());
        }
        let batches = self.batches(round)?;
        let is_transactional = matches!(self.job.delivery, Delivery::Transactional { .. });
        if is_transactional && self.random.f64() < self.job.abort_ratio {
            for (partition, (batch, _)) in &batches {
                self.writer.write(*partition, batch).await?;
            }
            self.writer.end(false).await?;
            self.report.aborted += 1;
            Progress::add(&self.progress.aborted, 1);
        }
        for (partition, (batch, _)) in &batches {
            self.writer.write(*partition, batch).await?;
        }
        self.writer.end(true).await?;
        self.count(round, &batches);
        Ok(())
    }

    /// With the counts of each partition as they are when its batch is written.
    fn batches(&mut self, round: &[Event]) -> Result<BTreeMap<i32, (RawBatch, Counts)>, BatchError> {
        let mut builders: BTreeMap<i32, (BatchBuilder, Counts)> = BTreeMap::new();
        self.turn = (self.turn + 1) % self.partitions;
        let (now_ms, producer) = (now_ms(), self.job.producer.as_bytes());
        for event in round {
            let partition = event.key.as_ref().map_or(self.turn, |key| partition_of(key, self.partitions));
            let (builder, counts) = builders.entry(partition).or_insert_with(|| {
                (BatchBuilder::new(self.job.codec), self.counts.get(&partition).copied().unwrap_or_default())
            });
            let (key, value) = (event.key.as_deref(), Some(event.value.as_slice()));
            match event.poison {
                Some(kind) => {
                    let headers = [(PRODUCER, Some(producer)), (POISON, Some(kind.name().as_bytes()))];
                    builder.push(now_ms, key, value, &headers);
                }
                None => {
                    let sequence = counts.next_sequence.to_string();
                    let headers = [(PRODUCER, Some(producer)), (SEQUENCE, Some(sequence.as_bytes()))];
                    builder.push(now_ms, key, value, &headers);
                    counts.next_sequence += 1;
                }
            }
            counts.events += 1;
        }
        builders.into_iter().map(|(partition, (builder, counts))| Ok((partition, (builder.build()?, counts)))).collect()
    }

    fn count(&mut self, round: &[Event], batches: &BTreeMap<i32, (RawBatch, Counts)>) {
        self.counts.extend(batches.iter().map(|(partition, (_, counts))| (*partition, *counts)));
        let bytes = round.iter().map(Event::bytes).sum::<usize>();
        self.report.events += round.len() as u64;
        self.report.bytes += bytes as u64;
        for kind in round.iter().filter_map(|it| it.poison) {
            *self.report.poison.entry(kind.name()).or_default() += 1;
        }
        Progress::add(&self.progress.events, round.len());
        Progress::add(&self.progress.bytes, bytes);
        if matches!(self.job.delivery, Delivery::Transactional { .. }) {
            self.report.transactions += 1;
            Progress::add(&self.progress.transactions, 1);
        }
    }
}
