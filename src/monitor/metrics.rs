//! The same for Prometheus: every name here is documented in the README, and none is ever renamed.

use super::snapshot::{Partition, Snapshot};
use super::state::{Monitor, now_ms};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

pub(super) const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Looks at the link when somebody asks.
struct Exporter(Monitor);

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

/// What tells metrics of one name apart.
struct Labels<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|it| it.encode(encoder.encode_label()))
    }
}

pub(super) fn registry(monitor: &Monitor) -> Registry {
    let link = monitor.state().link.clone();
    let labels = [("link".into(), link.into())].into_iter();
    let mut registry = Registry::with_prefix_and_labels("kafka_bridge", labels);
    registry.register_collector(Box::new(Exporter(monitor.clone())));
    registry
}

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (snapshot, latency) = {
            let state = self.0.state();
            (state.snapshot(now_ms()), state.latency.clone())
        };
        let mut to = Encoder(&mut encoder);
        link(&mut to, &snapshot)?;
        partitions(&mut to, &snapshot.partitions)?;
        let help = "From the arrival of a transaction's first record to its commit";
        let mut encoder = to.0.encode_descriptor("commit_latency_seconds", help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(latency.sum(), latency.count(), &latency.buckets(), None)
    }
}

fn link(to: &mut Encoder<'_, '_>, it: &Snapshot) -> Result<(), fmt::Error> {
    to.gauges("build_info", "What runs; always 1", &[(&[("version", it.version)], 1.0)])?;
    to.gauges(
        "ready",
        "1: the link copies what it is to copy; what /readyz says",
        &[(&[], f64::from(it.ready.is_well))],
    )?;
    let lanes = [
        ("all", f64::from(it.lanes.count)),
        ("own", it.lanes.own.len() as f64),
        ("taken", it.lanes.taken.len() as f64),
        ("failed", it.lanes.failed.len() as f64),
    ];
    let help = "Lanes of the link; given to this bridge; worked by it; stopped for good";
    to.descriptor("lanes", help, MetricType::Gauge, |of| {
        lanes.iter().try_for_each(|(state, count)| of.gauge(&[("state", state)], *count))
    })?;
    let totals = &it.totals;
    let outcomes = [
        ("committed", totals.committed),
        ("aborted", totals.aborted),
        ("fenced", totals.fenced),
        ("ambiguous", totals.ambiguous),
        ("mended", totals.mended),
    ];
    let help = "Transactions at the target by what became of them";
    to.descriptor("transactions", help, MetricType::Counter, |of| {
        outcomes.iter().try_for_each(|(outcome, count)| of.counter(&[("outcome", outcome)], *count))
    })?;
    to.descriptor("batches", "Batches written", MetricType::Counter, |of| of.counter(&[], totals.batches))?;
    let help = "Reasons for which batches were written anew instead of as they came";
    to.descriptor("batches_reencoded", help, MetricType::Counter, |of| {
        totals.reencoded.iter().try_for_each(|(reason, count)| of.counter(&[("reason", reason)], *count))
    })?;
    let help = "Records that went to the dead letters, by reason";
    to.descriptor("dead_letters", help, MetricType::Counter, |of| {
        totals.dead_letter_reasons.iter().try_for_each(|(reason, count)| of.counter(&[("reason", reason)], *count))
    })?;
    if let Some(memory) = it.memory {
        let help = "Bytes of delivery.memory_bytes_max";
        to.gauges("memory_budget_bytes", help, &[(&[], memory.bytes_max as f64)])?;
        let help = "Bytes of it that fetches and records hold";
        to.gauges("memory_used_bytes", help, &[(&[], memory.bytes_used as f64)])?;
    }
    let help = "Until a certificate in use ends; negative: it has";
    to.descriptor("certificate_days_left", help, MetricType::Gauge, |of| {
        it.certificates.iter().try_for_each(|it| {
            of.gauge(&[("end", it.end), ("whose", it.whose), ("subject", &it.subject)], it.days_left)
        })
    })?;
    let help = "Partitions that stand still until an operator decides";
    to.descriptor("incident", help, MetricType::Gauge, |of| {
        it.incidents.iter().filter(|it| it.stands).try_for_each(|it| {
            let partition = it.partition.to_string();
            of.gauge(&[("topic", &it.topic), ("partition", &partition), ("kind", it.kind)], 1.0)
        })
    })
}

fn partitions(to: &mut Encoder<'_, '_>, all: &[Partition]) -> Result<(), fmt::Error> {
    type Count = fn(&Partition) -> u64;
    let counters: [(&str, &str, Count); 5] = [
        ("records_read", "Records that were read from the source", |it| it.read),
        ("records_written", "Records that were written to the target's topic", |it| it.written),
        ("records_dead_lettered", "Records that went to the dead letters instead", |it| it.dead_lettered),
        ("read_bytes", "Bytes of batches as they came from the source", |it| it.bytes_read),
        ("written_bytes", "Bytes of batches as they went to the target", |it| it.bytes_written),
    ];
    for (name, help, count) in counters {
        to.descriptor(name, help, MetricType::Counter, |of| {
            all.iter().try_for_each(|it| of.partition(it, |of, labels| of.counter(labels, count(it))))
        })?;
    }
    type Value = fn(&Partition) -> Option<f64>;
    let gauges: [(&str, &str, Value); 6] = [
        ("position", "The next source offset to copy", |it| Some(it.next_offset as f64)),
        ("lag_records", "Source offsets that are not copied yet, markers among them", |it| {
            Some(it.lag_records? as f64)
        }),
        ("lag_seconds", "Age of the oldest record that is not copied yet", |it| it.lag_seconds),
        (
            "retention_headroom_seconds",
            "Until the source deletes what is not copied yet, as things stand; +Inf: never",
            |it| it.lag_seconds.map(|_| it.headroom_seconds.unwrap_or(f64::INFINITY)),
        ),
        ("source_open_records", "Offsets at the source that open transactions hold back", |it| {
            it.source.map(|it| (it.high_watermark - it.last_stable) as f64)
        }),
        ("target_open_records", "Offsets at the target that open transactions hold back", |it| {
            it.target.map(|it| (it.high_watermark - it.last_stable) as f64)
        }),
    ];
    for (name, help, value) in gauges {
        to.descriptor(name, help, MetricType::Gauge, |of| {
            let known = all.iter().filter_map(|it| Some((it, value(it)?)));
            known.into_iter().try_for_each(|(it, value)| of.partition(it, |of, labels| of.gauge(labels, value)))
        })?;
    }
    Ok(())
}

struct Encoder<'a, 'b>(&'a mut DescriptorEncoder<'b>);

struct Family<'a>(prometheus_client::encoding::MetricEncoder<'a>);

impl Encoder<'_, '_> {
    fn descriptor(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl FnOnce(&mut Family<'_>) -> Result<(), fmt::Error>,
    ) -> Result<(), fmt::Error> {
        values(&mut Family(self.0.encode_descriptor(name, help, None, kind)?))
    }

    fn gauges(&mut self, name: &str, help: &str, all: &[(&[(&'static str, &str)], f64)]) -> Result<(), fmt::Error> {
        self.descriptor(name, help, MetricType::Gauge, |of| {
            all.iter().try_for_each(|(labels, value)| of.gauge(labels, *value))
        })
    }
}

impl Family<'_> {
    fn gauge(&mut self, labels: &[(&'static str, &str)], value: f64) -> Result<(), fmt::Error> {
        self.0.encode_family(&Labels(labels))?.encode_gauge(&value)
    }

    fn counter(&mut self, labels: &[(&'static str, &str)], value: u64) -> Result<(), fmt::Error> {
        self.0.encode_family(&Labels(labels))?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn partition(
        &mut self,
        it: &Partition,
        value: impl FnOnce(&mut Self, &[(&'static str, &str)]) -> Result<(), fmt::Error>,
    ) -> Result<(), fmt::Error> {
        let partition = it.partition.to_string();
        value(self, &[("topic", &it.topic), ("partition", &partition)])
    }
}
