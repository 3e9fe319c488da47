//! Writes events to the source: single batches and transactions, of which some are aborted. What it writes under faults may or
//! may not arrive; the source's log alone says what was produced.

use super::events::{Event, Maker};
use crate::batch::{BatchBuilder, Compression, RawBatch};
use crate::cluster::{Backoff, Cluster, ClusterError};
use crate::produce::{Delivery, Writer};
use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;

const BATCH_RECORDS_MAX: u64 = 250;
const TRANSACTION_BATCHES_MAX: usize = 3;
/// In percent.
const TRANSACTIONS: u8 = 40;
const ABORTED_TRANSACTIONS: u8 = 25;
/// A transaction that a fault left open must not hold the copy back for longer.
const TRANSACTION_TIMEOUT_MS: i32 = 10_000;

/// How many records are still to be written, by all producers together; aborted ones are extra.
pub(super) struct Quota(AtomicU64);

impl Quota {
    pub(super) fn new(records: Option<u64>) -> Self {
        Self(AtomicU64::new(records.unwrap_or(u64::MAX)))
    }

    fn take(&self, wanted: u64) -> u64 {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - wanted.min(left)));
        taken.map_or(0, |left| wanted.min(left))
    }
}

pub(super) struct Producer {
    topic: &'static str,
    maker: Maker,
    compression: Compression,
    random: Rng,
    /// The next number of each partition.
    numbers: Vec<u64>,
    /// For batches outside of transactions.
    plain: Writer,
    transactional: Writer,
}

impl Producer {
    pub(super) fn new(
        cluster: Cluster,
        topic: &'static str,
        maker: Maker,
        compression: Compression,
        partitions: usize,
        seed: u64,
    ) -> Self {
        let (numbers, random) = (vec![0; partitions], Rng::with_seed(seed));
        let delivery =
            Delivery::Transactional { transactional_id: format!("demo-{topic}"), timeout_ms: TRANSACTION_TIMEOUT_MS };
        // Without patience: what a fault has hit may be lost, and the source's log says whether it is.
        let plain = Writer::new(cluster.clone(), topic, Delivery::Plain, Duration::ZERO);
        let transactional = Writer::new(cluster, topic, delivery, Duration::ZERO);
        Self { topic, maker, compression, random, numbers, plain, transactional }
    }

    /// Until the quota is used up or `stop` says so. `rate`: records per second.
    pub(super) async fn run(mut self, quota: Arc<Quota>, rate: Option<f64>, mut stop: watch::Receiver<bool>) {
        let began = Instant::now();
        let (mut written, mut backoff) = (0, Backoff::default());
        loop {
            if *stop.borrow() {
                break;
            }
            let wanted = self.random.u64(1..=BATCH_RECORDS_MAX);
            let count = quota.take(wanted);
            if count == 0 {
                break;
            }
            match self.round(count).await {
                Ok(()) => backoff.succeeded(),
                Err(error) => {
                    tracing::debug!(%error, topic = self.topic, "the demo's producer begins anew");
                    self.plain.forget();
                    self.transactional.forget();
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
            written += count;
            if let Some(rate) = rate {
                let due = began + Duration::from_secs_f64(written as f64 / rate);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    // Ended with the demo.
                    _ = stop.changed() => {}
                }
            }
        }
        // What a fault left open is aborted now, not at its timeout.
        for _ in 0..20 {
            self.transactional.forget();
            if self.transactional.begin().await.is_ok() {
                break;
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    async fn round(&mut self, count: u64) -> Result<(), ClusterError> {
        if self.random.u8(..100) >= TRANSACTIONS {
            let (partition, batch) = self.batch(count);
            let Some(batch) = batch else { return Ok(()) };
            return self.plain.write(partition, &batch).await;
        }
        if self.random.u8(..100) < ABORTED_TRANSACTIONS {
            let extra = self.random.u64(1..=BATCH_RECORDS_MAX / 4);
            self.transaction(extra, false).await?;
        }
        self.transaction(count, true).await
    }

    async fn transaction(&mut self, count: u64, commit: bool) -> Result<(), ClusterError> {
        let batches = self.random.usize(1..=TRANSACTION_BATCHES_MAX).min(usize::try_from(count).unwrap_or(1)) as u64;
        for number in 0..batches {
            let share = count / batches + u64::from(number < count % batches);
            let (partition, batch) = self.batch(share);
            let Some(batch) = batch else { return Ok(()) };
            self.transactional.write(partition, &batch).await?;
        }
        self.transactional.end(commit).await
    }

    fn batch(&mut self, count: u64) -> (i32, Option<RawBatch>) {
        let partition = self.random.usize(..self.numbers.len());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(0);
        let mut builder = BatchBuilder::new(self.compression);
        for _ in 0..count {
            let Some(number) = self.numbers.get_mut(partition) else { continue };
            // What a schema of ours samples, it encodes; a unit test says so.
            let Ok(made) = self.maker.event(*number, now_ms, &mut self.random) else { continue };
            *number += 1;
            push(&mut builder, &made);
        }
        // It can only be too long, and a few hundred events are not.
        (i32::try_from(partition).unwrap_or(0), builder.build().ok())
    }
}

fn push(builder: &mut BatchBuilder, event: &Event) {
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    builder.push(event.timestamp_ms, event.key.as_deref(), event.value.as_deref(), &headers);
}
