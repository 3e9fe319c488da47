//! Whose lane it is: taking it, being fenced, and who of two gives way.
//!
//! A fence proves that somebody took the lane, or that the coordinator aborted a transaction for its age, but not who or
//! which: that is read in the ledger, which every owner signs first. Two processes that start at the same moment fence each
//! other, one in this lane and the other in that; each must come to the same verdict about who goes on, or both would end.

use super::gather::Stream;
use super::incident::Incident;
use super::lane::{Event, KnownPosition, Lane, Output, Phase};
use crate::ledger::{LaneLedger, Owner};
use crate::target;
use crate::types::TopicPartition;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A bridge that takes a lane reads the ledger and signs it. Taken back before that, it would be fenced in the middle of it,
/// and fence in its turn: two bridges that start at once could go on like this for ever. One of its requests may get lost.
const SIGNATURE_PATIENCE: Duration = Duration::from_secs(6);
/// Where the coordinator has ended our own transaction for its age, probably nobody has taken the lane.
const SIGNATURE_PATIENCE_EXPIRED: Duration = Duration::from_secs(1);
/// At first; each time as long as it has waited already.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// A process of this age was not started together with whoever fences it, and gives way without comparing clocks of two
/// hosts.
const SETTLED: Duration = Duration::from_secs(30);
/// A lane that is fenced so often by nobody who signs the ledger is fought over by something unknown.
pub(super) const RETAKES_MAX: usize = 5;
const RETAKES_WITHIN: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Ownership {
    /// When this lane was taken back from nobody that is known.
    retakes: VecDeque<Instant>,
    /// Whose signature was found when the lane was taken: until it is replaced by ours it is no sign of a successor.
    displaced: Option<Uuid>,
    /// The same when the first question was asked that the ledger has not answered yet: it may have been read before our
    /// signature came into it.
    displaced_when_asked: Option<Uuid>,
    questions: u32,
    has_signed: bool,
    has_owned: bool,
    /// The coordinator has ended our own transaction for its age.
    is_expired: bool,
    /// Since when it is asked who signed.
    fenced_at: Option<Instant>,
    /// Incidents that nobody was told of yet. As many as the lane has partitions.
    suspected: Vec<Suspicion>,
}

struct Suspicion {
    incident: Incident,
    /// The ledger's word is on its way.
    is_asked: bool,
}

impl Lane {
    pub(super) fn take(&mut self) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Taking;
            self.transact(target::Input::Take);
        }
    }

    pub(super) fn replayed(&mut self, mut ledger: LaneLedger) {
        if self.phase != Phase::Replaying {
            return;
        }
        if let Some(other) = self.other(ledger.owner()) {
            if self.ownership.has_owned && self.membership.is_some() {
                return self.end(Event::Fenced);
            }
            if self.ownership.has_owned && self.is_newer(&other) {
                return self.end(Event::TakenOver(other));
            }
            self.ownership.displaced = Some(other.instance);
        } else if ledger.owner().is_some() {
            // Our own signature: whoever signs now has come after it.
            self.ownership.displaced = None;
        }
        self.ownership.has_owned = true;
        self.ownership.has_signed = false;
        self.ownership.suspected.clear();
        self.is_unsigned = true;
        let (transaction, positions) = (ledger.transaction(), self.held(&ledger));
        ledger.take(self.settings.owner.clone());
        self.ledger = Some(ledger);
        self.phase = Phase::Copying;
        self.not_before = self.now;
        self.output(Output::Event(Event::Taken { transaction, positions }));
        self.settle_dead_letters();
        self.apply_routes();
        if let Some(protocol) = self.wanted_protocol.take() {
            self.transact(target::Input::SetProtocol(protocol));
        }
    }

    /// Those of this source.
    fn held(&self, ledger: &LaneLedger) -> Vec<KnownPosition> {
        let own = ledger.positions().iter().filter(|(key, _)| key.cluster_id == self.settings.source_cluster_id);
        let held = own.map(|(key, it)| KnownPosition {
            partition: key.topic_partition(),
            target: TopicPartition::new(it.target_topic.clone(), it.target_partition),
            next_offset: it.next_offset,
            records: it.records,
            dead_letters: it.dead_letters.as_ref().map_or(0, |it| it.records),
        });
        held.collect()
    }

    pub(super) fn has_owned(&self) -> bool {
        self.ownership.has_owned
    }

    /// After every commit. The first one's markers may still be on their way, and the signature cannot be read before they are
    /// there; the second transaction could not begin without them.
    pub(super) fn signed(&mut self) {
        if std::mem::replace(&mut self.ownership.has_signed, true) {
            self.ownership.displaced = None;
        }
    }

    pub(super) fn fenced(&mut self) {
        if self.membership.is_some() {
            return self.end(Event::Fenced);
        }
        let timeout = self.settings.transactor.transaction_timeout;
        self.ownership.is_expired = self.in_flight.as_ref().is_some_and(|it| it.began() + timeout <= self.now);
        self.ownership.fenced_at = Some(self.now);
        self.forget();
        self.ask();
    }

    fn ask(&mut self) {
        self.phase = Phase::Asking;
        self.who_owns();
    }

    fn who_owns(&mut self) {
        if self.ownership.questions == 0 || self.ownership.displaced.is_some() {
            self.ownership.displaced_when_asked = self.ownership.displaced;
        }
        self.ownership.questions += 1;
        self.output(Output::WhoOwns);
    }

    pub(super) fn ask_again(&mut self) {
        if let Phase::Waiting(until) = self.phase
            && until <= self.now
        {
            self.ask();
        }
    }

    /// The partition has stopped; before anybody is told why, the ledger must say that this is still the owner. A bridge that
    /// was cut off does not know that a successor went on: it would hold its old positions against the copy or the source,
    /// and send its operator after what is all right.
    pub(super) fn suspect(&mut self, incident: Incident) {
        self.ownership.suspected.push(Suspicion { incident, is_asked: false });
    }

    /// After every input. An incident says that everything before it is copied. While some of that waits for its transaction,
    /// it may yet come otherwise: should the lane have to be taken again, it reads from an earlier position, and may find
    /// another place to stop, or none.
    pub(super) fn question(&mut self) {
        if self.phase != Phase::Copying {
            return;
        }
        let mut suspected = std::mem::take(&mut self.ownership.suspected);
        let mut ripe = suspected.iter_mut().filter(|it| !it.is_asked && !self.waits(&it.incident)).peekable();
        let asks = ripe.peek().is_some();
        ripe.for_each(|it| it.is_asked = true);
        self.ownership.suspected = suspected;
        if asks {
            self.who_owns();
        }
    }

    /// Something that lies before the incident is not committed yet.
    fn waits(&self, incident: &Incident) -> bool {
        let partition = &incident.partition;
        self.in_flight.as_ref().is_some_and(|it| it.holds(partition))
            || self.streams.get(partition).is_some_and(Stream::has_work)
    }

    /// Something waits for the ledger's word.
    pub(super) fn suspects(&self) -> bool {
        !self.ownership.suspected.is_empty()
    }

    fn convict(&mut self, owner: Option<Owner>) {
        let suspected = std::mem::take(&mut self.ownership.suspected);
        let is_suspicious = suspected.iter().any(|it| it.is_asked);
        match self.other(owner.as_ref()).filter(|it| !self.has_displaced(it)) {
            Some(_) if is_suspicious && self.membership.is_some() => self.end(Event::Fenced),
            Some(other) if is_suspicious && self.is_newer(&other) => self.end(Event::TakenOver(other)),
            // Taken again, it finds them again.
            Some(_) if is_suspicious => {
                self.forget();
                self.take();
            }
            _ => {
                for it in suspected {
                    if it.is_asked && !self.waits(&it.incident) {
                        self.output(Output::Event(Event::Incident(it.incident)));
                    } else {
                        // Put back meanwhile, it is asked for once more.
                        self.ownership.suspected.push(Suspicion { is_asked: false, ..it });
                    }
                }
            }
        }
    }

    /// Who signed last, for a lane that was fenced or has a suspicion.
    pub(super) fn asked(&mut self, owner: Option<Owner>) {
        self.ownership.questions = self.ownership.questions.saturating_sub(1);
        match self.phase {
            Phase::Asking => {}
            Phase::Copying => return self.convict(owner),
            _ => return,
        }
        match self.other(owner.as_ref()) {
            Some(other) if self.is_newer(&other) => return self.end(Event::TakenOver(other)),
            // It reads our signature and gives way.
            Some(other) if !self.has_displaced(&other) => return self.take(),
            _ => {}
        }
        let since = self.ownership.fenced_at.unwrap_or(self.now);
        let patience = if self.ownership.is_expired { SIGNATURE_PATIENCE_EXPIRED } else { SIGNATURE_PATIENCE };
        if self.now < since + patience {
            let waited = self.now.saturating_duration_since(since);
            self.phase = Phase::Waiting(self.now + waited.max(ASK_INTERVAL));
            return;
        }
        let (now, retakes) = (self.now, &mut self.ownership.retakes);
        retakes.retain(|at| *at + RETAKES_WITHIN > now);
        // An outage that outlasts the transaction timeout is no fight, however often it comes.
        if !self.ownership.is_expired {
            if retakes.len() >= RETAKES_MAX {
                let id = &self.settings.transactor.transactional_id;
                return self.end(Event::Failed(format!(
                    "the transactional id {id} was fenced {RETAKES_MAX} times, and no bridge signed the ledger: look for \
                     another program that uses it"
                )));
            }
            retakes.push_back(now);
        }
        self.take();
    }

    /// A signature that is not ours.
    fn other(&self, owner: Option<&Owner>) -> Option<Owner> {
        owner.filter(|it| it.instance != self.settings.owner.instance).cloned()
    }

    /// It signed before us, and that is all that is known.
    fn has_displaced(&self, other: &Owner) -> bool {
        [self.ownership.displaced, self.ownership.displaced_when_asked].contains(&Some(other.instance))
    }

    /// Whether this process gives way. Of two that start together both must find the same one newer.
    fn is_newer(&self, other: &Owner) -> bool {
        let own = &self.settings.owner;
        let is_settled = self.settings.started + SETTLED <= self.now;
        !self.has_displaced(other)
            && (is_settled || (other.started_ms, other.instance) > (own.started_ms, own.instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::LogAppendTimePolicy;
    use crate::bridge::lane::{Input, LaneSettings};
    use crate::group::Membership;
    use crate::source::FetcherSettings;
    use crate::target::{Answer, LastTransaction, TransactionProtocol, TransactorSettings, TxnRequest};
    use crate::types::{ProducerIdentity, TopicPartition};

    const PRODUCER_FENCED: i16 = 90;
    const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

    fn owner(instance: u128, started_ms: u64) -> Owner {
        let version = "1".to_owned();
        Owner { instance: Uuid::from_u128(instance), host: "h".into(), pid: 1, started_ms, version }
    }

    /// A lane with its clock, and a target that says yes to everything but the verdicts.
    struct Rig {
        lane: Lane,
        now: Instant,
        /// Of the next EndTxn.
        code: i16,
        /// Answers to WhoOwns and ReadLedger.
        signed: Option<Owner>,
        asked: usize,
        events: Vec<Event>,
        /// Of every TxnOffsetCommit.
        generations: Vec<i32>,
    }

    impl Rig {
        fn new(own: Owner, signed: Option<Owner>) -> Self {
            let now = Instant::now();
            let ledger_partition = TopicPartition::new("l.ledger", 0);
            let settings = LaneSettings {
                lane: 0,
                source_cluster_id: "source".into(),
                ledger_partition: ledger_partition.clone(),
                owner: own,
                commit_interval: Duration::from_millis(10),
                transaction_bytes_max: 1 << 20,
                log_append_time: LogAppendTimePolicy::KeepAppendTime,
                dead_letters: None,
                transactor: TransactorSettings {
                    transactional_id: "l.0".into(),
                    group_id: "l".into(),
                    ledger_partition: Some(ledger_partition),
                    transaction_timeout: TRANSACTION_TIMEOUT,
                    abort_margin: Duration::from_secs(5),
                    max_in_flight: 5,
                    harden_v1: true,
                },
                fetcher: FetcherSettings::default(),
                started: now,
                started_ms: 0,
            };
            let lane = Lane::new(settings, TransactionProtocol::V2, now);
            let mut rig = Self { lane, now, code: 0, signed, asked: 0, events: Vec::new(), generations: Vec::new() };
            rig.input(Input::Take);
            rig
        }

        fn input(&mut self, input: Input) {
            self.lane.handle(self.now, input);
            while let Some(output) = self.lane.poll_output() {
                if let Some(input) = self.answer(output) {
                    self.lane.handle(self.now, input);
                }
            }
        }

        fn answer(&mut self, output: Output) -> Option<Input> {
            let identity = ProducerIdentity { producer_id: 1, producer_epoch: 1 };
            let (id, answer) = match output {
                Output::ReadLedger => {
                    let mut ledger = LaneLedger::new(TopicPartition::new("l.ledger", 0));
                    if let Some(owner) = self.signed.clone() {
                        ledger.take(owner);
                    }
                    return Some(Input::Ledger(ledger));
                }
                Output::WhoOwns => {
                    self.asked += 1;
                    return Some(Input::Owner(self.signed.clone()));
                }
                Output::Event(event) => {
                    self.events.push(event);
                    return None;
                }
                Output::Target(target::Output::Send { id, request, .. }) => match request {
                    TxnRequest::InitProducerId { .. } => (id, Answer::InitProducerId { error_code: 0, identity }),
                    TxnRequest::Produce { .. } => {
                        (id, Answer::Produce { error_code: 0, base_offset: 0, log_append_time_ms: -1 })
                    }
                    TxnRequest::TxnOffsetCommit { generation_id, .. } => {
                        self.generations.push(generation_id);
                        (id, Answer::TxnOffsetCommit { error_code: 0 })
                    }
                    TxnRequest::EndTxn { .. } => {
                        let error_code = std::mem::take(&mut self.code);
                        if error_code == 0 {
                            self.signed = Some(self.lane.settings.owner.clone());
                        }
                        (id, Answer::EndTxn { error_code, identity: Some(identity) })
                    }
                    TxnRequest::DescribeTransactions { .. } => {
                        (id, Answer::DescribeTransactions { error_code: 0, state: LastTransaction::Other })
                    }
                    TxnRequest::ListOffsets { partitions, .. } => {
                        (id, Answer::ListOffsets { offsets: partitions.into_iter().map(|it| (it, 0, 1)).collect() })
                    }
                    other => panic!("not of this protocol: {other:?}"),
                },
                _ => return None,
            };
            Some(Input::Target(target::Input::Answered { id, answer: Ok(answer) }))
        }

        /// The next transaction is fenced; then `signed` is what the ledger says.
        fn fence(&mut self, signed: Option<Owner>) {
            self.code = PRODUCER_FENCED;
            self.signed = signed;
            self.lane.is_unsigned = true;
            self.pass(Duration::from_millis(10));
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.input(Input::Timeout);
        }

        fn taken(&self) -> usize {
            self.events.iter().filter(|it| matches!(it, Event::Taken { .. })).count()
        }

        fn successor(&self) -> Option<u128> {
            self.events
                .iter()
                .find_map(|it| if let Event::TakenOver(it) = it { Some(it.instance.as_u128()) } else { None })
        }
    }

    #[test]
    fn whoever_signed_before_the_start_is_displaced() {
        let rig = Rig::new(owner(1, 100), Some(owner(2, 900)));
        assert_eq!((rig.taken(), rig.successor()), (1, None));
        assert_eq!(rig.signed, Some(owner(1, 100)));
    }

    #[test]
    fn the_older_of_two_gives_way_and_the_newer_takes_the_lane_back() {
        let mut older = Rig::new(owner(9, 100), None);
        older.fence(Some(owner(1, 101)));
        assert_eq!((older.taken(), older.successor()), (1, Some(1)));
        let mut newer = Rig::new(owner(1, 101), None);
        newer.fence(Some(owner(9, 100)));
        assert_eq!((newer.taken(), newer.successor()), (2, None));
        assert_eq!(newer.signed, Some(owner(1, 101)));
    }

    /// Whose lane it is then is for the group to say: two that each took it back would fence each other for ever.
    #[test]
    fn a_shared_lane_that_is_fenced_ends_without_a_fight() {
        let mut rig = Rig::new(owner(2, 900), None);
        let (member_id, instance_id) = ("m".into(), None);
        rig.input(Input::Membership(Membership { generation_id: 3, member_id, instance_id }));
        rig.fence(Some(owner(1, 100)));
        rig.pass(SIGNATURE_PATIENCE);
        assert!(matches!(rig.events.last(), Some(Event::Fenced)), "{:?}", rig.events);
        assert_eq!((rig.taken(), rig.asked, rig.lane.phase), (1, 0, Phase::Ended));
        assert_eq!(rig.generations, [-1, 3]);
    }

    /// Started in the same millisecond, any order will do if both find the same.
    #[test]
    fn twins_agree_on_the_newer() {
        let mut one = Rig::new(owner(1, 100), None);
        one.fence(Some(owner(2, 100)));
        let mut two = Rig::new(owner(2, 100), None);
        two.fence(Some(owner(1, 100)));
        assert_eq!((one.successor(), two.successor()), (Some(2), None));
    }

    /// The new host's clock may be behind.
    #[test]
    fn a_settled_process_gives_way_whatever_the_clocks_say() {
        let mut rig = Rig::new(owner(1, 100), None);
        rig.pass(SETTLED);
        rig.fence(Some(owner(2, 50)));
        assert_eq!(rig.successor(), Some(2));
    }

    /// By a clock that was set back since, whoever signed before us is newer.
    #[test]
    fn a_ledger_that_was_read_before_our_signature_names_no_successor() {
        let incident = || Incident {
            partition: TopicPartition::new("t", 0),
            target: TopicPartition::new("t", 0),
            next_offset: 0,
            time_ms: 0,
            kind: crate::bridge::IncidentKind::NoPosition { end_offset: 1 },
        };
        let mut rig = Rig::new(owner(1, 100), Some(owner(2, 900)));
        rig.lane.ownership.displaced = Some(Uuid::from_u128(2));
        rig.lane.suspect(incident());
        rig.lane.question();
        assert_eq!(rig.lane.poll_output().map(|it| matches!(it, Output::WhoOwns)), Some(true));
        // Two commits: whoever asks from now on reads our signature.
        rig.lane.signed();
        rig.lane.signed();
        rig.lane.suspect(incident());
        rig.lane.question();
        assert_eq!(rig.lane.poll_output().map(|it| matches!(it, Output::WhoOwns)), Some(true));
        for told in 1..=2 {
            rig.input(Input::Owner(Some(owner(2, 900))));
            assert_eq!(rig.successor(), None);
            let incidents = rig.events.iter().filter(|it| matches!(it, Event::Incident(_))).count();
            assert!(incidents >= told, "{:?}", rig.events);
        }
        // The control: asked once more, the same answer means that it has come back.
        rig.lane.suspect(incident());
        rig.signed = Some(owner(2, 900));
        rig.input(Input::Timeout);
        assert_eq!(rig.successor(), Some(2));
    }

    #[test]
    fn a_fence_without_signature_is_waited_for() {
        let mut rig = Rig::new(owner(1, 100), None);
        let own = rig.signed.clone();
        rig.fence(own);
        assert_eq!((rig.asked, rig.taken()), (1, 1));
        rig.signed = Some(owner(2, 200));
        rig.pass(ASK_INTERVAL);
        assert_eq!((rig.asked, rig.successor()), (2, Some(2)));
    }

    #[test]
    fn nobody_who_signs_is_fought_only_so_often() {
        let mut rig = Rig::new(owner(1, 100), None);
        for retakes in 0..=RETAKES_MAX {
            assert_eq!(rig.taken(), 1 + retakes);
            let own = rig.signed.clone();
            rig.fence(own);
            rig.pass(SIGNATURE_PATIENCE);
        }
        assert!(matches!(rig.events.last(), Some(Event::Failed(reason)) if reason.contains("l.0")), "{:?}", rig.events);
    }
}
