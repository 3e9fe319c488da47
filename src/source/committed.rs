//! What of a fetch answer is committed: Kafka's own filter (`CompletedFetch.nextFetchedRecord`), on batches.

use crate::batch::{ControlRecord, RawBatch, split};
use crate::planted::{Bug, planted};
use crate::source::message::{AbortedTransaction, CorruptProblem, Position};
use bytes::Bytes;
use std::collections::BTreeSet;

pub struct Selection {
    /// Committed data at or behind the position.
    pub batches: Vec<RawBatch>,
    /// Data of aborted transactions there: not to be copied, but it tells a phantom from what never was.
    pub aborted: Vec<RawBatch>,
    /// Behind everything that was passed; the position itself where nothing was.
    pub next: Position,
    /// Where the first batch at or behind the position begins. Beyond the position: something is missing between them.
    pub first_base: Option<i64>,
    /// There was at least one whole batch.
    pub any: bool,
    /// Why the rest of the answer was not looked at.
    pub problem: Option<CorruptProblem>,
}

/// `aborted`: the broker's list for exactly this answer.
pub fn select(records: Bytes, mut aborted: Vec<AbortedTransaction>, position: Position) -> Selection {
    aborted.sort_by_key(|it| it.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut aborted_producers = BTreeSet::new();
    let mut selection = Selection {
        batches: Vec::new(),
        aborted: Vec::new(),
        next: position,
        first_base: None,
        any: false,
        problem: None,
    };
    let mut expected_from = 0;
    let mut rest = records.clone();
    for batch in split(records) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(problem) => {
                selection.problem = Some(CorruptProblem::Batch(problem));
                break;
            }
        };
        let header = batch.header();
        selection.any = true;
        rest = rest.slice(batch.bytes().len()..);
        if header.base_offset < expected_from {
            let problem = CorruptProblem::Order { expected_from, base_offset: header.base_offset };
            selection.problem = Some(problem);
            break;
        }
        expected_from = header.next_offset();
        let is_new = header.next_offset() > position.offset;
        // Markers and aborted batches too: a flipped bit in one decides about others.
        if is_new && let Err(problem) = batch.verify_crc() {
            selection.problem = Some(CorruptProblem::Batch(problem));
            break;
        }
        while let Some(entry) = aborted.next_if(|it| it.first_offset <= header.last_offset()) {
            aborted_producers.insert(entry.producer_id);
        }
        let mut is_data = header.is_control() && planted(Bug::MarkerAsData);
        if header.is_control() {
            match ControlRecord::parse(&batch) {
                Ok(Some(ControlRecord::Abort { .. })) => {
                    aborted_producers.remove(&header.producer_id);
                }
                Ok(_) => {}
                Err(problem) => {
                    selection.problem = Some(CorruptProblem::Batch(problem));
                    break;
                }
            }
        } else {
            let is_aborted = header.is_transactional() && aborted_producers.contains(&header.producer_id);
            is_data = (!is_aborted || planted(Bug::AbortedKept)) && header.record_count > 0;
        }
        if is_new {
            selection.first_base.get_or_insert(header.base_offset);
            selection.next = Position { offset: header.next_offset(), leader_epoch: header.partition_leader_epoch };
            if is_data {
                selection.batches.push(batch);
            } else if !header.is_control() && header.record_count > 0 {
                selection.aborted.push(batch);
            }
        }
    }
    if planted(Bug::PositionFromDropped)
        && let Some(next_offset) = behind(&rest)
    {
        selection.next.offset = next_offset;
    }
    selection
}

/// Behind a batch that was cut off after its offsets: only a planted bug asks.
fn behind(cut: &[u8]) -> Option<i64> {
    let base_offset = i64::from_be_bytes(*cut.first_chunk()?);
    let last_offset_delta = i32::from_be_bytes(cut.get(23..27)?.try_into().ok()?);
    Some(base_offset + i64::from(last_offset_delta) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::samples::{Sample, join};

    fn run(samples: &[Sample], aborted: &[(i64, i64)], offset: i64) -> (Vec<i64>, i64, Option<CorruptProblem>) {
        let aborted = aborted.iter().map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        });
        let selection = select(join(samples), aborted.collect(), Position { offset, leader_epoch: 0 });
        let bases = selection.batches.iter().map(|it| it.header().base_offset).collect();
        (bases, selection.next.offset, selection.problem)
    }

    #[test]
    fn aborted_data_and_markers_are_passed_not_delivered() {
        let log = [
            Sample::data(0, 2),
            Sample::data(2, 1).of(7),
            Sample::data(3, 1).of(8),
            Sample::abort(4, 7),
            Sample::data(5, 1).of(7),
            Sample::commit(6, 7),
            Sample::commit(7, 8),
        ];
        assert_eq!(run(&log, &[(7, 2)], 0), (vec![0, 3, 5], 8, None));
    }

    /// The same producer aborts twice with a commit between; the list arrives in any order.
    #[test]
    fn an_abort_marker_ends_one_transaction_only() {
        let log = [
            Sample::data(0, 1).of(7),
            Sample::abort(1, 7),
            Sample::data(2, 1).of(7),
            Sample::commit(3, 7),
            Sample::data(4, 1).of(7),
            Sample::abort(5, 7),
        ];
        assert_eq!(run(&log, &[(7, 4), (7, 0)], 0), (vec![2], 6, None));
    }

    /// A producer id in the aborted set says nothing about its batches outside transactions.
    #[test]
    fn only_transactional_batches_can_be_aborted() {
        let log = [Sample::data(0, 1).of(7), Sample::data(1, 1).idempotent(7), Sample::abort(2, 7)];
        assert_eq!(run(&log, &[(7, 0)], 0), (vec![1], 3, None));
    }

    #[test]
    fn a_batch_that_holds_the_position_is_kept_and_one_below_is_not() {
        let log = [Sample::data(0, 3), Sample::data(3, 3), Sample::data(6, 1)];
        assert_eq!(run(&log, &[], 4), (vec![3, 6], 7, None));
        assert_eq!(run(&log, &[], 6), (vec![6], 7, None));
        assert_eq!(run(&log, &[], 7), (vec![], 7, None));
    }

    #[test]
    fn an_emptied_batch_moves_the_position() {
        assert_eq!(run(&[Sample::data(0, 5).emptied(), Sample::data(5, 1)], &[], 0), (vec![5], 6, None));
    }

    #[test]
    fn a_damaged_batch_ends_the_answer_behind_the_good_ones() {
        let (bases, next, problem) =
            run(&[Sample::data(0, 2), Sample::data(2, 1).damaged(), Sample::data(3, 1)], &[], 0);
        assert_eq!((bases, next), (vec![0], 2));
        assert!(matches!(problem, Some(CorruptProblem::Batch(_))));
    }

    #[test]
    fn a_batch_that_goes_back_is_a_problem() {
        let (bases, _, problem) = run(&[Sample::data(4, 2), Sample::data(4, 2)], &[], 0);
        assert_eq!(bases, [4]);
        assert_eq!(problem, Some(CorruptProblem::Order { expected_from: 6, base_offset: 4 }));
    }
}
