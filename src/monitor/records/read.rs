//! The last records of a partition, or those from an offset or a time on; or the last of all partitions of a topic.

use super::shown::{Decoder, Record};
use super::{Query, Refusal};
use crate::cluster::{At, Cluster, Metadata};
use crate::reader::{self, ReadError};
use crate::types::TopicPartition;
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

const RECORDS_MAX: usize = 100;
const RECORDS_DEFAULT: usize = 20;
/// Of one answer, in what is shown of keys, values and headers.
const SHOWN_BYTES_MAX: usize = 1 << 20;
/// Of a topic's partitions at once.
const PARTITIONS_MAX: usize = 50;
/// Of the last records: markers and what was aborted lie between them, so the look goes back farther and farther.
const LOOKS_MAX: u32 = 6;
const LOOK_GROWTH: i64 = 4;

pub(super) struct Question {
    pub(super) is_source: bool,
    pub(super) topic: String,
    /// None: all.
    partition: Option<i32>,
    from: From,
    count: usize,
}

#[derive(Clone, Copy)]
enum From {
    Latest,
    Offset(i64),
    TimeMs(i64),
}

#[derive(Serialize)]
pub(super) struct Page {
    end: &'static str,
    topic: String,
    /// Those that were looked at.
    ranges: Vec<Bounds>,
    /// More partitions than are looked at, or more bytes than are shown.
    is_cut: bool,
    records: Vec<Record>,
}

#[derive(Serialize)]
struct Bounds {
    partition: i32,
    log_start: i64,
    last_stable: i64,
}

impl Question {
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let is_source = match query.text("end") {
            Some("source") => true,
            Some("target") => false,
            _ => return Err(Refusal::wrong("end: say source or target")),
        };
        let topic = query.text("topic").ok_or_else(|| Refusal::wrong("topic: say which"))?.to_owned();
        let number = |name: &str| match query.number::<i64>(name) {
            Ok(Some(it)) if it < 0 => Err(Refusal::wrong(format!("{name}: it cannot be below 0"))),
            other => other.map_err(Refusal::wrong),
        };
        let partition = match number("partition")?.map(i32::try_from) {
            Some(Err(_)) => return Err(Refusal::wrong("partition: there is none of so high a number")),
            Some(Ok(it)) => Some(it),
            None => None,
        };
        let from = match (number("offset")?, number("time_ms")?) {
            (Some(offset), _) if partition.is_some() => From::Offset(offset),
            (Some(_), _) => return Err(Refusal::wrong("offset: say of which partition")),
            (None, Some(ms)) => From::TimeMs(ms),
            (None, None) => From::Latest,
        };
        let count = number("count")?.and_then(|it| usize::try_from(it).ok()).unwrap_or(RECORDS_DEFAULT);
        Ok(Self { is_source, topic, partition, from, count: count.clamp(1, RECORDS_MAX) })
    }
}

impl Question {
    /// Newest first where the newest are asked for, else in the order in which they would be read; and no more of them than
    /// that, so that many partitions take no more memory than one.
    fn trim(&self, found: &mut Vec<Raw>) {
        match self.partition {
            // Within a partition timestamps may go back.
            Some(_) => found.sort_by_key(|it| it.offset),
            None => found.sort_by_key(|it| (it.timestamp_ms, it.partition, it.offset)),
        }
        if matches!(self.from, From::Latest) {
            found.reverse();
        }
        found.truncate(self.count);
    }
}

pub(super) async fn page(cluster: &Cluster, question: &Question, decoder: &Decoder<'_>) -> Result<Page, Refusal> {
    let metadata = cluster.metadata(Some(&[question.topic.as_str().into()])).await.map_err(Refusal::failed)?;
    let known = metadata.topics.get(question.topic.as_str()).map(|it| &it.partitions);
    let known: Vec<i32> = known.into_iter().flat_map(|it| it.keys().copied()).collect();
    let wanted: Vec<i32> = match question.partition {
        Some(number) if known.contains(&number) => vec![number],
        Some(number) => {
            let (topic, count) = (&question.topic, known.len());
            return Err(Refusal::wrong(format!(
                "{topic} has {count} partitions at this end, and none numbered {number}"
            )));
        }
        None => known.iter().copied().take(PARTITIONS_MAX).collect(),
    };
    let mut page = Page {
        end: cluster.end(),
        topic: question.topic.clone(),
        ranges: Vec::new(),
        is_cut: wanted.len() < known.len() && question.partition.is_none(),
        records: Vec::new(),
    };
    let mut found = Vec::new();
    for number in wanted {
        let partition = TopicPartition::new(question.topic.as_str(), number);
        let range = cluster.committed_range(&metadata, &partition).await.map_err(Refusal::failed)?;
        page.ranges.push(Bounds { partition: number, log_start: range.start, last_stable: range.end });
        let from = match question.from {
            From::Latest => None,
            From::Offset(offset) => Some(offset.clamp(range.start, range.end)),
            From::TimeMs(ms) => Some(at_time(cluster, &metadata, &partition, ms, range.end).await?),
        };
        let raw = match from {
            Some(from) => records(cluster, &partition, from..range.end, question.count, Side::First).await,
            None => latest(cluster, &partition, range, question.count).await,
        };
        found.extend(raw.map_err(Refusal::failed)?);
        question.trim(&mut found);
    }
    let mut bytes = 0;
    for raw in found {
        let record = decoder.shown(raw).await;
        bytes += record.bytes();
        if bytes > SHOWN_BYTES_MAX && !page.records.is_empty() {
            page.is_cut = true;
            break;
        }
        page.records.push(record);
    }
    Ok(page)
}

async fn at_time(
    cluster: &Cluster,
    metadata: &Metadata,
    partition: &TopicPartition,
    ms: i64,
    end: i64,
) -> Result<i64, Refusal> {
    let offset = cluster.offset_at(metadata, partition, At::Time(ms)).await.map_err(Refusal::failed)?;
    // -1: all are older.
    Ok(if offset < 0 { end } else { offset.min(end) })
}

/// A record with bytes of its own; what lies beyond what is shown and decoded is not kept.
pub(super) struct Raw {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Part>,
    pub(super) value: Option<Part>,
    pub(super) headers: Vec<(String, Option<Part>)>,
    pub(super) headers_left_out: usize,
    pub(super) letter: Option<crate::dead_letters::Letter>,
}

pub(super) struct Part {
    /// The beginning.
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    First,
    Last,
}

async fn latest(
    cluster: &Cluster,
    partition: &TopicPartition,
    range: Range<i64>,
    count: usize,
) -> Result<Vec<Raw>, ReadError> {
    let mut back = i64::try_from(count).unwrap_or(i64::MAX) + LOOK_GROWTH;
    for look in 1.. {
        let from = range.end.saturating_sub(back).max(range.start);
        let found = records(cluster, partition, from..range.end, count, Side::Last).await?;
        if found.len() >= count || from == range.start || look == LOOKS_MAX {
            return Ok(found);
        }
        back = back.saturating_mul(LOOK_GROWTH);
    }
    Ok(Vec::new())
}

async fn records(
    cluster: &Cluster,
    partition: &TopicPartition,
    range: Range<i64>,
    count: usize,
    side: Side,
) -> Result<Vec<Raw>, ReadError> {
    let mut found: VecDeque<Raw> = VecDeque::new();
    reader::until(cluster, partition, range, |batch, record| {
        if found.len() == count {
            if side == Side::First {
                return Ok::<_, ReadError>(ControlFlow::Break(()));
            }
            found.pop_front();
        }
        let offset = batch.offset(record);
        found.push_back(super::shown::raw(partition.partition, offset, batch.timestamp(record), record));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found.into())
}
