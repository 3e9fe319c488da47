//! What a cluster is made of, fixed at its start. The defaults are Kafka's.

use crate::types::NodeId;
use std::collections::BTreeMap;

/// The clock of a cluster: milliseconds since 1970, because that is what records carry.
pub type Millis = i64;

#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster_id: String,
    /// Node ids with their racks.
    pub nodes: BTreeMap<NodeId, Option<String>>,
    /// For topic ids and member ids: the same seed and the same requests give the same answers.
    pub seed: u64,
    /// The finalized `transaction.version`: 0, 1 or 2 (KIP-890).
    pub transaction_version: i16,
    /// API key → the newest version that is offered, to look like an older broker.
    pub version_caps: BTreeMap<i16, i16>,
    pub auto_create_topics: bool,
    pub default_partitions: i32,
    pub default_replication_factor: i16,
    /// Topic configs that hold unless a topic says otherwise, by Kafka's names.
    pub topic_defaults: BTreeMap<String, String>,
    pub offsets_partitions: i32,
    pub transaction_partitions: i32,
    /// From the answer to EndTxn to the markers in the logs; 0 writes them before the answer.
    pub marker_delay_ms: Millis,
    /// Kafka 4.x takes a partition without a leader for deleted, and completes its transaction without the marker there.
    pub leaderless_markers_skipped: bool,
    pub transaction_max_timeout_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub reap_interval_ms: Millis,
    pub producer_expiration_ms: Millis,
    /// `producer.id.expiration.check.interval.ms`; as often as the upkeep comes, at most.
    pub producer_expiration_check_ms: Millis,
    pub group_initial_rebalance_delay_ms: Millis,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub offsets_retention_ms: Millis,
    /// How often retention, compaction and expiration look; None: only when they are told to.
    pub upkeep_interval_ms: Option<Millis>,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// What all logs together may hold; beyond it a node answers KAFKA_STORAGE_ERROR, as with a full disk.
    pub log_bytes_max: usize,
    /// Whether changes are handed out for a data folder.
    pub durable: bool,
}

impl Settings {
    /// Nodes 0, 1, 2…
    pub fn nodes(count: i32) -> Self {
        let replicas = i16::try_from(count.clamp(1, 3)).unwrap_or(1);
        Self {
            cluster_id: "in-process-demo-clustr".to_owned(),
            nodes: (0..count.max(1)).map(|id| (id, None)).collect(),
            seed: 0,
            transaction_version: 2,
            version_caps: BTreeMap::new(),
            auto_create_topics: false,
            default_partitions: 1,
            default_replication_factor: replicas,
            topic_defaults: BTreeMap::new(),
            offsets_partitions: 4,
            transaction_partitions: 4,
            marker_delay_ms: 1,
            leaderless_markers_skipped: true,
            transaction_max_timeout_ms: 900_000,
            reap_interval_ms: 10_000,
            producer_expiration_ms: 86_400_000,
            producer_expiration_check_ms: 600_000,
            group_initial_rebalance_delay_ms: 0,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            offsets_retention_ms: 7 * 86_400_000,
            upkeep_interval_ms: Some(15_000),
            fetch_bytes_max: 55 << 20,
            log_bytes_max: 4 << 30,
            durable: false,
        }
    }

    /// Like a 3.9 broker: transaction protocol v1 alone.
    pub fn like_3_9(mut self) -> Self {
        self.transaction_version = 0;
        self.leaderless_markers_skipped = false;
        // Produce, TxnOffsetCommit and EndTxn of protocol v2 came with 4.0.
        self.version_caps = [(0, 11), (28, 4), (26, 4)].into();
        // KIP-1030 made it an hour.
        let after_max = ("message.timestamp.after.max.ms".to_owned(), i64::MAX.to_string());
        self.topic_defaults.extend([after_max]);
        self
    }
}
