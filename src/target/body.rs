//! What a transaction holds while its verdict is open: the partitions, their batches, and what the coordinator knows.

use crate::batch::RawBatch;
use crate::target::aborting::{Aborting, Then};
use crate::target::call::{Call, Verdict, earlier};
use crate::target::errors::Api;
use crate::target::message::{
    Answer, Cause, Destination, Failure, RequestId, Timer, TransactionProtocol, Trouble, TxnRequest,
};
use crate::target::pipeline::{Outcome, Pipeline};
use crate::target::transactor::{Context, State};
use crate::types::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What the coordinator knows of the transaction: it decides whether an abort has anything to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Enlisted {
    Nothing,
    /// Something was attempted; on v1 an EndTxn of nothing is an error, on v2 it is not.
    Perhaps,
    Certainly,
}

struct Registration {
    call: Call,
    partitions: BTreeSet<TopicPartition>,
}

pub(super) struct Body {
    pub(super) transaction: u64,
    deadline: Instant,
    pipelines: BTreeMap<TopicPartition, Pipeline>,
    /// v1: partitions that AddPartitionsToTxn must name before their first Produce.
    unregistered: BTreeSet<TopicPartition>,
    registration: Option<Registration>,
    registered: BTreeSet<TopicPartition>,
    enlisted: Enlisted,
    dirty: bool,
    batches: usize,
}

impl Body {
    pub(super) fn open(context: &mut Context) -> Self {
        context.transactions += 1;
        let limit = context.settings.transaction_timeout.saturating_sub(context.settings.abort_margin);
        let mut unregistered = BTreeSet::new();
        if context.protocol == TransactionProtocol::V1
            && let Some(partition) = &context.settings.ledger_partition
        {
            unregistered.insert(partition.clone());
        }
        Self {
            transaction: context.transactions,
            deadline: context.now + limit,
            pipelines: BTreeMap::new(),
            unregistered,
            registration: None,
            registered: BTreeSet::new(),
            enlisted: Enlisted::Nothing,
            dirty: false,
            batches: 0,
        }
    }

    pub(super) fn batches(&self) -> usize {
        self.batches
    }

    pub(super) fn append(&mut self, context: &mut Context, partition: TopicPartition, batch: &RawBatch, records: i32) {
        self.batches += 1;
        let named = self.registered.contains(&partition)
            || self.registration.as_ref().is_some_and(|it| it.partitions.contains(&partition));
        if context.protocol == TransactionProtocol::V1 && !named {
            self.unregistered.insert(partition.clone());
        }
        let pipeline = self.pipelines.entry(partition.clone()).or_insert_with(|| {
            let sequence = context.sequences.get(&partition).copied().unwrap_or(0);
            Pipeline::new(partition, sequence)
        });
        pipeline.append(context, batch, records);
    }

    /// Sends whatever may be sent now.
    pub(super) fn pump(&mut self, context: &mut Context) {
        if self.registration.is_none() && !self.unregistered.is_empty() {
            let partitions = std::mem::take(&mut self.unregistered);
            let request = TxnRequest::AddPartitionsToTxn {
                transactional_id: context.settings.transactional_id.clone(),
                identity: context.identity,
                partitions: partitions.iter().cloned().collect(),
            };
            let call = Call::start(context, Destination::TransactionCoordinator, request);
            self.registration = Some(Registration { call, partitions });
        }
        for (partition, pipeline) in &mut self.pipelines {
            let allowed = context.protocol == TransactionProtocol::V2 || self.registered.contains(partition);
            if allowed && pipeline.pump(context) {
                self.enlisted = self.enlisted.max(Enlisted::Perhaps);
            }
        }
    }

    /// Every partition is registered, so that the coordinator is free for another call.
    pub(super) fn is_registered(&self) -> bool {
        self.registration.is_none() && self.unregistered.is_empty()
    }

    /// The coordinator knows every partition. Protocol v2: while a leader still has one added, whoever else wants something added is
    /// told CONCURRENT_TRANSACTIONS, which a group coordinator passes on as COORDINATOR_LOAD_IN_PROGRESS, as if it had to be
    /// waited for for long.
    pub(super) fn is_enlisted(&self, protocol: TransactionProtocol) -> bool {
        protocol == TransactionProtocol::V1 || self.pipelines.values().all(Pipeline::is_enlisted)
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.is_registered() && self.pipelines.values().all(Pipeline::is_acknowledged)
    }

    /// Where the last batch of this partition landed, once all of them have.
    pub(super) fn last_landed(&self, partition: &TopicPartition) -> Option<i64> {
        let pipeline = self.pipelines.get(partition)?;
        if pipeline.is_acknowledged() { pipeline.landed().last().copied() } else { None }
    }

    pub(super) fn first_landed(&self, partition: &TopicPartition) -> Option<i64> {
        self.pipelines.get(partition)?.landed().first().copied()
    }

    pub(super) fn landed(&self) -> Vec<(TopicPartition, i64)> {
        let of = |(partition, pipeline): (&TopicPartition, &Pipeline)| -> Vec<_> {
            pipeline.landed().iter().map(|offset| (partition.clone(), *offset)).collect()
        };
        self.pipelines.iter().flat_map(of).collect()
    }

    pub(super) fn sequences(&self) -> Vec<(TopicPartition, i32)> {
        self.pipelines.iter().map(|(partition, pipeline)| (partition.clone(), pipeline.next_sequence())).collect()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn set_dirty(&mut self) {
        self.dirty = true;
    }

    /// None: the request is not one of these.
    pub(super) fn answered(
        &mut self,
        context: &mut Context,
        id: RequestId,
        answer: Result<Answer, Failure>,
    ) -> Result<Outcome, Result<Answer, Failure>> {
        if let Some(registration) = self.registration.as_mut().filter(|it| it.call.owns(id)) {
            let verdict = registration.call.answered(context, answer);
            let dirty = registration.call.is_dirty();
            self.dirty |= dirty;
            if dirty {
                self.enlisted = self.enlisted.max(Enlisted::Perhaps);
            }
            return Ok(match verdict {
                Verdict::Done(answer) => {
                    self.enlisted = Enlisted::Certainly;
                    let named: BTreeSet<_> = match answer {
                        Answer::AddPartitionsToTxn { partitions } => partitions.into_iter().map(|it| it.0).collect(),
                        _ => BTreeSet::new(),
                    };
                    match self
                        .registration
                        .take()
                        .and_then(|it| it.partitions.into_iter().find(|it| !named.contains(it)))
                    {
                        // Silence about a partition is no registration: its Produce would open a transaction of its own.
                        Some(forgotten) => {
                            self.dirty = true;
                            let cause = Cause::new(Trouble::WrongAnswer { api: Api::AddPartitionsToTxn });
                            return Ok(Outcome::Abort(Cause { partition: Some(forgotten), ..cause }));
                        }
                        None => self.registered.extend(named),
                    }
                    Outcome::Going
                }
                Verdict::Again => Outcome::Going,
                Verdict::Abort(cause) => Outcome::Abort(cause),
                Verdict::Fenced(cause) | Verdict::OutcomeUnknown(cause) => Outcome::Fenced(cause),
                Verdict::Stop(cause) => Outcome::Stop(cause),
            });
        }
        let Some(pipeline) = self.pipelines.values_mut().find(|pipeline| pipeline.owns(id)) else {
            return Err(answer);
        };
        let (outcome, dirty) = pipeline.answered(context, id, answer);
        self.dirty |= dirty;
        Ok(outcome)
    }

    pub(super) fn timeout(&mut self, context: &mut Context) {
        if let Some(registration) = &mut self.registration {
            registration.call.timeout(context);
        }
    }

    pub(super) fn timer(&self) -> Option<(Instant, Timer)> {
        let mut timer = Some((self.deadline, Timer::TransactionDeadline));
        if let Some(registration) = &self.registration {
            timer = earlier(timer, registration.call.timer());
        }
        self.pipelines.values().fold(timer, |timer, pipeline| earlier(timer, pipeline.timer()))
    }

    /// Time is up: the cause of the delay, where one is known.
    pub(super) fn expired(&self, now: Instant) -> Option<Cause> {
        if now < self.deadline {
            return None;
        }
        let registration = self.registration.as_ref().and_then(|it| it.call.last_trouble().cloned());
        let trouble = registration.or_else(|| self.pipelines.values().find_map(Pipeline::trouble));
        Some(match trouble {
            Some((cause, class)) => Cause { class, ..cause },
            None => Cause::new(Trouble::Deadline),
        })
    }

    /// Gives the transaction up. `other`: a call beside the data that may be in flight.
    pub(super) fn abort(self, context: &mut Context, cause: Cause, then: Then, other: Option<&Call>) -> State {
        let mut draining = BTreeMap::new();
        let registration = self.registration.as_ref().map(|it| &it.call);
        for call in registration.into_iter().chain(other) {
            if let Some(id) = call.in_flight() {
                draining.insert(id, (call.api(), call.to().clone()));
            }
        }
        for pipeline in self.pipelines.values() {
            for id in pipeline.requests_in_flight() {
                draining.insert(id, (Api::Produce, pipeline.leader()));
            }
        }
        let partitions = self.pipelines.into_keys().chain(self.registered).collect();
        Aborting::start(context, cause, then, draining, partitions, self.enlisted, self.dirty)
    }
}
