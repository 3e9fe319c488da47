//! The batches for each broker, in as few requests as their order allows: what a request costs a broker hardly depends on what is in
//! it, and on protocol v2 the coordinator writes down all new partitions of a request at once. Pure.

use crate::batch::StampedBatch;
use crate::target::{RequestId, TransactionProtocol};
use crate::types::TopicPartition;
use std::collections::BTreeMap;

/// Of one request, unless a single batch is larger: its answer waits for all of it, and `socket.request.max.bytes` of the broker, which
/// few lower, allows a hundred times as much.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// As many as are in the request.
pub(super) type Ids = Vec<RequestId>;

/// One batch, and the request that its machine knows it by.
pub(super) struct Entry {
    pub(super) id: RequestId,
    pub(super) partition: TopicPartition,
    pub(super) batch: StampedBatch,
}

/// One Produce. No partition is in it twice: a broker takes one batch of each. Those of one topic stand together.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) protocol: TransactionProtocol,
    pub(super) batches: Vec<(TopicPartition, StampedBatch)>,
    pub(super) ids: Ids,
    bytes: usize,
}

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
    requests: Vec<Packed>,
    /// The first request that the next batch of a partition may be in.
    from: BTreeMap<TopicPartition, usize>,
}

impl Packed {
    fn fits(&self, protocol: TransactionProtocol, batch: &StampedBatch) -> bool {
        self.protocol == protocol && self.bytes + batch.len() <= REQUEST_BYTES_MAX
    }

    fn push(&mut self, Entry { id, partition, batch }: Entry) {
        let last = self.batches.iter().rposition(|(other, _)| other.topic == partition.topic);
        let at = last.map_or(self.batches.len(), |at| at + 1);
        self.bytes += batch.len();
        self.ids.insert(at, id);
        self.batches.insert(at, (partition, batch));
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

    pub(super) fn add(&mut self, to: A, protocol: TransactionProtocol, entry: Entry) {
        self.packings.entry(to).or_default().add(protocol, entry);
    }

    /// What may be sent now, in the order in which it has to go.
    pub(super) fn take(&mut self) -> Vec<(A, Packed)> {
        let mut sent = Vec::new();
        for (to, packing) in std::mem::take(&mut self.packings) {
            let enlists = packing.requests.iter().any(Packed::enlists);
            if enlists && self.enlisting.as_ref().is_some_and(|it| it.at != to) {
                self.packings.insert(to, packing);
                continue;
            }
            for packed in packing.requests {
                if packed.enlists() {
                    let enlisting = self.enlisting.get_or_insert(Enlisting { at: to.clone(), ids: Vec::new() });
                    enlisting.ids.extend(&packed.ids);
                }
                sent.push((to.clone(), packed));
            }
        }
        sent
    }

    /// They are answered, or never will be.
    pub(super) fn ended(&mut self, ids: &[RequestId]) {
        if let Some(it) = &mut self.enlisting {
            it.ids.retain(|id| !ids.contains(id));
            self.enlisting.take_if(|it| it.ids.is_empty());
        }
    }

    /// What waits for its turn there will not be sent.
    pub(super) fn give_up(&mut self, to: &A) -> Ids {
        let held = self.packings.remove(to).unwrap_or_default();
        held.requests.into_iter().flat_map(|packed| packed.ids).collect()
    }
}

impl Packing {
    fn add(&mut self, protocol: TransactionProtocol, entry: Entry) {
        let from = self.from.get(&entry.partition).copied().unwrap_or(0);
        let found = self.requests.iter().skip(from).position(|it| it.fits(protocol, &entry.batch));
        let at = found.map_or(self.requests.len(), |at| from + at);
        self.from.insert(entry.partition.clone(), at + 1);
        if at == self.requests.len() {
            self.requests.push(Packed { protocol, batches: Vec::new(), ids: Vec::new(), bytes: 0 });
        }
        if let Some(packed) = self.requests.get_mut(at) {
            packed.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const SEQUENCE: std::ops::Range<usize> = 53..57;

    const V2: TransactionProtocol = TransactionProtocol::V2;

    fn one(id: u64, partition: i32, body_bytes: usize, base_sequence: i32) -> Entry {
        let mut header = [0; 61];
        header[SEQUENCE].copy_from_slice(&base_sequence.to_be_bytes());
        let batch = StampedBatch { header, body: Bytes::from(vec![0; body_bytes]) };
        // Of two topics in turn.
        let topic = if partition % 2 == 0 { "a" } else { "b" };
        Entry { id: RequestId(id), partition: TopicPartition::new(topic, partition), batch }
    }

    proptest! {
        /// Each batch once, those of a partition in their order and in requests of their own, and none too large.
        #[test]
        fn order_is_kept_and_nothing_lost(
            batches in prop::collection::vec((0..6, prop_oneof![4 => 0..2_000_usize, 1 => 400_000..1_500_000_usize]), 0..40)
        ) {
            let mut packing = Packing::default();
            for (id, (partition, bytes)) in (0..).zip(&batches) {
                packing.add(V2, one(id, *partition, *bytes, 0));
            }
            let (mut seen, mut last) = (Vec::new(), BTreeMap::new());
            for (number, packed) in packing.requests.into_iter().enumerate() {
                let bytes: usize = packed.batches.iter().map(|(_, batch)| batch.len()).sum();
                let topics = packed.batches.chunk_by(|a, b| a.0.topic == b.0.topic).count();
                prop_assert_eq!((packed.ids.len(), packed.bytes), (packed.batches.len(), bytes));
                prop_assert!((packed.ids.len() == 1 || bytes <= REQUEST_BYTES_MAX) && topics <= 2);
                for (id, (partition, batch)) in packed.ids.into_iter().zip(packed.batches) {
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
                        outbox.add(leader, V2, one(next, next as i32, 10, i32::from(what)));
                        (next, waiting) = (next + 1, waiting + 1);
                    }
                    2 if !under_way.is_empty() => {
                        let (_, packed): (i32, Packed) = under_way.remove(0);
                        outbox.ended(&packed.ids);
                    }
                    3 => waiting -= outbox.give_up(&leader).len(),
                    _ => {}
                }
                for (to, packed) in outbox.take() {
                    waiting -= packed.ids.len();
                    under_way.push((to, packed));
                }
                let enlisting: std::collections::BTreeSet<_> =
                    under_way.iter().filter(|it| it.1.enlists()).map(|it| it.0).collect();
                prop_assert!(enlisting.len() <= 1);
                prop_assert!(outbox.packings.is_empty() || enlisting.len() == 1);
            }
            prop_assert_eq!((waiting, under_way.len()), (0, 0));
        }
    }

    #[test]
    fn partitions_share_a_request() {
        let mut packing = Packing::default();
        for (id, partition) in (0..).zip([0, 0, 1, 2, 2, 2]) {
            packing.add(V2, one(id, partition, 30_000, 0));
        }
        let ids: Vec<Vec<u64>> =
            packing.requests.into_iter().map(|it| it.ids.into_iter().map(|it| it.0).collect()).collect();
        assert_eq!(ids, [vec![0, 3, 2], vec![1, 4], vec![5]]);
    }
}
