//! The batches for each broker, in as few requests as their order allows: what a request costs a broker hardly depends on what is in
//! it, and on protocol v2 the coordinator writes down all new partitions of a request at once. Pure.

use crate::batch::StampedBatch;
use crate::target::{RequestId, TransactionProtocol};
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of one request, unless a single batch is larger: its answer waits for all of it, and `socket.request.max.bytes` of the broker, which
/// few lower, allows a hundred times as much.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// One Produce. No partition is in it twice: a broker takes one batch of each.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) transactional_id: Arc<str>,
    pub(super) protocol: TransactionProtocol,
    pub(super) batches: Vec<(TopicPartition, StampedBatch)>,
}

/// As many as are in the request.
pub(super) type Ids = Vec<RequestId>;

/// The batches of one machine that have not been sent.
///
/// On v2 each leader has its partitions added to the transaction, and while the coordinator writes down those of one it refuses the
/// others', who wait 20 ms before they ask again (`ReplicaManager.handleProduceAppend`): so first batches go to one leader after the
/// other.
pub(super) struct Outbox<A> {
    packings: BTreeMap<A, Packing>,
    enlisting: Option<Enlisting<A>>,
}

/// First batches of a transaction, under way to one leader.
struct Enlisting<A> {
    at: A,
    /// Not answered yet.
    ids: Ids,
}

/// For one broker.
#[derive(Default)]
struct Packing {
    requests: Vec<(Ids, Packed)>,
    /// The first request that the next batch of a partition may be in.
    from: BTreeMap<TopicPartition, usize>,
}

impl Packed {
    fn bytes(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.len()).sum()
    }

    /// Its leader has partitions added to the transaction: on v2 each transaction has an epoch, and so sequences, of its own.
    fn enlists(&self) -> bool {
        self.protocol == TransactionProtocol::V2 && self.batches.iter().any(|(_, batch)| batch.base_sequence() == 0)
    }
}

impl<A: Ord + Clone> Outbox<A> {
    pub(super) fn new() -> Self {
        Self { packings: BTreeMap::new(), enlisting: None }
    }

    /// `it`: one batch.
    pub(super) fn add(&mut self, to: A, id: RequestId, it: Packed) {
        self.packings.entry(to).or_default().add(id, it);
    }

    /// What may be sent now, in the order in which it has to go.
    pub(super) fn take(&mut self) -> Vec<(A, Ids, Packed)> {
        let mut sent = Vec::new();
        for (to, packing) in std::mem::take(&mut self.packings) {
            let enlists = packing.requests.iter().any(|(_, packed)| packed.enlists());
            if enlists && self.enlisting.as_ref().is_some_and(|it| it.at != to) {
                self.packings.insert(to, packing);
                continue;
            }
            for (ids, packed) in packing.requests {
                if packed.enlists() {
                    let enlisting = self.enlisting.get_or_insert(Enlisting { at: to.clone(), ids: Vec::new() });
                    enlisting.ids.extend(&ids);
                }
                sent.push((to.clone(), ids, packed));
            }
        }
        sent
    }

    /// They are answered, or never will be.
    pub(super) fn ended(&mut self, ids: &Ids) {
        if let Some(it) = &mut self.enlisting {
            it.ids.retain(|id| !ids.contains(id));
            self.enlisting.take_if(|it| it.ids.is_empty());
        }
    }

    /// What waits for its turn there will not be sent.
    pub(super) fn give_up(&mut self, to: &A) -> Ids {
        let held = self.packings.remove(to).unwrap_or_default();
        held.requests.into_iter().flat_map(|(ids, _)| ids).collect()
    }
}

impl Packing {
    fn add(&mut self, id: RequestId, it: Packed) {
        let from = it.batches.iter().filter_map(|(partition, _)| self.from.get(partition)).max().copied().unwrap_or(0);
        let bytes = it.bytes();
        let fits =
            |(_, other): &(Ids, Packed)| other.protocol == it.protocol && other.bytes() + bytes <= REQUEST_BYTES_MAX;
        let found = self.requests.iter().skip(from).position(fits).map(|at| from + at);
        let at = found.unwrap_or(self.requests.len());
        for (partition, _) in &it.batches {
            self.from.insert(partition.clone(), at + 1);
        }
        match self.requests.get_mut(at) {
            // Those of one topic stand together.
            Some((ids, packed)) => {
                for (partition, batch) in it.batches {
                    let last = packed.batches.iter().rposition(|(other, _)| other.topic == partition.topic);
                    let behind = last.map_or(ids.len(), |at| at + 1);
                    ids.insert(behind, id);
                    packed.batches.insert(behind, (partition, batch));
                }
            }
            None => self.requests.push((vec![id], it)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const SEQUENCE: std::ops::Range<usize> = 53..57;

    fn one(partition: i32, body_bytes: usize, base_sequence: i32) -> Packed {
        let mut header = [0; 61];
        header[SEQUENCE].copy_from_slice(&base_sequence.to_be_bytes());
        let batch = StampedBatch { header, body: Bytes::from(vec![0; body_bytes]) };
        Packed {
            transactional_id: "link.0".into(),
            protocol: TransactionProtocol::V2,
            batches: vec![(TopicPartition::new("a", partition), batch)],
        }
    }

    proptest! {
        /// Each batch once, those of a partition in their order and in requests of their own, and none too large.
        #[test]
        fn order_is_kept_and_nothing_lost(
            batches in prop::collection::vec((0..6, prop_oneof![4 => 0..2_000_usize, 1 => 400_000..1_500_000_usize]), 0..40)
        ) {
            let mut packing = Packing::default();
            for (id, (partition, bytes)) in (0..).zip(&batches) {
                packing.add(RequestId(id), one(*partition, *bytes, 0));
            }
            let (mut seen, mut last) = (Vec::new(), BTreeMap::new());
            for (number, (ids, packed)) in packing.requests.into_iter().enumerate() {
                prop_assert_eq!(ids.len(), packed.batches.len());
                prop_assert!(ids.len() == 1 || packed.bytes() <= REQUEST_BYTES_MAX);
                for (id, (partition, batch)) in ids.into_iter().zip(packed.batches) {
                    let (of, bytes) = &batches[usize::try_from(id.0).unwrap()];
                    prop_assert_eq!((partition.partition, batch.body.len()), (*of, *bytes));
                    if let Some((before, request)) = last.insert(partition, (id, number)) {
                        prop_assert!(before < id && request < number);
                    }
                    seen.push(id.0);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..batches.len() as u64).collect::<Vec<_>>());
        }

        /// Whatever is answered or given up when: first batches are under way to one leader at most, nothing waits for anything else, and in
        /// the end nothing waits.
        #[test]
        fn leaders_are_enlisted_one_after_the_other(steps in prop::collection::vec((0..4_u8, 0..3_i32), 0..60)) {
            let (mut outbox, mut next, mut under_way) = (Outbox::new(), 0, Vec::new());
            let mut waiting = 0;
            for (what, leader) in steps.into_iter().chain((0..60).map(|_| (2, 0))) {
                match what {
                    0 | 1 => {
                        outbox.add(leader, RequestId(next), one(next as i32, 10, i32::from(what)));
                        (next, waiting) = (next + 1, waiting + 1);
                    }
                    2 if !under_way.is_empty() => {
                        let (_, ids, _): (i32, Ids, bool) = under_way.remove(0);
                        outbox.ended(&ids);
                    }
                    3 => waiting -= outbox.give_up(&leader).len(),
                    _ => {}
                }
                for (to, ids, packed) in outbox.take() {
                    waiting -= ids.len();
                    under_way.push((to, ids, packed.enlists()));
                }
                let enlisting: std::collections::BTreeSet<_> =
                    under_way.iter().filter(|it| it.2).map(|it| it.0).collect();
                prop_assert!(enlisting.len() <= 1);
                prop_assert!(outbox.packings.is_empty() || enlisting.len() == 1);
            }
            prop_assert_eq!((waiting, under_way.len()), (0, 0));
        }
    }

    #[test]
    fn partitions_share_a_request() {
        let mut packing = Packing::default();
        for (id, partition) in [0, 0, 1, 2, 2, 2].into_iter().enumerate() {
            packing.add(RequestId(id as u64), one(partition, 30_000, 0));
        }
        let ids: Vec<Vec<u64>> =
            packing.requests.into_iter().map(|(ids, _)| ids.into_iter().map(|it| it.0).collect()).collect();
        assert_eq!(ids, [vec![0, 2, 3], vec![1, 4], vec![5]]);
    }
}
