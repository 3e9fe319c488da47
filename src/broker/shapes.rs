//! The shapes of the requests that the cluster serves, as in Kafka's `clients/src/main/resources/common/message/*Request.json`.
//!
//! An API without a table here cannot be served: nothing is decoded whose lengths were not looked at.

use crate::shape::{Field, Shape, Table, bytes, i8, i16, i32, i32s, i64, list, text, uuid};

pub(super) fn table(key: i16) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.key == key)
}

const fn texts() -> Field {
    Field::new(Shape::List(&Shape::Text))
}
const fn i64s() -> Field {
    Field::new(Shape::List(&Shape::Fixed(8)))
}

const fn table_of(key: i16, (first, last): (i16, i16), flexible: i16, fields: &'static [Field]) -> Table {
    Table { key, first, last, flexible, fields, tags: &[] }
}

static TABLES: &[Table] = &[
    // Produce
    table_of(0, (3, 12), 9, &[text(), i16(), i32(), list(&[text(), list(&[i32(), bytes()])])]),
    // Fetch
    Table {
        key: 1,
        first: 4,
        last: 16,
        flexible: 12,
        fields: &[
            i32().until(14),
            i32(),
            i32(),
            i32(),
            i8(),
            i32().since(7),
            i32().since(7),
            list(&[
                text().until(12),
                uuid().since(13),
                list(&[i32(), i32().since(9), i64(), i32().since(12), i64().since(5), i32()]),
            ]),
            list(&[text().until(12), uuid().since(13), i32s()]).since(7),
            text().since(11),
        ],
        tags: &[(0, Shape::Text), (1, Shape::Structure(&[i32(), i64()]))],
    },
    // ListOffsets
    table_of(2, (1, 8), 6, &[i32(), i8().since(2), list(&[text(), list(&[i32(), i32().since(4), i64()])])]),
    // Metadata
    table_of(
        3,
        (0, 12),
        9,
        &[list(&[uuid().since(10), text()]), i8().since(4), i8().since(8).until(10), i8().since(8)],
    ),
    // OffsetCommit
    table_of(
        8,
        (2, 8),
        8,
        &[
            text(),
            i32(),
            text(),
            text().since(7),
            i64().until(4),
            list(&[text(), list(&[i32(), i64(), i32().since(6), text()])]),
        ],
    ),
    // OffsetFetch
    table_of(
        9,
        (1, 8),
        6,
        &[
            text().until(7),
            list(&[text(), i32s()]).until(7),
            list(&[text(), list(&[text(), i32s()])]).since(8),
            i8().since(7),
        ],
    ),
    // FindCoordinator
    table_of(10, (0, 4), 3, &[text().until(3), i8().since(1), texts().since(4)]),
    // JoinGroup
    table_of(
        11,
        (0, 9),
        6,
        &[text(), i32(), i32().since(1), text(), text().since(5), text(), list(&[text(), bytes()]), text().since(8)],
    ),
    // Heartbeat
    table_of(12, (0, 4), 4, &[text(), i32(), text(), text().since(3)]),
    // LeaveGroup
    table_of(13, (0, 5), 4, &[text(), text().until(2), list(&[text(), text(), text().since(5)]).since(3)]),
    // SyncGroup
    table_of(
        14,
        (0, 5),
        4,
        &[text(), i32(), text(), text().since(3), text().since(5), text().since(5), list(&[text(), bytes()])],
    ),
    // DescribeGroups
    table_of(15, (0, 5), 5, &[texts(), i8().since(3)]),
    // ListGroups
    table_of(16, (0, 4), 3, &[texts().since(4)]),
    // ApiVersions
    table_of(18, (0, 4), 3, &[text().since(3), text().since(3)]),
    // CreateTopics
    table_of(
        19,
        (2, 7),
        5,
        &[list(&[text(), i32(), i16(), list(&[i32(), i32s()]), list(&[text(), text()])]), i32(), i8()],
    ),
    // DeleteTopics
    table_of(20, (1, 6), 4, &[list(&[text(), uuid()]).since(6), texts().until(5), i32()]),
    // DeleteRecords
    table_of(21, (0, 2), 2, &[list(&[text(), list(&[i32(), i64()])]), i32()]),
    // InitProducerId
    table_of(22, (0, 5), 2, &[text(), i32(), i64().since(3), i16().since(3)]),
    // OffsetForLeaderEpoch
    table_of(23, (2, 4), 4, &[i32().since(3), list(&[text(), list(&[i32(), i32(), i32()])])]),
    // AddPartitionsToTxn
    table_of(24, (0, 3), 3, &[text(), i64(), i16(), list(&[text(), i32s()])]),
    // AddOffsetsToTxn
    table_of(25, (0, 3), 3, &[text(), i64(), i16(), text()]),
    // EndTxn
    table_of(26, (0, 5), 3, &[text(), i64(), i16(), i8()]),
    // TxnOffsetCommit
    table_of(
        28,
        (0, 5),
        3,
        &[
            text(),
            text(),
            i64(),
            i16(),
            i32().since(3),
            text().since(3),
            text().since(3),
            list(&[text(), list(&[i32(), i64(), i32().since(2), text()])]),
        ],
    ),
    // DescribeConfigs
    table_of(32, (1, 4), 4, &[list(&[i8(), text(), texts()]), i8(), i8().since(3)]),
    // CreatePartitions
    table_of(37, (0, 3), 2, &[list(&[text(), i32(), list(&[i32s()])]), i32(), i8()]),
    // DeleteGroups
    table_of(42, (0, 2), 2, &[texts()]),
    // IncrementalAlterConfigs
    table_of(44, (0, 1), 1, &[list(&[i8(), text(), list(&[text(), i8(), text()])]), i8()]),
    // DescribeProducers
    table_of(61, (0, 0), 0, &[list(&[text(), i32s()])]),
    // DescribeTransactions
    table_of(65, (0, 0), 0, &[texts()]),
    // ListTransactions
    table_of(66, (0, 1), 0, &[texts(), i64s(), i64().since(1)]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::apis;
    use crate::broker::request::RequestHeader;
    use crate::shape::check_within;
    use crate::testing::golden;
    use bytes::{BufMut, Bytes, BytesMut};
    use std::collections::BTreeSet;

    /// A message of this shape with two elements in every list.
    struct Writer {
        output: BytesMut,
        version: i16,
        flexible: bool,
    }

    impl Writer {
        fn count(&mut self, count: usize, width: usize) {
            match (self.flexible, width) {
                (true, _) => self.output.put_u8(count as u8 + 1),
                (false, 2) => self.output.put_u16(count as u16),
                (false, _) => self.output.put_u32(count as u32),
            }
        }

        fn shape(&mut self, shape: &Shape) {
            match shape {
                Shape::Fixed(width) => self.output.put_bytes(0, *width),
                Shape::Text => {
                    self.count(1, 2);
                    self.output.put_u8(b'x');
                }
                Shape::Bytes => {
                    self.count(1, 4);
                    self.output.put_u8(7);
                }
                Shape::Structure(fields) => self.structure(fields),
                Shape::List(element) => {
                    self.count(2, 4);
                    (0..2).for_each(|_| self.shape(element));
                }
                Shape::Structures(fields, _) => {
                    self.count(2, 4);
                    (0..2).for_each(|_| self.structure(fields));
                }
            }
        }

        fn structure(&mut self, fields: &[Field]) {
            let version = self.version;
            fields.iter().filter(|field| field.is_in(version)).for_each(|field| self.shape(&field.shape));
            if self.flexible {
                self.output.put_u8(0);
            }
        }
    }

    fn message(table: &Table, version: i16) -> Bytes {
        let mut writer = Writer { output: BytesMut::new(), version, flexible: version >= table.flexible };
        writer.structure(table.fields);
        writer.output.freeze()
    }

    /// The library's own schemas are the judge: what a table describes is exactly what its decoder reads.
    #[test]
    fn every_table_fits_the_library_in_every_version() {
        for api in apis::all() {
            let table = table(api.key).unwrap();
            let settings = crate::broker::Settings::nodes(1);
            for version in api.first..=api.last(&settings) {
                let bytes = message(table, version);
                assert_eq!(check_within(table, version, &bytes, 1_000), Ok(bytes.len()), "API {} v{version}", api.key);
                assert_eq!(api.is_flexible(version), version >= table.flexible, "API {} v{version}", api.key);
                assert_eq!((api.reread)(&bytes, version), Some((0, bytes.clone())), "API {} v{version}", api.key);
            }
        }
    }

    /// Tables and library could be wrong together; Java is not. Unknown tagged fields are among what it wrote.
    #[test]
    fn every_table_fits_what_java_wrote_in_every_version() {
        let settings = crate::broker::Settings::nodes(1);
        let offered = apis::all().flat_map(|api| (api.first..=api.last(&settings)).map(|version| (api.key, version)));
        let mut missing: BTreeSet<_> = offered.collect();
        for golden in golden().into_iter().filter(|it| it.is_request && missing.contains(&(it.key, it.version))) {
            let (key, version) = (golden.key, golden.version);
            let api = apis::find(key).unwrap();
            let header = RequestHeader::read(&golden.frame).unwrap();
            assert_eq!((header.api, header.version), (key, version));
            let body = header.body(api.is_flexible(version)).unwrap();
            let length = check_within(table(key).unwrap(), version, &body, 1_000);
            assert_eq!(length, Ok(body.len()), "API {key} v{version}");
            assert_eq!((api.reread)(&body, version), Some((0, body.clone())), "API {key} v{version}");
            for length in 0..body.len() {
                let cut = check_within(table(key).unwrap(), version, &body[..length], 1_000);
                assert!(cut.is_err(), "API {key} v{version} cut to {length}");
            }
        }
        missing.retain(|offered| !golden().iter().any(|it| it.is_request && (it.key, it.version) == *offered));
        assert_eq!(missing, BTreeSet::new(), "nothing is recorded of these");
    }

    #[test]
    fn a_hostile_count_is_refused_before_anything_is_decoded() {
        let settings = crate::broker::Settings::nodes(1);
        for api in apis::all() {
            let table = table(api.key).unwrap();
            let mut refused = 0;
            for version in [api.first, api.last(&settings)] {
                let bytes = message(table, version);
                for at in 0..bytes.len().saturating_sub(4) {
                    let mut hostile = bytes.to_vec();
                    hostile[at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xfe]);
                    if check_within(table, version, &hostile, 1_000).is_err() {
                        refused += 1;
                    } else {
                        // Must return, well or not.
                        let _ = (api.reread)(&hostile.into(), version);
                    }
                }
            }
            assert!(refused > 0, "API {}", api.key);
        }
        let metadata = table(3).unwrap();
        assert!(check_within(metadata, 9, &message(metadata, 9), 1).is_err(), "the number of elements is bounded too");
    }
}
