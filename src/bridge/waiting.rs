//! Partitions whose next record waits for a schema: they hold nothing meanwhile, so that the others of the lane go on.

use super::gather::StreamState;
use super::lane::{Lane, Output};
use super::screening::SchemaKey;
use crate::batch::Prepared;
use crate::ledger::DeadLetters;
use crate::schemas::SchemaVerdict;
use crate::source::{self, Position};
use crate::target;
use crate::types::TopicPartition;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Lane {
    pub(super) fn hold(&mut self, partition: &TopicPartition, needs: BTreeSet<SchemaKey>) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        stream.awaits = needs;
        // What was read is fetched again, at the cost of a moment; kept, it would hold the memory of the whole lane as long as a
        // registry is down. What the source does not give a second time stays.
        if stream.state == StreamState::Reading {
            let charged = stream.clear();
            self.fetcher.handle(self.now, source::Input::Remove(partition.clone()));
            self.give_back(charged);
        }
        self.ask_for_schemas();
    }

    fn ask_for_schemas(&mut self) {
        for stream in self.streams.values() {
            let Some(check) = &stream.route.check else { continue };
            for key in &stream.awaits {
                if self.schemas.asks_enough() {
                    return;
                }
                if self.schemas.ask(key) {
                    self.outputs.push_back(Output::FindSchema(key.clone(), Arc::clone(check)));
                }
            }
        }
    }

    /// Whoever has been told all that it waits for goes on.
    pub(super) fn learn(&mut self, key: SchemaKey, verdict: SchemaVerdict) {
        let mut complete = Vec::new();
        for (partition, stream) in &mut self.streams {
            if stream.awaits.remove(&key) {
                stream.told.insert(key.clone(), verdict.clone());
                if stream.awaits.is_empty() {
                    complete.push(partition.clone());
                }
            }
        }
        self.schemas.learn(key, verdict, self.now);
        for partition in complete {
            self.resume(&partition);
        }
        self.ask_for_schemas();
    }

    fn resume(&mut self, partition: &TopicPartition) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        if stream.state != StreamState::Reading || self.is_draining {
            return;
        }
        let position = Position { offset: stream.sent, leader_epoch: stream.leader_epoch };
        let (partition, topic_id) = (partition.clone(), stream.route.topic_id);
        self.fetcher.handle(self.now, source::Input::Assign { partition, topic_id, position });
        self.fetcher.handle(self.now, source::Input::Metadata(self.leaders.clone()));
    }

    /// What of the dead letters' partition may be open from before is ended as it should have been.
    pub(super) fn settle_dead_letters(&mut self) {
        let Some(letters) = self.settings.dead_letters.clone() else { return };
        let committed_at = self.ledger.as_ref().and_then(|it| it.dead_letters_at());
        self.transact(target::Input::Settle { partition: letters.partition, committed_at });
    }

    /// For the position's record. None: there are none.
    pub(super) fn dead_letters(&self, letters: &[Prepared]) -> Option<DeadLetters> {
        let records = letters.iter().map(|it| u64::from(it.record_count)).sum();
        let partition = self.settings.dead_letters.as_ref().map(|it| &it.partition)?;
        let target_offset = self.transactor.stable_offset(partition);
        (records > 0).then_some(DeadLetters { records, transaction: 0, target_offset })
    }
}
