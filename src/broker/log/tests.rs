use super::*;
use crate::batch::{BatchBuilder, Compression, Header, UNCOMPRESSED_BYTES_MAX};

const NOW: i64 = 1_700_000_000_000;
const PRODUCER: i64 = 5;

/// A log whose batches were appended one after the other, all of them replicated.
struct Bench {
    log: Log,
    config: TopicConfig,
}

impl Bench {
    fn new(config: TopicConfig) -> Self {
        Self { log: Log::default(), config }
    }

    fn append(&mut self, records: &[(i64, &str, Option<&str>)]) -> i64 {
        self.append_as(records, -1, -1, false)
    }

    fn append_as(
        &mut self,
        records: &[(i64, &str, Option<&str>)],
        epoch: i16,
        sequence: i32,
        transactional: bool,
    ) -> i64 {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for (timestamp, key, value) in records {
            builder.push(*timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[(b"h", Some(b"1"))]);
        }
        let batch = builder.build().unwrap();
        let header = batch.header();
        let producer_id = if epoch < 0 { -1 } else { PRODUCER };
        let attributes = header.attributes | if transactional { 0x10 } else { 0 };
        let header = Header { producer_id, producer_epoch: epoch, base_sequence: sequence, attributes, ..header };
        let records = encode_for_tests(&header, batch.body());
        let append = Append { version: 11, records: &records, leader_epoch: 0, verified: true, now_ms: NOW };
        let info = self.log.append(append, &self.config).unwrap();
        self.log.replicate();
        info.base_offset
    }

    fn end(&mut self, epoch: i16, commit: bool) {
        let marker = Marker { producer_id: PRODUCER, producer_epoch: epoch, coordinator_epoch: 0, commit };
        self.log.append_marker(marker, 0, NOW, &self.config).unwrap();
        self.log.replicate();
    }

    /// Offset, key and value of every data record that is left.
    fn records(&self) -> Vec<(i64, String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let batches = self.log.batches().filter(|it| !it.header().is_control());
        let decoded = batches.map(|it| it.decode(UNCOMPRESSED_BYTES_MAX).unwrap());
        decoded
            .flat_map(|batch| {
                let of = |record: crate::batch::RecordView<'_>| {
                    (batch.offset(&record), text(record.key.unwrap()), record.value.map(text))
                };
                batch.records().map(|it| of(it.unwrap())).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn compacted() -> Bench {
    // Every batch begins a segment of its own.
    Bench::new(TopicConfig { compact: true, delete: false, segment_bytes: 150, ..TopicConfig::default() })
}

#[test]
fn compaction_keeps_the_last_of_each_key_at_its_offset() {
    let mut bench = compacted();
    bench.append(&[(NOW, "a", Some("1")), (NOW + 1, "b", Some("1")), (NOW + 2, "c", Some("1"))]);
    bench.append(&[(NOW + 3, "a", Some("2"))]);
    bench.append(&[(NOW + 4, "b", Some("2")), (NOW + 5, "d", Some("1"))]);
    bench.append(&[(NOW + 6, "c", Some("2"))]);
    assert_eq!(bench.log.compact(NOW, &bench.config), 2);
    let kept: Vec<_> = bench.records().into_iter().map(|(offset, key, _)| (offset, key)).collect();
    let expected = [(2, "c"), (3, "a"), (4, "b"), (5, "d"), (6, "c")];
    assert_eq!(
        kept,
        expected.map(|(offset, key)| (offset, key.to_owned())),
        "the active segment's c counts for nothing"
    );
    let first = bench.log.batches().next().unwrap();
    first.verify_crc().unwrap();
    assert_eq!((first.header().record_count, first.header().last_offset_delta), (1, 2), "a hole");
    let decoded = first.decode(1_000).unwrap();
    assert_eq!(decoded.timestamp(&decoded.records().next().unwrap().unwrap()), NOW + 2);
    assert_eq!(bench.log.compact(NOW, &bench.config), 0, "clean is clean");
}

#[test]
fn a_tombstone_lives_for_its_time_after_its_first_cleaning() {
    let mut bench = compacted();
    bench.append(&[(NOW, "a", Some("1"))]);
    bench.append(&[(NOW, "a", None)]);
    bench.append(&[(NOW, "b", Some("1"))]);
    bench.append(&[(NOW, "c", Some("1"))]);
    bench.log.compact(NOW, &bench.config);
    assert_eq!(bench.records()[0], (1, "a".to_owned(), None));
    let header = bench.log.batches().next().unwrap().header();
    assert!(header.has_delete_horizon());
    assert_eq!(header.base_timestamp, NOW + bench.config.delete_retention_ms);
    bench.append(&[(NOW, "d", Some("1"))]);
    bench.log.compact(NOW + bench.config.delete_retention_ms, &bench.config);
    assert_eq!(bench.records()[0].1, "b");
}

#[test]
fn aborted_records_go_and_what_is_open_stays() {
    let mut bench = compacted();
    bench.append_as(&[(NOW, "a", Some("committed"))], 0, 0, true);
    bench.end(0, true);
    bench.append_as(&[(NOW, "a", Some("aborted"))], 0, 1, true);
    bench.end(0, false);
    bench.append(&[(NOW, "b", Some("1"))]);
    bench.append_as(&[(NOW, "a", Some("open"))], 0, 2, true);
    bench.append(&[(NOW, "b", Some("2"))]);
    bench.append(&[(NOW, "b", Some("3"))]);
    bench.log.compact(NOW, &bench.config);
    let values: Vec<_> = bench.records().into_iter().map(|(_, _, value)| value.unwrap()).collect();
    assert_eq!(values, ["committed", "1", "open", "2", "3"], "nothing behind the last stable offset is touched");
}

#[test]
fn a_producers_last_sequence_outlives_its_records() {
    let mut bench = compacted();
    bench.append_as(&[(NOW, "a", Some("1"))], 0, 0, false);
    bench.append(&[(NOW, "a", Some("2"))]);
    bench.append(&[(NOW, "b", Some("1"))]);
    bench.log.compact(NOW, &bench.config);
    let first = bench.log.batches().next().unwrap().header();
    assert_eq!((first.base_offset, first.record_count, first.base_sequence), (0, 0, 0));
}

#[test]
fn retention_takes_whole_segments_and_the_last_one_too() {
    let config = TopicConfig { segment_bytes: 150, retention_ms: 1_000, ..TopicConfig::default() };
    let mut bench = Bench::new(config);
    for age in [5_000, 3_000, 500] {
        bench.append(&[(NOW - age, "k", Some("v"))]);
    }
    let config = bench.config.clone();
    assert!(bench.log.retain(NOW, &config));
    assert_eq!((bench.log.start(), bench.log.end()), (2, 3));
    assert!(bench.log.retain(NOW + 1_000, &config));
    assert_eq!((bench.log.start(), bench.log.end(), bench.log.bytes()), (3, 3, 0));
    assert!(!bench.log.retain(NOW + 1_000, &config));
    assert_eq!(bench.append(&[(NOW, "k", Some("v"))]), 3, "offsets go on");

    let by_size = TopicConfig { segment_bytes: 150, retention_bytes: 150, retention_ms: -1, ..TopicConfig::default() };
    let mut bench = Bench::new(by_size.clone());
    for _ in 0..4 {
        bench.append(&[(NOW, "k", Some("v"))]);
    }
    bench.log.retain(NOW, &by_size);
    assert!(bench.log.start() > 0 && bench.log.bytes() >= 150, "as much as is asked for is kept");
}

/// What is left of its batch can be fetched by its offset, and is as undecided as the rest of it was.
#[test]
fn retention_that_reaches_into_an_open_transaction_shows_nothing_of_it() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append_as(&[(NOW, "a", None), (NOW, "b", None), (NOW, "c", None)], 0, 0, true);
    bench.log.move_start(2).unwrap();
    let upper = bench.log.last_stable_offset();
    assert_eq!((bench.log.start(), upper, bench.log.end()), (2, 2, 3));
    assert!(bench.log.read(2, upper, 10_000, true).0.is_empty());
    assert_eq!(bench.log.readable_bytes(2, upper, 10_000), 0);
    bench.end(0, true);
    assert!(!bench.log.read(2, bench.log.last_stable_offset(), 10_000, true).0.is_empty(), "the control");
}

#[test]
fn truncation_forgets_producers_epochs_and_transactions_behind_the_end() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append_as(&[(NOW, "a", None)], 0, 0, true);
    bench.end(0, false);
    bench.log.begin_epoch(3);
    bench.append_as(&[(NOW, "a", None)], 1, 0, true);
    assert_eq!(bench.log.producers.aborted(0, 9).len(), 1);
    bench.log.truncate(1, &bench.config);
    assert_eq!((bench.log.end(), bench.log.high_watermark(), bench.log.last_stable_offset()), (1, 1, 0));
    assert_eq!(bench.log.producers.get(PRODUCER).map(|it| it.epoch), Some(0));
    assert_eq!(bench.log.producers.aborted(0, 9), []);
    assert_eq!(bench.log.end_offset_for_epoch(3), UNDEFINED);
}

#[test]
fn a_marker_that_is_not_replicated_holds_the_stable_offset() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append_as(&[(NOW, "a", None)], 0, 0, true);
    let marker = Marker { producer_id: PRODUCER, producer_epoch: 0, coordinator_epoch: 0, commit: true };
    bench.log.append_marker(marker, 0, NOW, &bench.config).unwrap();
    assert_eq!((bench.log.high_watermark(), bench.log.last_stable_offset()), (1, 0));
    bench.log.replicate();
    assert_eq!((bench.log.high_watermark(), bench.log.last_stable_offset()), (2, 2));
}

#[test]
fn an_old_coordinators_marker_is_refused() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append_as(&[(NOW, "a", None)], 2, 0, true);
    let marker = |producer_epoch, coordinator_epoch| Marker {
        producer_id: PRODUCER,
        producer_epoch,
        coordinator_epoch,
        commit: true,
    };
    let mut write = |it| bench.log.append_marker(it, 0, NOW, &bench.config).map(drop);
    assert_eq!(write(marker(1, 0)), Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(write(marker(2, 7)), Ok(()));
    assert_eq!(write(marker(2, 6)), Err(ResponseError::TransactionCoordinatorFenced));
}

#[test]
fn internal_logs_keep_what_is_open() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append_as(&[(NOW, "open", None)], 0, 0, true);
    for _ in 0..30 {
        bench.append(&[(NOW, "k", None)]);
    }
    bench.log.trim(10);
    assert_eq!(bench.log.start(), 0);
    bench.end(0, true);
    bench.log.trim(10);
    assert_eq!(bench.log.batches().count(), 10);
}

#[test]
fn lookups_by_time_find_the_first_record() {
    let mut bench = Bench::new(TopicConfig::default());
    bench.append(&[(NOW + 10, "a", None), (NOW + 30, "b", None), (NOW + 20, "c", None)]);
    bench.append(&[(NOW + 30, "d", None), (NOW + 40, "e", None), (NOW + 40, "f", None)]);
    let at = |ms: i64| bench.log.offset_for_time(NOW + ms).map(|it| (it.timestamp - NOW, it.offset));
    assert_eq!(at(0), Some((10, 0)));
    assert_eq!(at(15), Some((30, 1)));
    assert_eq!(at(35), Some((40, 4)));
    assert_eq!(at(41), None);
    assert_eq!(bench.log.offset_of_max_time().map(|it| it.offset), Some(4));
}
