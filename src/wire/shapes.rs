//! The shapes of the answers that the bridge reads, as in Kafka's `clients/src/main/resources/common/message/*Response.json`.
//!
//! An API without a table here cannot be asked: [`table`] bounds the versions that a connection negotiates.

use crate::shape::{Field, Shape, Table, bytes, i8, i16, i32, i32s, i64, list, tagged_list, text, uuid};

pub(super) fn table(key: i16) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.key == key)
}

/// (leader_id, leader_epoch), and other pairs of an id or epoch with a number.
const LEADER: &[Field] = &[i32(), i32()];
const EPOCH_END: &[Field] = &[i32(), i64()];
const SNAPSHOT: &[Field] = &[i64(), i32()];
const ENDPOINTS: Shape = Shape::Structures(&[i32(), text(), i32(), text()], &[]);
const FEATURES: Shape = Shape::Structures(&[text(), i16(), i16()], &[]);
/// Of a member of a group of KIP-848: what it has, and what it is to have.
const ASSIGNMENT: Shape = Shape::Structure(&[list(&[uuid(), text(), i32s()])]);

pub(super) static TABLES: &[Table] = &[
    // Produce: v13 names topics by id.
    Table {
        key: 0,
        first: 3,
        last: 12,
        flexible: 9,
        fields: &[
            list(&[
                text(),
                tagged_list(
                    &[
                        i32(),
                        i16(),
                        i64(),
                        i64().since(2),
                        i64().since(5),
                        list(&[i32(), text()]).since(8),
                        text().since(8),
                    ],
                    &[(0, Shape::Structure(LEADER))],
                ),
            ]),
            i32().since(1),
        ],
        tags: &[(0, ENDPOINTS)],
    },
    // Fetch
    Table {
        key: 1,
        first: 4,
        last: 16,
        flexible: 12,
        fields: &[
            i32().since(1),
            i16().since(7),
            i32().since(7),
            list(&[
                text().until(12),
                uuid().since(13),
                tagged_list(
                    &[
                        i32(),
                        i16(),
                        i64(),
                        i64().since(4),
                        i64().since(5),
                        list(&[i64(), i64()]).since(4),
                        i32().since(11),
                        bytes(),
                    ],
                    &[(0, Shape::Structure(EPOCH_END)), (1, Shape::Structure(LEADER)), (2, Shape::Structure(SNAPSHOT))],
                ),
            ]),
        ],
        tags: &[(0, ENDPOINTS)],
    },
    // ListOffsets
    Table {
        key: 2,
        first: 1,
        last: 7,
        flexible: 6,
        fields: &[i32().since(2), list(&[text(), list(&[i32(), i16(), i64(), i64(), i32().since(4)])])],
        tags: &[],
    },
    // Metadata
    Table {
        key: 3,
        first: 0,
        last: 12,
        flexible: 9,
        fields: &[
            i32().since(3),
            list(&[i32(), text(), i32(), text().since(1)]),
            text().since(2),
            i32().since(1),
            list(&[
                i16(),
                text(),
                uuid().since(10),
                i8().since(1),
                list(&[i16(), i32(), i32(), i32().since(7), i32s(), i32s(), i32s().since(5)]),
                i32().since(8),
            ]),
            i32().since(8).until(10),
        ],
        tags: &[],
    },
    // OffsetCommit
    Table {
        key: 8,
        first: 2,
        last: 8,
        flexible: 8,
        fields: &[i32().since(3), list(&[text(), list(&[i32(), i16()])])],
        tags: &[],
    },
    // OffsetFetch: v8 asks for several groups.
    Table {
        key: 9,
        first: 1,
        last: 7,
        flexible: 6,
        fields: &[
            i32().since(3),
            list(&[text(), list(&[i32(), i64(), i32().since(5), text(), i16()])]),
            i16().since(2),
        ],
        tags: &[],
    },
    // FindCoordinator: v4 asks for several keys.
    Table {
        key: 10,
        first: 0,
        last: 3,
        flexible: 3,
        fields: &[i32().since(1), i16(), text().since(1), i32(), text(), i32()],
        tags: &[],
    },
    // JoinGroup
    Table {
        key: 11,
        first: 0,
        last: 9,
        flexible: 6,
        fields: &[
            i32().since(2),
            i16(),
            i32(),
            text().since(7),
            text(),
            text(),
            i8().since(9),
            text(),
            list(&[text(), text().since(5), bytes()]),
        ],
        tags: &[],
    },
    // Heartbeat
    Table { key: 12, first: 0, last: 4, flexible: 4, fields: &[i32().since(1), i16()], tags: &[] },
    // LeaveGroup
    Table {
        key: 13,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[i32().since(1), i16(), list(&[text(), text(), i16()]).since(3)],
        tags: &[],
    },
    // SyncGroup
    Table {
        key: 14,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[i32().since(1), i16(), text().since(5), text().since(5), bytes()],
        tags: &[],
    },
    // ApiVersions
    Table {
        key: 18,
        first: 0,
        last: 4,
        flexible: 3,
        fields: &[i16(), list(&[i16(), i16(), i16()]), i32().since(1)],
        tags: &[(0, FEATURES), (1, Shape::Fixed(8)), (2, FEATURES), (3, Shape::Fixed(1))],
    },
    // CreateTopics
    Table {
        key: 19,
        first: 2,
        last: 7,
        flexible: 5,
        fields: &[
            i32().since(2),
            tagged_list(
                &[
                    text(),
                    uuid().since(7),
                    i16(),
                    text().since(1),
                    i32().since(5),
                    i16().since(5),
                    list(&[text(), text(), i8(), i8(), i8()]).since(5),
                ],
                &[(0, Shape::Fixed(2))],
            ),
        ],
        tags: &[],
    },
    // DescribeGroups
    Table {
        key: 15,
        first: 0,
        last: 5,
        flexible: 5,
        fields: &[
            i32().since(1),
            list(&[
                i16(),
                text(),
                text(),
                text(),
                text(),
                list(&[text(), text().since(4), text(), text(), bytes(), bytes()]),
                i32().since(3),
            ]),
        ],
        tags: &[],
    },
    // ListGroups
    Table {
        key: 16,
        first: 0,
        last: 5,
        flexible: 3,
        fields: &[i32().since(1), i16(), list(&[text(), text(), text().since(4), text().since(5)])],
        tags: &[],
    },
    // InitProducerId
    Table { key: 22, first: 0, last: 5, flexible: 2, fields: &[i32(), i16(), i64(), i16()], tags: &[] },
    // OffsetForLeaderEpoch
    Table {
        key: 23,
        first: 2,
        last: 4,
        flexible: 4,
        fields: &[i32().since(2), list(&[text(), list(&[i16(), i32(), i32().since(1), i64()])])],
        tags: &[],
    },
    // AddPartitionsToTxn: v4 is for brokers.
    Table {
        key: 24,
        first: 0,
        last: 3,
        flexible: 3,
        fields: &[i32(), list(&[text(), list(&[i32(), i16()])])],
        tags: &[],
    },
    // AddOffsetsToTxn
    Table { key: 25, first: 0, last: 4, flexible: 3, fields: &[i32(), i16()], tags: &[] },
    // EndTxn
    Table {
        key: 26,
        first: 0,
        last: 5,
        flexible: 3,
        fields: &[i32(), i16(), i64().since(5), i16().since(5)],
        tags: &[],
    },
    // TxnOffsetCommit
    Table {
        key: 28,
        first: 0,
        last: 5,
        flexible: 3,
        fields: &[i32(), list(&[text(), list(&[i32(), i16()])])],
        tags: &[],
    },
    // DescribeConfigs
    Table {
        key: 32,
        first: 1,
        last: 4,
        flexible: 4,
        fields: &[
            i32(),
            list(&[
                i16(),
                text(),
                i8(),
                text(),
                list(&[
                    text(),
                    text(),
                    i8(),
                    i8().since(1),
                    i8(),
                    list(&[text(), text(), i8()]).since(1),
                    i8().since(3),
                    text().since(3),
                ]),
            ]),
        ],
        tags: &[],
    },
    // CreatePartitions
    Table { key: 37, first: 0, last: 3, flexible: 2, fields: &[i32(), list(&[text(), i16(), text()])], tags: &[] },
    // IncrementalAlterConfigs
    Table {
        key: 44,
        first: 0,
        last: 1,
        flexible: 1,
        fields: &[i32(), list(&[i16(), text(), i8(), text()])],
        tags: &[],
    },
    // DescribeTransactions
    Table {
        key: 65,
        first: 0,
        last: 0,
        flexible: 0,
        fields: &[i32(), list(&[i16(), text(), text(), i32(), i64(), i64(), i16(), list(&[text(), i32s()])])],
        tags: &[],
    },
    // ConsumerGroupDescribe
    Table {
        key: 69,
        first: 0,
        last: 1,
        flexible: 0,
        fields: &[
            i32(),
            list(&[
                i16(),
                text(),
                text(),
                text(),
                i32(),
                i32(),
                text(),
                list(&[
                    text(),
                    text(),
                    text(),
                    i32(),
                    text(),
                    text(),
                    Field::new(Shape::List(&Shape::Text)),
                    text(),
                    Field::new(ASSIGNMENT),
                    Field::new(ASSIGNMENT),
                    i8().since(1),
                ]),
                i32(),
            ]),
        ],
        tags: &[],
    },
];
