//! Faults as data: which request, and what becomes of it. Each rule counts how often it struck, so that a test can prove
//! that its fault happened.

use super::settings::Millis;
use crate::types::{NodeId, TopicPartition};
use kafka_protocol::ResponseError;

/// A schedule holds some dozens.
const RULES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

/// How a lost message is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection closes.
    Close,
    /// The connection stays open and says nothing more.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request never arrives.
    LoseRequest(Loss),
    /// The request takes effect, its answer is lost.
    LoseAnswer(Loss),
    /// The request arrives late; what its connection sends after it waits behind it.
    DelayRequest(Millis),
    DelayAnswer(Millis),
    /// The request arrives when the rule is released, even if its connection is gone by then (KAFKA-17754).
    HoldRequest,
    HoldAnswer,
    /// The request arrives twice; the second answer is the one that is sent.
    Duplicate,
    /// Answered by an error, without effect.
    Refuse(ResponseError),
    /// Takes effect, and is answered by an error all the same.
    Misreport(ResponseError),
    /// Takes effect; so many bytes of the answer are sent, then the connection closes.
    CutAnswer(usize),
}

/// Which requests a rule strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub api: Option<i16>,
    pub node: Option<NodeId>,
    /// The beginning of the client's id.
    pub client_id: Option<String>,
    /// Only requests that name this partition.
    pub partition: Option<TopicPartition>,
    /// The first so many pass.
    pub skip: u64,
    /// Then so many are struck.
    pub times: u64,
    pub fault: Fault,
}

impl Rule {
    /// The next request of this API.
    pub fn new(api: i16, fault: Fault) -> Self {
        Self { api: Some(api), node: None, client_id: None, partition: None, skip: 0, times: 1, fault }
    }

    /// The next request of any kind.
    pub fn any(fault: Fault) -> Self {
        Self { api: None, ..Self::new(0, fault) }
    }

    pub fn node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    pub fn client_id(self, prefix: impl Into<String>) -> Self {
        Self { client_id: Some(prefix.into()), ..self }
    }

    pub fn partition(self, partition: TopicPartition) -> Self {
        Self { partition: Some(partition), ..self }
    }

    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }
}

/// What a rule looks at.
pub(crate) struct Facts<'a> {
    pub(crate) api: i16,
    pub(crate) node: NodeId,
    pub(crate) client_id: &'a str,
    pub(crate) touches: &'a dyn Fn(&TopicPartition) -> bool,
}

#[derive(Clone, Debug)]
struct Live {
    rule: Rule,
    seen: u64,
    struck: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<(RuleId, Live)>,
    next_id: u64,
}

impl Faults {
    /// Beyond the limit the oldest rule goes.
    pub(crate) fn add(&mut self, rule: Rule) -> RuleId {
        let id = RuleId(self.next_id);
        self.next_id += 1;
        if self.rules.len() == RULES_MAX {
            self.rules.remove(0);
        }
        self.rules.push((id, Live { rule, seen: 0, struck: 0 }));
        id
    }

    /// Strikes no more; its count stays.
    pub(crate) fn end(&mut self, id: RuleId) {
        if let Some((_, live)) = self.rules.iter_mut().find(|(known, _)| *known == id) {
            live.rule.times = 0;
        }
    }

    pub(crate) fn struck(&self, id: RuleId) -> u64 {
        self.rules.iter().find(|(known, _)| *known == id).map_or(0, |(_, live)| live.struck)
    }

    /// The first rule that wants this request has it; every rule that matches counts it.
    pub(crate) fn judge(&mut self, facts: &Facts<'_>) -> Option<(RuleId, Fault)> {
        let mut verdict = None;
        for (id, live) in &mut self.rules {
            if !live.rule.matches(facts) {
                continue;
            }
            live.seen += 1;
            let due = live.seen > live.rule.skip && live.struck < live.rule.times;
            if due && verdict.is_none() {
                live.struck += 1;
                verdict = Some((*id, live.rule.fault));
            }
        }
        verdict
    }
}

impl Rule {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        self.api.is_none_or(|it| it == facts.api)
            && self.node.is_none_or(|it| it == facts.node)
            && self.client_id.as_ref().is_none_or(|it| facts.client_id.starts_with(it))
            && self.partition.as_ref().is_none_or(|it| (facts.touches)(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(api: i16, node: NodeId) -> Facts<'static> {
        Facts { api, node, client_id: "bridge-1", touches: &|partition| partition.partition == 3 }
    }

    #[test]
    fn a_rule_skips_strikes_and_is_spent() {
        let mut faults = Faults::default();
        let id = faults.add(Rule::new(26, Fault::Duplicate).skip(1).times(2));
        let struck: Vec<bool> = (0..5).map(|_| faults.judge(&facts(26, 0)).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert_eq!(faults.struck(id), 2);
        assert_eq!(faults.judge(&facts(25, 0)), None);
    }

    #[test]
    fn every_condition_must_hold() {
        let strikes = |rule: Rule| {
            let mut faults = Faults::default();
            faults.add(rule);
            faults.judge(&facts(0, 2)).is_some()
        };
        let rule = || Rule::new(0, Fault::HoldRequest);
        assert!(strikes(rule().node(2).client_id("bridge").partition(TopicPartition::new("t", 3))));
        assert!(!strikes(rule().node(1)));
        assert!(!strikes(rule().client_id("other")));
        assert!(!strikes(rule().partition(TopicPartition::new("t", 4))));
        assert!(strikes(Rule::any(Fault::HoldRequest)));
    }

    #[test]
    fn an_ended_rule_keeps_its_count() {
        let mut faults = Faults::default();
        let id = faults.add(Rule::any(Fault::Duplicate).times(9));
        faults.judge(&facts(0, 0));
        faults.end(id);
        assert_eq!((faults.judge(&facts(0, 0)), faults.struck(id)), (None, 1));
    }
}
