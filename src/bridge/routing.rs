//! The partitions of a lane: they come, begin where the ledger says, get another target, and go.

use super::gather::{Stream, StreamState};
use super::incident::IncidentKind;
use super::lane::{Lane, Output, Phase, Route};
use crate::source;
use crate::target;
use crate::types::TopicPartition;

impl Lane {
    pub(super) fn apply_routes(&mut self) {
        if self.phase != Phase::Copying || self.is_draining {
            return;
        }
        let gone: Vec<_> = self.streams.keys().filter(|it| !self.routes.contains_key(*it)).cloned().collect();
        for partition in gone {
            self.leave(&partition);
        }
        for (partition, route) in self.routes.clone() {
            if self.streams.contains_key(&partition) {
                self.reroute(&partition, route);
            } else {
                self.start(&partition, route);
            }
        }
        self.fetcher.handle(self.now, source::Input::Metadata(self.leaders.clone()));
    }

    /// Only when nothing of the partition waits or is in the open transaction is it forgotten: started anew before that, it
    /// would begin at a position that the transaction is about to move, and be copied twice.
    fn leave(&mut self, partition: &TopicPartition) {
        self.fetcher.handle(self.now, source::Input::Remove(partition.clone()));
        let is_in_flight = self.in_flight.as_ref().is_some_and(|it| it.holds(partition));
        let Some(stream) = self.streams.get_mut(partition) else { return };
        match stream.state {
            StreamState::Reading | StreamState::Emptying if is_in_flight || stream.has_work() => {
                stream.state = StreamState::Leaving;
            }
            StreamState::Leaving => {}
            StreamState::Stopped if is_in_flight => {}
            _ => self.left(partition),
        }
    }

    /// The topic may be back by now.
    pub(super) fn left(&mut self, partition: &TopicPartition) {
        if let Some(stream) = self.streams.remove(partition) {
            self.give_back(stream.charged_bytes());
        }
        if !self.is_draining
            && let Some(route) = self.routes.get(partition).cloned()
        {
            self.start(partition, route);
            self.fetcher.handle(self.now, source::Input::Metadata(self.leaders.clone()));
        }
    }

    fn start(&mut self, partition: &TopicPartition, route: Route) {
        let key = self.key(partition);
        let known = self.ledger.as_ref().and_then(|it| it.position(&key)).cloned();
        let mut stream = Stream::new(route.clone());
        let Some(known) = known else {
            self.streams.insert(partition.clone(), stream);
            return match self.ledger.as_ref().and_then(|it| it.other_source(&key)) {
                Some(cluster_id) => self.incident(partition, IncidentKind::OtherSource { cluster_id }),
                None => self.output(Output::TargetEnd { partition: partition.clone(), target: route.target }),
            };
        };
        let topic_id = if known.topic_id.is_nil() { route.topic_id } else { known.topic_id };
        stream.sent = known.next_offset;
        stream.leader_epoch = known.leader_epoch;
        stream.route.topic_id = topic_id;
        stream.route.target_topic_id = known.target_topic_id;
        stream.state = StreamState::Reading;
        self.streams.insert(partition.clone(), stream);
        let was = TopicPartition::new(known.target_topic, known.target_partition);
        if was != route.target {
            return self.incident(partition, IncidentKind::TargetChanged { was });
        }
        self.transact(target::Input::Settle { partition: route.target.clone(), committed_at: known.target_offset });
        let position = source::Position { offset: known.next_offset, leader_epoch: known.leader_epoch };
        let assign = source::Input::Assign { partition: partition.clone(), topic_id, position };
        self.fetcher.handle(self.now, assign);
        self.reroute(partition, route);
    }

    /// The topic's id is that of the position, and where to begin is decided.
    fn reroute(&mut self, partition: &TopicPartition, route: Route) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        if let Some((old, new)) = stream.rerouted(&route) {
            self.incident(partition, IncidentKind::TargetRecreated { old, new });
        }
    }

    pub(super) fn target_end(&mut self, partition: &TopicPartition, end_offset: i64) {
        let Some(stream) = self.streams.get_mut(partition) else { return };
        if self.phase != Phase::Copying || stream.state != StreamState::Starting || self.is_draining {
            return;
        }
        if end_offset > 0 {
            return self.incident(partition, IncidentKind::NoPosition { end_offset });
        }
        stream.state = StreamState::Resolving;
        let (topic_id, start, target) = (stream.route.topic_id, stream.route.start, stream.route.target.clone());
        self.transact(target::Input::Settle { partition: target, committed_at: None });
        let resolve = source::Input::Resolve { partition: partition.clone(), topic_id, start };
        self.fetcher.handle(self.now, resolve);
        self.fetcher.handle(self.now, source::Input::Metadata(self.leaders.clone()));
    }
}
