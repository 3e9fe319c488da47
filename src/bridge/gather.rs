//! One partition of a lane: what was read and waits for its transaction.

use super::lane::Route;
use super::screening::{SchemaKey, Verdicts};
use crate::batch::RawBatch;
use crate::source::{Delivery, Position};
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamState {
    /// Without a position: does the target hold data already?
    Starting,
    Resolving,
    Reading,
    /// Stopped by an incident at the source; what was read before is still to be copied.
    Emptying,
    /// Its topic is gone, or one metadata answer did not name it; what was read is still to be copied.
    Leaving,
    Stopped,
}

pub(super) struct Stream {
    pub(super) route: Route,
    pub(super) state: StreamState,
    /// Everything before it is committed or in the transaction that is open.
    pub(super) sent: i64,
    pub(super) leader_epoch: i32,
    queue: VecDeque<Delivery>,
    /// Of the batches in it: counted anew at each look they took longer than all else.
    queued_bytes: usize,
    /// When the first records, and the first position without records, came into the queue.
    pub(super) data_since: Option<Instant>,
    pub(super) passed_since: Option<Instant>,
    /// Where a partition begins is written down before anything else: found again later, it might be another place.
    pub(super) is_unrecorded: bool,
    /// Schemas that its next batch waits for, and what it has been told of those that it has waited for.
    pub(super) awaits: BTreeSet<SchemaKey>,
    pub(super) told: Verdicts,
    refusals: u32,
    /// Below what the target's settings say once it has refused a batch of that size, until they say something else.
    pub(super) batch_bytes_max: usize,
}

impl Stream {
    pub(super) fn new(route: Route) -> Self {
        Self {
            batch_bytes_max: route.max_message_bytes,
            route,
            state: StreamState::Starting,
            sent: -1,
            leader_epoch: -1,
            queue: VecDeque::new(),
            queued_bytes: 0,
            data_since: None,
            passed_since: None,
            is_unrecorded: false,
            awaits: BTreeSet::new(),
            told: Verdicts::new(),
            refusals: 0,
        }
    }

    /// Gives both ids where the target is another than before.
    pub(super) fn rerouted(&mut self, route: &Route) -> Option<(Uuid, Uuid)> {
        if route.max_message_bytes != self.route.max_message_bytes {
            self.route.max_message_bytes = route.max_message_bytes;
            self.batch_bytes_max = route.max_message_bytes;
            self.refusals = 0;
        }
        let (old, new) = (self.route.target_topic_id, route.target_topic_id);
        match self.state {
            _ if new.is_nil() || new == old => None,
            StreamState::Reading | StreamState::Emptying | StreamState::Leaving if !old.is_nil() => Some((old, new)),
            StreamState::Stopped => None,
            _ => {
                self.route.target_topic_id = new;
                None
            }
        }
    }

    pub(super) fn push(&mut self, delivery: Delivery, now: Instant) {
        self.route.topic_id = delivery.topic_id;
        if !delivery.batches.is_empty() {
            self.data_since.get_or_insert(now);
        } else {
            self.passed_since.get_or_insert(now);
            // A stream of markers alone must not grow the queue.
            if let Some(last) = self.queue.back_mut() {
                last.next_position = delivery.next_position;
                last.charged_bytes += delivery.charged_bytes;
                return;
            }
        }
        self.queued_bytes += batch_bytes(&delivery);
        self.queue.push_back(delivery);
    }

    /// The oldest delivery, or so many batches of it, until they have so many bytes. One answer may hold more than a transaction may.
    pub(super) fn take(&mut self, batches_max: usize, bytes_max: usize) -> Option<Delivery> {
        let mut head = self.queue.pop_front()?;
        self.queued_bytes -= batch_bytes(&head);
        let mut bytes = 0;
        let fits = |it: &&RawBatch| {
            let is_room = bytes < bytes_max.max(1);
            bytes += it.bytes().len();
            is_room
        };
        let count = head.batches.iter().take(batches_max).take_while(fits).count();
        if head.batches.len() > count {
            let behind = head.batches.split_off(count);
            let batches = std::mem::take(&mut head.batches);
            let mut tail = Delivery { batches: behind, ..head.clone() };
            head.batches = batches;
            if let Some(first) = head.batches.last().map(RawBatch::header) {
                let leader_epoch = first.partition_leader_epoch;
                head.next_position = Position { offset: first.next_offset(), leader_epoch };
            }
            tail.position = head.next_position;
            // The memory is free when the last of it is.
            head.charged_bytes = 0;
            self.queued_bytes += batch_bytes(&tail);
            self.queue.push_front(tail);
        }
        Some(head)
    }

    pub(super) fn resolved(&mut self, topic_id: Uuid, offset: i64, leader_epoch: i32, now: Instant) {
        self.state = StreamState::Reading;
        self.route.topic_id = topic_id;
        self.sent = offset;
        self.leader_epoch = leader_epoch;
        self.is_unrecorded = true;
        self.data_since.get_or_insert(now);
    }

    /// Back into the queue, in order, with what was known then.
    pub(super) fn put_back(
        &mut self,
        deliveries: Vec<Delivery>,
        sent: i64,
        leader_epoch: i32,
        is_unrecorded: bool,
        now: Instant,
    ) {
        self.sent = sent;
        self.leader_epoch = leader_epoch;
        self.is_unrecorded |= is_unrecorded;
        for delivery in deliveries.into_iter().rev() {
            self.queued_bytes += batch_bytes(&delivery);
            self.queue.push_front(delivery);
        }
        if !self.queue.is_empty() || self.is_unrecorded {
            self.data_since.get_or_insert(now);
        }
    }

    /// After a batch was refused: smaller ones from now on. Gives the number of refusals.
    pub(super) fn refused(&mut self) -> u32 {
        self.refusals += 1;
        self.batch_bytes_max /= 2;
        self.refusals
    }

    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    pub(super) fn charged_bytes(&self) -> usize {
        self.queue.iter().map(|it| it.charged_bytes).sum()
    }

    /// Drops what waits; gives the bytes that were charged for it.
    pub(super) fn clear(&mut self) -> usize {
        let charged = self.charged_bytes();
        self.queue.clear();
        self.queued_bytes = 0;
        self.data_since = None;
        self.passed_since = None;
        self.is_unrecorded = false;
        charged
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Something waits for a transaction, or for what it must know before.
    pub(super) fn has_work(&self) -> bool {
        self.has_queued() || self.is_unrecorded
    }

    /// Something that can go into a transaction now.
    pub(super) fn is_ready(&self) -> bool {
        self.has_work() && self.awaits.is_empty()
    }

    pub(super) fn data_bytes(&self) -> usize {
        self.queued_bytes
    }
}

fn batch_bytes(delivery: &Delivery) -> usize {
    delivery.batches.iter().map(|it| it.bytes().len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::model::{route, source};
    use super::*;
    use crate::source::model::Model;
    use crate::source::select;
    use crate::source::{Answer, FetchPartition, FetchRequest, SourceRequest};
    use std::time::Duration;
    use uuid::Uuid;

    /// One delivery of so many batches of one record each.
    fn delivery(batches: i32) -> Delivery {
        let name = source(0);
        let mut model = Model::new([name.clone()]);
        (0..batches).for_each(|_| model.produce(&name, 1, None));
        let asked = FetchPartition {
            partition: name.clone(),
            topic_id: Uuid::nil(),
            current_leader_epoch: 0,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            partition_max_bytes: 1 << 20,
        };
        let request =
            FetchRequest { max_wait: Duration::ZERO, min_bytes: 1, max_bytes: 1 << 20, partitions: vec![asked] };
        let Answer::Fetch { partitions } = model.answer(0, &SourceRequest::Fetch(request)) else { unreachable!() };
        let position = Position { offset: 0, leader_epoch: -1 };
        let selection = select(partitions[0].1.records.clone(), Vec::new(), position);
        Delivery {
            partition: name,
            topic_id: Uuid::from_u128(1),
            position,
            batches: selection.batches,
            next_position: selection.next,
            charged_bytes: 700,
            high_watermark: i64::from(batches),
            last_stable_offset: i64::from(batches),
            log_start_offset: 0,
        }
    }

    fn stream() -> Stream {
        Stream::new(route(&source(0), Uuid::from_u128(1), 400))
    }

    /// An answer of a megabyte may hold more batches than the transaction machine takes; handed over whole, it ended the lane.
    #[test]
    fn a_delivery_of_too_many_batches_is_taken_in_parts() {
        let mut stream = stream();
        stream.push(delivery(7), Instant::now());
        let mut parts = Vec::new();
        while let Some(part) = stream.take(3, usize::MAX) {
            parts.push((part.position.offset, part.batches.len(), part.next_position.offset, part.charged_bytes));
        }
        assert_eq!(parts, [(0, 3, 3, 0), (3, 3, 6, 0), (6, 1, 7, 700)]);
    }

    /// The last one may go beyond: else one that is larger than all of them would never be taken.
    #[test]
    fn a_delivery_is_taken_until_it_has_so_many_bytes() {
        let mut stream = stream();
        stream.push(delivery(7), Instant::now());
        let one = stream.data_bytes() / 7;
        let mut parts = Vec::new();
        while let Some(part) = stream.take(usize::MAX, 2 * one + 1) {
            parts.push((part.position.offset, part.batches.len(), part.charged_bytes));
        }
        assert_eq!(parts, [(0, 3, 0), (3, 3, 0), (6, 1, 700)]);
    }

    /// Whatever else changes in the routes, the size that was refused is not tried again; a new word of the target is.
    #[test]
    fn a_refused_size_stays_refused_until_the_target_says_another() {
        let mut stream = stream();
        let told = |max_message_bytes| route(&source(0), Uuid::from_u128(1), max_message_bytes);
        assert_eq!((stream.refused(), stream.batch_bytes_max), (1, 200));
        stream.accepted();
        stream.rerouted(&told(400));
        assert_eq!((stream.refused(), stream.batch_bytes_max), (1, 100));
        stream.rerouted(&told(300));
        assert_eq!((stream.batch_bytes_max, stream.route.max_message_bytes), (300, 300));
    }
}
