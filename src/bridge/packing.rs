//! The batches for one broker, in as few requests as their order allows: what a request costs a broker hardly depends on what is in
//! it, and on protocol v2 the coordinator writes down all new partitions of a request at once.

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

/// All of one machine, between two looks at the network.
#[derive(Default)]
pub(super) struct Packing {
    requests: Vec<(Vec<RequestId>, Packed)>,
    /// The first request that the next batch of a partition may be in.
    from: BTreeMap<TopicPartition, usize>,
}

impl Packed {
    fn bytes(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.len()).sum()
    }
}

impl Packing {
    /// `it`: one batch.
    pub(super) fn add(&mut self, id: RequestId, it: Packed) {
        let from = it.batches.iter().filter_map(|(partition, _)| self.from.get(partition)).max().copied().unwrap_or(0);
        let bytes = it.bytes();
        let fits = |(_, other): &(Vec<RequestId>, Packed)| {
            other.protocol == it.protocol && other.bytes() + bytes <= REQUEST_BYTES_MAX
        };
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

    /// In the order in which they have to go.
    pub(super) fn requests(self) -> Vec<(Vec<RequestId>, Packed)> {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn one(partition: i32, body_bytes: usize) -> Packed {
        let batch = StampedBatch { header: [0; 61], body: Bytes::from(vec![0; body_bytes]) };
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
                packing.add(RequestId(id), one(*partition, *bytes));
            }
            let (mut seen, mut last) = (Vec::new(), BTreeMap::new());
            for (number, (ids, packed)) in packing.requests().into_iter().enumerate() {
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
    }

    #[test]
    fn partitions_share_a_request() {
        let mut packing = Packing::default();
        for (id, partition) in [0, 0, 1, 2, 2, 2].into_iter().enumerate() {
            packing.add(RequestId(id as u64), one(partition, 30_000));
        }
        let ids: Vec<Vec<u64>> =
            packing.requests().into_iter().map(|(ids, _)| ids.into_iter().map(|it| it.0).collect()).collect();
        assert_eq!(ids, [vec![0, 2, 3], vec![1, 4], vec![5]]);
    }
}
