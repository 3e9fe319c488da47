//! A transaction machine with its connections, for a command that writes at the target beside the lanes.

use super::deliveries::Deliveries;
use super::ends::Ends;
use super::worker::protocol;
use crate::batch::RawBatch;
use crate::clock;
use crate::cluster::{ClusterError, Keeper};
use crate::config::Config;
use crate::target::{Cause, Event, Input, Misuse, Transactor, TransactorSettings};
use crate::types::TopicPartition;
use std::time::{Duration, Instant};

/// Per partition: what is written by hand is little.
const IN_FLIGHT_MAX: usize = 1;
/// Of its metadata; a leader that has moved is asked for at once.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);
/// Beyond `delivery.transaction_timeout_ms`, by which the coordinator has ended whatever was open. Leaders move meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, thiserror::Error)]
pub enum ProducerError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(
        "the transactional id {transactional_id} was taken over ({cause}): the same command runs elsewhere, and goes on. What was \
         committed is kept; run it again when the other one has ended"
    )]
    Fenced { transactional_id: String, cause: Cause },
    #[error("the target refuses the transaction of {transactional_id}: {cause}. Nothing of it is visible")]
    Stopped { transactional_id: String, cause: Cause },
    #[error(
        "the transaction of {transactional_id} is not decided everywhere after {seconds} s: a partition has no leader, or another \
         program's transaction is open there (`kafka-transactions.sh find-hanging` names it). Run the command again when that has \
         ended"
    )]
    Undecided { transactional_id: String, seconds: u64 },
    #[error("this is a bug of kafka-bridge: {0}")]
    Misuse(#[from] Misuse),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Committed,
    /// Nothing of it will be visible.
    Aborted(Cause),
    /// The ledger knows, read after the id was taken again.
    Unknown(Cause),
}

/// One transactional id. Dropped, it leaves open what is open, for the next owner or the coordinator to abort.
pub struct Producer {
    machine: Transactor,
    deliveries: Deliveries,
    transactional_id: String,
    ledger_partition: TopicPartition,
    patience: Duration,
}

impl Producer {
    /// Nothing is sent before `take`.
    pub async fn new(
        config: &Config,
        ends: &Ends,
        transactional_id: String,
        ledger_partition: TopicPartition,
        lane: u32,
    ) -> Result<Self, ProducerError> {
        let delivery = &config.delivery;
        let transaction_timeout = Duration::from_millis(u64::from(delivery.transaction_timeout_ms.unsigned_abs()));
        let settings = TransactorSettings {
            transactional_id: transactional_id.as_str().into(),
            group_id: config.link.group_id().into(),
            ledger_partition: Some(ledger_partition.clone()),
            transaction_timeout,
            abort_margin: delivery.request_timeout,
            max_in_flight: IN_FLIGHT_MAX,
            harden_v1: true,
        };
        let metadata = Keeper::start(ends.target.clone(), None, METADATA_INTERVAL).await?;
        let timeout = delivery.request_timeout;
        let deliveries = Deliveries::new(ends.target.clone(), metadata, &settings, lane, timeout);
        let protocol = protocol(&ends.target, delivery.transaction_protocol).0;
        let machine = Transactor::new(settings, protocol, clock::now());
        let patience = transaction_timeout + PATIENCE;
        Ok(Self { machine, deliveries, transactional_id, ledger_partition, patience })
    }

    /// Fences whoever had the id and ends what it left open. Afterwards the ledger's partition can be read to its end.
    pub async fn take(&mut self) -> Result<(), ProducerError> {
        self.input(Input::Take)?;
        self.ready().await
    }

    /// Before partitions are written to: nothing of the id may be open there. `committed_at`: where, by the ledger, its last
    /// committed transaction began in the partition.
    pub async fn settle(&mut self, partitions: Vec<(TopicPartition, Option<i64>)>) -> Result<(), ProducerError> {
        for (partition, committed_at) in partitions {
            self.input(Input::Settle { partition, committed_at })?;
        }
        self.ready().await
    }

    /// Until the next transaction may begin, the last one decided in all its partitions.
    pub async fn ready(&mut self) -> Result<(), ProducerError> {
        let by = clock::now() + self.patience;
        while !self.machine.is_idle() {
            self.turn(by).await?;
        }
        Ok(())
    }

    /// Opens a transaction with these batches; where each has landed, those of a partition in their order. `Err`: it has ended.
    pub async fn write(
        &mut self,
        batches: Vec<(TopicPartition, RawBatch)>,
    ) -> Result<Result<Vec<(TopicPartition, i64)>, Ended>, ProducerError> {
        for (partition, batch) in batches {
            let records = batch.header().record_count.unsigned_abs();
            self.input(Input::Append { partition, batch, records })?;
        }
        let by = clock::now() + self.patience;
        loop {
            if let Some(landed) = self.machine.landed() {
                return Ok(Ok(landed));
            }
            if let Some(ended) = self.turn(by).await?.and_then(ended) {
                return Ok(Err(ended));
            }
        }
    }

    /// The ledger's record, and the verdict.
    pub async fn commit(&mut self, ledger_batch: RawBatch) -> Result<Ended, ProducerError> {
        let ledger_partition = self.ledger_partition.clone();
        self.input(Input::Commit { ledger_partition, ledger_batch, offsets: None, promised: Vec::new() })?;
        self.end().await
    }

    pub async fn abort(&mut self) -> Result<Ended, ProducerError> {
        self.input(Input::Abort)?;
        self.end().await
    }

    async fn end(&mut self) -> Result<Ended, ProducerError> {
        let by = clock::now() + self.patience;
        loop {
            if let Some(ended) = self.turn(by).await?.and_then(ended) {
                return Ok(ended);
            }
        }
    }

    fn input(&mut self, input: Input) -> Result<(), ProducerError> {
        Ok(self.machine.handle(clock::now(), input)?)
    }

    /// What the machine says next; None: it went on.
    async fn turn(&mut self, by: Instant) -> Result<Option<Event>, ProducerError> {
        loop {
            while let Some(output) = self.machine.poll_output() {
                if let crate::target::Output::Event(event) = output {
                    self.told(&event)?;
                    return Ok(Some(event));
                }
                for input in self.deliveries.perform(output) {
                    self.input(input)?;
                }
            }
            let unsent = self.deliveries.flush();
            if unsent.is_empty() {
                break;
            }
            unsent.into_iter().try_for_each(|input| self.input(input))?;
        }
        let due = self.machine.poll_timeout().map(|it| it.0);
        let inputs = tokio::select! {
            biased;
            () = clock::sleep_until(Some(by)) => {
                let (transactional_id, seconds) = (self.transactional_id.clone(), self.patience.as_secs());
                return Err(ProducerError::Undecided { transactional_id, seconds });
            }
            () = clock::sleep_until(due) => vec![Input::Timeout],
            Some(answered) = self.deliveries.next() => answered,
        };
        inputs.into_iter().try_for_each(|input| self.input(input))?;
        Ok(None)
    }

    fn told(&self, event: &Event) -> Result<(), ProducerError> {
        let id = &self.transactional_id;
        match event {
            Event::Stopped { cause } => {
                return Err(ProducerError::Stopped { transactional_id: id.clone(), cause: cause.clone() });
            }
            // Never taken back: the two would fence each other without an end.
            Event::Fenced { cause } => {
                return Err(ProducerError::Fenced { transactional_id: id.clone(), cause: cause.clone() });
            }
            Event::Unsettled { partitions } => {
                let names = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::warn!(id, partitions = names, "waiting until the last transaction is decided there");
            }
            Event::Mended { commit, .. } => {
                tracing::warn!(id, commit, "the target had left out markers of a transaction; they are written now");
            }
            Event::Undecided { partition } => {
                tracing::warn!(id, %partition, "another program's transaction is open there");
            }
            _ => {}
        }
        Ok(())
    }
}

fn ended(event: Event) -> Option<Ended> {
    match event {
        Event::Committed { .. } => Some(Ended::Committed),
        Event::Aborted { cause } => Some(Ended::Aborted(cause)),
        Event::OutcomeUnknown { cause } => Some(Ended::Unknown(cause)),
        _ => None,
    }
}
