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

impl Lane {
    pub(super) fn hold(&mut self, partition: &TopicPartition, needs: BTreeSet<SchemaKey>) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        stream.awaits_schema = true;
        let check = stream.route.check.clone();
        // What was read is fetched again, at the cost of a moment; kept, it would hold the memory of the whole lane as long as a
        // registry is down. What the source does not give a second time stays.
        if stream.state == StreamState::Reading {
            let charged = stream.clear();
            self.fetcher.handle(self.now, source::Input::Remove(partition.clone()));
            self.give_back(charged);
        }
        for key in needs {
            if let Some(check) = check.clone().filter(|_| self.schemas.ask(&key)) {
                self.output(Output::FindSchema(key, check));
            }
        }
    }

    /// Every partition that waits looks again: what it waits for may not even have been asked for yet.
    pub(super) fn learn(&mut self, key: SchemaKey, verdict: SchemaVerdict) {
        self.schemas.learn(key, verdict, self.now);
        let waiting: Vec<_> = self.streams.iter().filter(|it| it.1.awaits_schema).map(|it| it.0.clone()).collect();
        for partition in waiting {
            self.resume(&partition);
        }
    }

    fn resume(&mut self, partition: &TopicPartition) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        stream.awaits_schema = false;
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
