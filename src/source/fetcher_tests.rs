//! How long a Fetch may be held by the broker: whoever is not in it waits for its end.

use super::{
    Answer, EpochEnd, FetchRequest, FetchedPartition, Fetcher, FetcherSettings, Input, LeaderView, Output, Position,
    RequestId, SourceRequest,
};
use crate::types::{NodeId, TopicPartition};
use bytes::Bytes;
use std::time::{Duration, Instant};
use uuid::Uuid;

const NODE: NodeId = 1;
const MAX_WAIT: Duration = Duration::from_millis(500);
const FENCED_LEADER_EPOCH: i16 = 74;

struct Rig {
    fetcher: Fetcher,
    now: Instant,
    fetches: Vec<(RequestId, FetchRequest)>,
    lookups: Vec<(RequestId, SourceRequest)>,
}

impl Rig {
    /// Those with an epoch are validated before they are fetched.
    fn new(epochs: &[i32]) -> Self {
        let now = Instant::now();
        let settings = FetcherSettings { max_wait: MAX_WAIT, ..FetcherSettings::default() };
        let mut rig = Self { fetcher: Fetcher::new(settings, now), now, fetches: vec![], lookups: vec![] };
        for (number, leader_epoch) in epochs.iter().enumerate() {
            let position = Position { offset: 7, leader_epoch: *leader_epoch };
            rig.tell(Input::Assign { partition: partition(number), topic_id: Uuid::from_u128(1), position });
        }
        let view = LeaderView { leader: Some(NODE), leader_epoch: 3, topic_id: Uuid::from_u128(1) };
        rig.tell(Input::Metadata((0..epochs.len()).map(|it| (partition(it), view)).collect()));
        rig
    }

    /// Whatever it wants of the memory is granted at once.
    fn tell(&mut self, input: Input) {
        self.fetcher.handle(self.now, input);
        while let Some(output) = self.fetcher.poll_output() {
            match output {
                Output::WantBudget { node, bytes } => {
                    self.fetcher.handle(self.now, Input::BudgetGranted { node, bytes });
                }
                Output::Send { id, request: SourceRequest::Fetch(request), .. } => self.fetches.push((id, request)),
                Output::Send { id, request, .. } => self.lookups.push((id, request)),
                _ => {}
            }
        }
    }

    /// The one that is held now: how many partitions are in it, and for how long.
    fn held(&self) -> (usize, Duration) {
        let (_, request) = self.fetches.last().unwrap();
        (request.partitions.len(), request.max_wait)
    }

    fn fetch_ends_empty(&mut self) {
        let (id, request) = self.fetches.last().unwrap();
        let empty = FetchedPartition {
            error_code: 0,
            high_watermark: 7,
            last_stable_offset: 7,
            log_start_offset: 0,
            diverging_epoch: None,
            aborted_transactions: vec![],
            records: Bytes::new(),
        };
        let partitions = request.partitions.iter().map(|it| (it.partition.clone(), empty.clone())).collect();
        self.tell(Input::Answered { id: *id, answer: Ok(Answer::Fetch { partitions }) });
    }

    fn validated(&mut self, error_code: i16) {
        let (id, request) = self.lookups.pop().unwrap();
        let SourceRequest::OffsetForLeaderEpoch { partitions } = request else { panic!("{request:?}") };
        let end = EpochEnd { error_code, leader_epoch: 2, end_offset: 100 };
        let partitions = partitions.into_iter().map(|it| (it.partition, end)).collect();
        self.tell(Input::Answered { id, answer: Ok(Answer::OffsetForLeaderEpoch { partitions }) });
    }
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition::new("orders", i32::try_from(number).unwrap())
}

#[test]
fn with_everyone_in_it_the_broker_holds_it_long() {
    let rig = Rig::new(&[-1, -1]);
    assert_eq!(rig.held(), (2, MAX_WAIT));
}

#[test]
fn one_that_is_looked_up_waits_for_no_idle_partition() {
    let mut rig = Rig::new(&[-1, 2]);
    let (count, max_wait) = rig.held();
    assert_eq!(count, 1);
    assert!(max_wait < MAX_WAIT / 10, "{max_wait:?}");
    rig.validated(0);
    rig.fetch_ends_empty();
    assert_eq!(rig.held(), (2, MAX_WAIT));
}

#[test]
fn one_that_backs_off_is_asked_for_again_when_its_time_comes() {
    let mut rig = Rig::new(&[-1, 2]);
    rig.validated(FENCED_LEADER_EPOCH);
    let (retry_at, _) = rig.fetcher.poll_timeout().unwrap();
    rig.fetch_ends_empty();
    let backs_off = retry_at - rig.now;
    assert!(backs_off > Duration::ZERO && backs_off < MAX_WAIT, "{backs_off:?}");
    assert!(rig.held().1 <= backs_off, "{:?} for {backs_off:?}", rig.held());
}
