//! One bridge with one lane, between models that answer when a test says so.

use super::lane::Input;
use super::model::{MAX_MESSAGE_BYTES, Target, route, source};
use super::process::{Process, Question};
use crate::source::model::Model;
use crate::target::model::with_code;
use crate::target::{self, TransactionProtocol, TxnRequest};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// One bridge, and brokers that answer when they are told to.
pub(super) struct Rig {
    pub(super) process: Process,
    pub(super) source: Model,
    pub(super) target: Target,
    pub(super) now: Instant,
}

impl Rig {
    /// With so many records in one partition.
    pub(super) fn new(records: i32) -> Self {
        let now = Instant::now();
        let mut source_model = Model::new([source(0)]);
        for _ in 0..records {
            source_model.produce(&source(0), 1, None);
        }
        let process = Process::start(1, TransactionProtocol::V2, now);
        Self { process, source: source_model, target: Target::new(), now }
    }

    /// It has begun to take the lane, and knows its partition.
    pub(super) fn start(records: i32) -> Self {
        let mut rig = Self::new(records);
        rig.give(Input::Take);
        rig.give(Input::Leaders(rig.source.view()));
        rig.give(Input::Routes([(source(0), route(&source(0), Uuid::from_u128(1), MAX_MESSAGE_BYTES))].into()));
        rig
    }

    pub(super) fn give(&mut self, input: Input) {
        self.process.input(self.now, input);
        assert_eq!(self.process.broken, None);
    }

    /// Such a request is the next to be answered.
    pub(super) fn front(&mut self, is: impl Fn(&TxnRequest) -> bool) {
        let at = self.process.sending.iter().position(|it| is(&it.request)).unwrap();
        let it = self.process.sending.remove(at);
        self.process.sending.insert(0, it);
    }

    pub(super) fn refuse(&mut self, code: i16) {
        let it = self.process.sending.remove(0);
        let answer = Ok(with_code(&it.request, code));
        self.give(Input::Target(target::Input::Answered { id: it.id, answer }));
    }

    pub(super) fn question(&mut self) {
        let input = match self.process.questions.remove(0) {
            Question::Ledger { owner: true, .. } => Input::Ledger(self.target.replay(0, usize::MAX).unwrap()),
            Question::Ledger { owner: false, .. } => {
                Input::Owner(self.target.replay(0, usize::MAX).unwrap().owner().cloned())
            }
            Question::TargetEnd { partition, target } => {
                let end_offset = self.target.end(&target) as i64;
                Input::TargetEnd { partition, end_offset }
            }
        };
        self.give(input);
    }

    pub(super) fn send(&mut self) {
        let it = self.process.sending.remove(0);
        let answer = Ok(self.target.apply(&it.request));
        self.target.broker.finish_markers();
        self.give(Input::Target(target::Input::Answered { id: it.id, answer }));
    }

    pub(super) fn fetch(&mut self) {
        let it = self.process.fetching.remove(0);
        let answer = Ok(self.source.answer(it.node, &it.request));
        self.give(Input::Source(crate::source::Input::Answered { id: it.id, answer }));
    }

    /// Everything is answered in turn, until it is so.
    pub(super) fn run(&mut self, until: impl Fn(&Process) -> bool) {
        for _ in 0..1_000 {
            self.process.grant(self.now);
            if until(&self.process) {
                return;
            }
            self.now += Duration::from_millis(5);
            match &self.process {
                it if !it.questions.is_empty() => self.question(),
                it if !it.sending.is_empty() => self.send(),
                it if !it.fetching.is_empty() => self.fetch(),
                _ => {}
            }
            self.give(Input::Timeout);
        }
        panic!("it does not come to that");
    }
}
