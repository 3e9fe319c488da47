//! What a console shows of a link, as JSON. Keys are added, not renamed.

use super::advice::{self, Advice};
use super::handovers::{self, Change, Reason};
use super::health::Health;
use super::state::{EndOffsets, Phase, State, ms};
use crate::incidents;
use crate::target::TransactionProtocol;
use serde::Serialize;
use std::collections::BTreeMap;

const MS_PER_DAY: f64 = 86_400_000.0;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Snapshot {
    pub(super) link: String,
    pub(super) version: &'static str,
    /// `starting`, `running`, `draining`.
    pub(super) phase: &'static str,
    pub(super) ready: Health,
    pub(super) started_ms: u64,
    pub(super) now_ms: u64,
    pub(super) dead_letter_topic: String,
    /// `/api/records` answers.
    pub(super) records: bool,
    pub(super) source: Option<End>,
    pub(super) target: Option<End>,
    pub(super) transaction_protocol: Option<u8>,
    pub(super) lanes: Lanes,
    pub(super) totals: Totals,
    pub(super) memory: Option<Memory>,
    pub(super) partitions: Vec<Partition>,
    pub(super) incidents: Vec<Incident>,
    pub(super) certificates: Vec<InUse>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct InUse {
    pub(super) end: &'static str,
    /// `bridge` or `broker`.
    pub(super) whose: &'static str,
    pub(super) subject: String,
    pub(super) not_after_ms: u64,
    pub(super) days_left: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct End {
    pub(super) cluster_id: String,
    pub(super) brokers: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Lanes {
    pub(super) count: u32,
    pub(super) own: Vec<u32>,
    pub(super) taken: Vec<u32>,
    pub(super) failed: BTreeMap<u32, String>,
    /// None without a group.
    pub(super) generation_id: Option<i32>,
    pub(super) members: Option<u32>,
    /// The newest last.
    pub(super) handovers: Vec<Handover>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Handover {
    pub(super) time_ms: u64,
    pub(super) change: Change,
    pub(super) reason: Reason,
    pub(super) text: &'static str,
    /// The generation, who it was, or what went wrong.
    pub(super) detail: Option<String>,
    /// As `0-3,7`.
    pub(super) lanes: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) dead_lettered: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) batches: u64,
    pub(super) reencoded: BTreeMap<&'static str, u64>,
    pub(super) dead_letter_reasons: BTreeMap<String, u64>,
    pub(super) committed: u64,
    pub(super) aborted: u64,
    pub(super) fenced: u64,
    pub(super) ambiguous: u64,
    pub(super) mended: u64,
    pub(super) latency_p50_seconds: Option<f64>,
    pub(super) latency_p99_seconds: Option<f64>,
    /// Of all partitions.
    pub(super) lag_records: i64,
    /// The longest.
    pub(super) lag_seconds: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) bytes_max: usize,
    pub(super) bytes_used: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) lane: u32,
    pub(super) target_topic: String,
    pub(super) target_partition: i32,
    pub(super) next_offset: i64,
    pub(super) source: Option<Offsets>,
    pub(super) target: Option<Offsets>,
    pub(super) lag_records: Option<i64>,
    pub(super) lag_seconds: Option<f64>,
    /// None: the source's retention does not overtake the bridge as things stand.
    pub(super) headroom_seconds: Option<f64>,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) dead_lettered: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// Over the link's whole life.
    pub(super) records: u64,
    pub(super) dead_letters: u64,
    /// Records a second, at each of the last looks.
    pub(super) rates: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Offsets {
    pub(super) log_start: i64,
    pub(super) last_stable: i64,
    pub(super) high_watermark: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Incident {
    /// For `kafka-bridge incidents accept`.
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) target: String,
    pub(super) next_offset: i64,
    pub(super) first_lost: Option<i64>,
    pub(super) last_lost: Option<i64>,
    pub(super) time_ms: u64,
    pub(super) text: String,
    /// The partition stands still for it.
    pub(super) stands: bool,
    pub(super) happened: &'static str,
    pub(super) remedy: &'static str,
    /// An operator's word lets it go on.
    pub(super) is_acceptable: bool,
}

impl From<&handovers::Handover> for Handover {
    fn from(it: &handovers::Handover) -> Self {
        let lanes = handovers::ranges(&it.lanes);
        let (change, reason, text) = (it.change, it.reason, it.reason.text());
        Self { time_ms: it.time_ms, change, reason, text, detail: it.detail.clone(), lanes }
    }
}

impl From<EndOffsets> for Offsets {
    fn from(it: EndOffsets) -> Self {
        Self { log_start: it.log_start, last_stable: it.last_stable, high_watermark: it.high_watermark }
    }
}

impl State {
    pub(super) fn snapshot(&self, now_ms: u64) -> Snapshot {
        let partitions: Vec<_> = self.partitions(now_ms);
        let both = self.both.as_ref();
        let end = |it: &crate::cluster::Keeper| {
            let metadata = it.current();
            End { cluster_id: metadata.cluster_id.clone(), brokers: metadata.brokers.len() }
        };
        Snapshot {
            link: self.link.clone(),
            version: env!("CARGO_PKG_VERSION"),
            phase: match self.phase {
                Phase::Starting => "starting",
                Phase::Running => "running",
                Phase::Draining => "draining",
            },
            ready: self.is_ready(),
            started_ms: ms(self.started),
            now_ms,
            dead_letter_topic: self.dead_letter_topic.clone(),
            records: self.shows_records,
            source: both.map(|it| end(&it.source)),
            target: both.map(|it| end(&it.target)),
            transaction_protocol: both.map(|it| if it.protocol == TransactionProtocol::V2 { 2 } else { 1 }),
            lanes: Lanes {
                count: self.lane_count,
                own: self.own.iter().copied().collect(),
                taken: self.taken.iter().copied().collect(),
                failed: self.failed.clone(),
                generation_id: self.generation_id,
                members: self.members,
                handovers: self.handovers.iter().map(Handover::from).collect(),
            },
            totals: self.totals(&partitions),
            memory: self.budget.as_ref().map(|it| Memory {
                bytes_max: it.bytes_max,
                bytes_used: it.bytes_max.saturating_sub((it.free_bytes)()),
            }),
            partitions,
            incidents: self.incidents(),
            certificates: self.certificates.iter().map(|it| in_use(it, now_ms)).collect(),
        }
    }

    fn incidents(&self) -> Vec<Incident> {
        let last: BTreeMap<_, _> = self.incidents.iter().enumerate().map(|(at, it)| (&it.partition, at)).collect();
        let all = self.incidents.iter().enumerate();
        all.map(|(at, it)| self.incident(it, last.get(&it.partition) == Some(&at))).collect()
    }

    fn partitions(&self, now_ms: u64) -> Vec<Partition> {
        let rows = self.partitions.iter();
        rows.map(|(name, row)| Partition {
            topic: name.topic.to_string(),
            partition: name.partition,
            lane: row.lane,
            target_topic: row.target.topic.to_string(),
            target_partition: row.target.partition,
            next_offset: row.next_offset,
            source: row.at_source.map(Offsets::from),
            target: row.at_target.map(Offsets::from),
            lag_records: row.lag.records(row.next_offset),
            lag_seconds: row.lag_seconds(now_ms),
            headroom_seconds: row.headroom_seconds(now_ms),
            read: row.read,
            written: row.written,
            dead_lettered: row.dead_lettered,
            bytes_read: row.bytes_read,
            bytes_written: row.bytes_written,
            records: row.copied,
            dead_letters: row.letters,
            // Sixty of them for each partition, every second: a digit behind the point is what a picture shows.
            rates: row.rates.iter().map(|it| (it * 10.0).round() / 10.0).collect(),
        })
        .collect()
    }

    fn totals(&self, partitions: &[Partition]) -> Totals {
        let sum = |of: fn(&Partition) -> u64| partitions.iter().map(of).sum();
        let it = self.transactions;
        Totals {
            read: sum(|it| it.read),
            written: sum(|it| it.written),
            dead_lettered: sum(|it| it.dead_lettered),
            bytes_read: sum(|it| it.bytes_read),
            bytes_written: sum(|it| it.bytes_written),
            batches: self.batches,
            reencoded: self.reencoded.clone(),
            dead_letter_reasons: self.dead_lettered.clone(),
            committed: it.committed,
            aborted: it.aborted,
            fenced: it.fenced,
            ambiguous: it.ambiguous,
            mended: it.mended,
            // What is above all buckets has no number in JSON.
            latency_p50_seconds: self.latency.quantile(0.5).filter(|it| it.is_finite()),
            latency_p99_seconds: self.latency.quantile(0.99).filter(|it| it.is_finite()),
            lag_records: partitions.iter().filter_map(|it| it.lag_records).sum(),
            lag_seconds: partitions.iter().filter_map(|it| it.lag_seconds).fold(0.0, f64::max),
        }
    }

    /// `is_last`: of its partition.
    fn incident(&self, it: &crate::bridge::Incident, is_last: bool) -> Incident {
        let (first_lost, last_lost) = it.lost();
        let kind = it.kind.name();
        let Advice { happened, remedy } = advice::of(kind);
        Incident {
            id: incidents::id(it),
            kind,
            topic: it.partition.topic.to_string(),
            partition: it.partition.partition,
            target: it.target.to_string(),
            next_offset: it.next_offset,
            first_lost,
            last_lost,
            time_ms: it.time_ms,
            text: it.to_string(),
            stands: is_last && self.standing.contains_key(&it.partition),
            happened,
            remedy,
            is_acceptable: incidents::is_acceptable(&it.kind),
        }
    }
}

fn in_use(it: &super::state::InUse, now_ms: u64) -> InUse {
    let not_after_ms = ms(it.not_after);
    let days_left = (not_after_ms as f64 - now_ms as f64) / MS_PER_DAY;
    InUse { end: it.end, whose: it.whose, subject: it.subject.clone(), not_after_ms, days_left }
}
