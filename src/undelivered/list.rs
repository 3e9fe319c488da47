//! Which dead letters there are.

use super::{UndeliveredError, delivered, partition, time};
use crate::dead_letters::{Letter, LetterId};
use crate::ledger::Delivered;
use crate::positions::Link;
use crate::reader;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which of them; what is not given takes all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of the source.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub reason: Option<String>,
    /// When they were taken out of the copy.
    pub since: Option<SystemTime>,
    /// The newest so many are listed; all are counted. Each takes up to two thousand bytes of memory.
    pub count: usize,
}

impl Filter {
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        let since_ms = self.since.map_or(0, |it| it.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis());
        self.topic.as_ref().is_none_or(|it| **it == *letter.source.topic)
            && self.partition.is_none_or(|it| it == letter.source.partition)
            && self.reason.as_ref().is_none_or(|it| *it == letter.why.reason)
            && u128::from(letter.time_ms) >= since_ms
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ListReport {
    pub link: String,
    /// At the target.
    pub dead_letter_topic: String,
    /// The newest, the oldest of them first.
    pub letters: Vec<LetterRow>,
    /// All that were asked for, listed or not.
    pub total: u64,
    pub by_reason: BTreeMap<String, u64>,
    /// Of these, the ones that were replayed to the target.
    pub replayed: u64,
    /// Records of the topic that are no dead letters.
    pub others: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterRow {
    pub id: LetterId,
    /// When it was taken out of the copy.
    pub time: String,
    #[serde(skip)]
    order: (u64, i32, i64),
    /// Of the source.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    pub part: &'static str,
    /// The field; empty: the whole datum, or what stands before it.
    pub path: String,
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_id: Option<i32>,
    /// Where it was replayed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<ReplayedTo>,
}

/// Where at the target a dead letter's record is, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayedTo {
    pub target_topic: String,
    pub target_partition: i32,
    pub target_offset: i64,
    /// Its value is another one than that of the letter.
    pub corrected: bool,
    pub time: String,
}

impl ReplayedTo {
    pub(super) fn of(delivered: &Delivered) -> Self {
        Self {
            target_topic: delivered.target_topic.to_string(),
            target_partition: delivered.target_partition,
            target_offset: delivered.target_offset,
            corrected: delivered.corrected,
            time: time(delivered.time_ms),
        }
    }
}

impl LetterRow {
    pub(super) fn of(letter: Letter, id: LetterId, delivered: Option<&Delivered>) -> Self {
        Self {
            id,
            time: time(letter.time_ms),
            order: (letter.time_ms, id.partition, id.offset),
            topic: letter.source.topic.to_string(),
            partition: letter.source.partition,
            offset: letter.offset,
            reason: letter.why.reason.into_owned(),
            part: letter.why.part.name(),
            path: letter.why.path,
            error: letter.why.error,
            schema_id: letter.why.schema_id,
            replayed: delivered.map(ReplayedTo::of),
        }
    }
}

/// What is committed now. Where there is no such topic, there are none.
pub async fn list(link: &Link<'_>, filter: &Filter) -> Result<ListReport, UndeliveredError> {
    let topic = link.config().dead_letter_topic();
    let (cluster, (_, target)) = (&link.ends().target, link.metadata());
    let partitions = target.topics.get(topic.as_str()).map_or(0, |it| it.partitions.len());
    let link_name = link.config().link.as_str().to_owned();
    let mut report = ListReport { link: link_name, dead_letter_topic: topic, ..ListReport::default() };
    for number in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let partition = partition(link, number);
        let range = cluster.committed_range(target, &partition).await?;
        reader::each(cluster, &partition, range, |batch, record| {
            let Some(letter) = Letter::read(record) else {
                report.others += 1;
                return Ok(());
            };
            if !filter.takes(&letter) {
                return Ok(());
            }
            report.total += 1;
            *report.by_reason.entry(letter.why.reason.to_string()).or_default() += 1;
            let id = LetterId { partition: number, offset: batch.offset(record) };
            let delivered = delivered(link, &letter, id);
            report.replayed += u64::from(delivered.is_some());
            report.letters.push(LetterRow::of(letter, id, delivered));
            if report.letters.len() >= filter.count.saturating_mul(2).max(1) {
                newest(&mut report.letters, filter.count);
            }
            Ok::<_, UndeliveredError>(())
        })
        .await?;
    }
    newest(&mut report.letters, filter.count);
    Ok(report)
}

fn newest(letters: &mut Vec<LetterRow>, count: usize) {
    letters.sort_by_key(|it| it.order);
    letters.drain(..letters.len().saturating_sub(count));
}
