//! ListOffsets and OffsetForLeaderEpoch: where to begin, whether the log still is the one that was read, what was lost.

use crate::source::errors::{self, Action, Api};
use crate::source::fetcher::Fetcher;
use crate::source::message::{
    Answer, EpochEnd, Failure, IncidentKind, Isolation, ListOffsetsPartition, ListedOffset,
    OffsetForLeaderEpochPartition, Output, Position, SourceRequest, StartAt, Trouble,
};
use crate::source::partition::State;
use crate::types::{NodeId, TopicPartition};
use std::collections::BTreeMap;

/// ListOffsets' words for the two ends of a log.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;

pub(super) struct Lookup {
    node: NodeId,
    api: Api,
    partitions: Vec<(TopicPartition, u64)>,
}

/// What one node can be asked about in one request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Epochs,
    Offsets(Isolation),
}

impl State {
    fn question(&self) -> Option<Question> {
        match self {
            State::Validating => Some(Question::Epochs),
            // To begin at the end is to begin at the last stable offset: an open transaction may commit.
            State::Resolving { .. } => Some(Question::Offsets(Isolation::ReadCommitted)),
            // To be out of range is to be beyond the log's end, not beyond what is stable.
            State::Examining { .. } | State::Confirming(_) => Some(Question::Offsets(Isolation::ReadUncommitted)),
            State::Fetching | State::Stopped => None,
        }
    }

    fn timestamp(&self) -> i64 {
        match self {
            State::Resolving { start, latest } => start.timestamp(*latest),
            State::Examining { earliest: Some(_) } => LATEST,
            _ => EARLIEST,
        }
    }
}

impl Fetcher {
    pub(super) fn send_lookups(&mut self) {
        let mut questions: BTreeMap<(NodeId, Question), Vec<TopicPartition>> = BTreeMap::new();
        for (name, partition) in self.partitions.iter().filter(|(_, it)| it.is_due()) {
            if let (Some(node), Some(question)) = (partition.leader, partition.state.question())
                && self.may_ask(node)
            {
                questions.entry((node, question)).or_default().push(name.clone());
            }
        }
        for ((node, question), names) in questions {
            self.ask(node, question, &names);
        }
    }

    fn ask(&mut self, node: NodeId, question: Question, names: &[TopicPartition]) {
        let (mut asked, mut epochs, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let Some(partition) = self.partitions.get_mut(name) else { continue };
            partition.in_flight = true;
            asked.push((name.clone(), partition.revision));
            let current_leader_epoch = partition.leader_epoch;
            match question {
                Question::Epochs => epochs.push(OffsetForLeaderEpochPartition {
                    partition: name.clone(),
                    current_leader_epoch,
                    leader_epoch: partition.position.leader_epoch,
                }),
                Question::Offsets(_) => offsets.push(ListOffsetsPartition {
                    partition: name.clone(),
                    current_leader_epoch,
                    timestamp: partition.state.timestamp(),
                }),
            }
        }
        let request = match question {
            Question::Epochs => SourceRequest::OffsetForLeaderEpoch { partitions: epochs },
            Question::Offsets(isolation) => SourceRequest::ListOffsets { isolation, partitions: offsets },
        };
        let api = request.api();
        // Its back-off lives there, even if nothing is fetched from it yet.
        self.node(node);
        let id = self.send(node, request);
        self.lookups.insert(id, Lookup { node, api, partitions: asked });
    }

    pub(super) fn lookup_answered(&mut self, lookup: Lookup, answer: Result<Answer, Failure>) {
        let Lookup { node, api, partitions } = lookup;
        let mut waiting = self.still_waiting(partitions);
        let mut take = |name: &TopicPartition| {
            let index = waiting.iter().position(|it| it == name);
            index.map(|index| waiting.swap_remove(index)).is_some()
        };
        let missing = match answer {
            Ok(Answer::ListOffsets { partitions }) if api == Api::ListOffsets => {
                self.node_answered(node);
                for (name, listed) in partitions {
                    if take(&name) {
                        self.listed(&name, listed);
                    }
                }
                Trouble::NotInAnswer { api }
            }
            Ok(Answer::OffsetForLeaderEpoch { partitions }) if api == Api::OffsetForLeaderEpoch => {
                self.node_answered(node);
                for (name, end) in partitions {
                    if take(&name) {
                        self.validated(&name, end);
                    }
                }
                Trouble::NotInAnswer { api }
            }
            Ok(_) => Trouble::NotInAnswer { api },
            Err(failure) => {
                self.node_failed(node);
                Trouble::NoAnswer { api, failure }
            }
        };
        for name in waiting {
            self.retry(&name, missing);
        }
    }

    fn validated(&mut self, name: &TopicPartition, end: EpochEnd) {
        if errors::action(Api::OffsetForLeaderEpoch, end.error_code) != Action::Success {
            return self.failed(name, Api::OffsetForLeaderEpoch, end.error_code);
        }
        let Some(partition) = self.partitions.get_mut(name) else { return };
        let position = partition.position;
        // The epoch too, as the leader itself compares (`Partition.readRecords`): a log without the epoch of the position
        // may be longer than it, and differ. Java's consumer looks at the offset alone.
        let EpochEnd { end_offset, leader_epoch, .. } = end;
        if end_offset < position.offset || leader_epoch < position.leader_epoch {
            return self.incident(name, IncidentKind::Truncation { end_offset, leader_epoch });
        }
        partition.state = State::Fetching;
        partition.succeeded();
    }

    fn listed(&mut self, name: &TopicPartition, listed: ListedOffset) {
        if errors::action(Api::ListOffsets, listed.error_code) != Action::Success {
            return self.failed(name, Api::ListOffsets, listed.error_code);
        }
        let Some(partition) = self.partitions.get_mut(name) else { return };
        let position = partition.position;
        let offset = listed.offset;
        let is_earliest = partition.state.timestamp() == EARLIEST;
        match &mut partition.state {
            State::Resolving { start: StartAt::Timestamp(_), latest: Some(latest) } => {
                // −1: no record is that young. The one with that time was read from the log, so its epoch is the log's.
                let found = if offset < 0 {
                    Position { offset: *latest, leader_epoch: -1 }
                } else {
                    Position { offset, leader_epoch: listed.leader_epoch }
                };
                self.resolved(name, found);
            }
            _ if offset < 0 => self.retry(name, Trouble::Answered { api: Api::ListOffsets, code: listed.error_code }),
            State::Resolving { start: StartAt::Timestamp(_), latest } => {
                *latest = Some(offset);
                partition.succeeded();
            }
            // The epoch of an end need not have a record: a leader that wrote nothing leaves none, and validation would
            // find its epoch missing.
            State::Resolving { .. } => self.resolved(name, Position { offset, leader_epoch: -1 }),
            State::Examining { .. } | State::Confirming(_) if is_earliest && position.offset < offset => {
                let kind = IncidentKind::Retention { first_lost: position.offset, last_lost: offset - 1 };
                self.incident(name, kind);
            }
            State::Examining { earliest: earliest @ None } => *earliest = Some(offset),
            State::Examining { earliest: Some(_) } => {
                if position.offset > offset {
                    let kind = IncidentKind::Truncation { end_offset: offset, leader_epoch: listed.leader_epoch };
                    return self.incident(name, kind);
                }
                // In range after all: the log has grown meanwhile, or does not know the epoch, which validation shows.
                partition.state = State::at(position);
                let trouble = partition.trouble.unwrap_or(Trouble::Answered { api: Api::Fetch, code: 1 });
                self.retry(name, trouble);
            }
            State::Confirming(_) => {
                let confirmed = std::mem::replace(&mut partition.state, State::Fetching);
                partition.succeeded();
                if let State::Confirming(delivery) = confirmed {
                    partition.position = delivery.next_position;
                    self.held_bytes -= delivery.charged_bytes;
                    self.deliver(*delivery);
                }
            }
            // The revision has made sure that nothing else was asked for.
            State::Validating | State::Fetching | State::Stopped => {}
        }
    }

    fn resolved(&mut self, name: &TopicPartition, position: Position) {
        let Some(partition) = self.partitions.get_mut(name) else { return };
        partition.position = position;
        partition.state = State::Fetching;
        partition.succeeded();
        let (topic_id, Position { offset, leader_epoch }) = (partition.topic_id, position);
        self.output(Output::Resolved { partition: name.clone(), topic_id, offset, leader_epoch });
    }
}
