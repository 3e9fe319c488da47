//! What a broker speaks (ApiVersions).

use super::error::WireError;
use super::shapes;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::Request;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every broker must have, whatever is asked of it later: found at the first request, the lack of it would look like a
/// broker that does not answer. Kafka 2.7 and later have all of them.
const NEEDED: [(ApiKey, i16); 3] = [
    // Where the log diverges from what was read (KIP-595).
    (ApiKey::Fetch, 12),
    // The epoch is bumped in place (KIP-360).
    (ApiKey::InitProducerId, 3),
    // The group's generation is a fence (KIP-447).
    (ApiKey::TxnOffsetCommit, 3),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// API key → first and last version.
    pub apis: BTreeMap<i16, (i16, i16)>,
    /// KIP-584: name → highest level that the broker has, finalized or not.
    pub supported_features: BTreeMap<String, i16>,
    /// Name → lowest and highest finalized level.
    pub finalized_features: BTreeMap<String, (i16, i16)>,
    /// −1 where the broker does not know; the answer with the highest one is the newest truth.
    pub finalized_features_epoch: i64,
}

impl Versions {
    pub(super) fn of(answer: &ApiVersionsResponse) -> Self {
        let features = answer
            .finalized_features
            .iter()
            .map(|it| (it.name.to_string(), (it.min_version_level, it.max_version_level)));
        let supported = answer.supported_features.iter().map(|it| (it.name.to_string(), it.max_version));
        Self {
            supported_features: supported.collect(),
            apis: answer.api_keys.iter().map(|it| (it.api_key, (it.min_version, it.max_version))).collect(),
            finalized_features: features.collect(),
            finalized_features_epoch: answer.finalized_features_epoch,
        }
    }

    /// The newest version up to `max` that broker, message library and shape table have in common.
    pub(super) fn newest<R: Request>(&self, max: i16, address: &Arc<str>) -> Result<i16, WireError> {
        let table = shapes::table(R::KEY);
        let (first, last) = table.map_or((0, -1), |table| (table.first, table.last));
        let (first, last) = (first.max(R::VERSIONS.min), last.min(R::VERSIONS.max).min(max));
        let broker = self.apis.get(&R::KEY).copied();
        match broker {
            Some((from, to)) if from.max(first) <= to.min(last) => Ok(to.min(last)),
            _ => Err(self.unsupported(R::KEY, &format!("v{first}–{last}"), address)),
        }
    }

    /// Whether the bridge can work with this broker at all.
    pub fn require(&self, address: &str) -> Result<(), WireError> {
        for (api, least) in NEEDED {
            let api = api as i16;
            if self.apis.get(&api).is_none_or(|(_, last)| *last < least) {
                return Err(self.unsupported(api, &format!("v{least} or later"), &address.into()));
            }
        }
        Ok(())
    }

    fn unsupported(&self, api: i16, ours: &str, address: &Arc<str>) -> WireError {
        let range = |(from, to): &(i16, i16)| format!("v{from}–{to}");
        WireError::Unsupported {
            address: Arc::clone(address),
            api: name(api),
            broker: self.apis.get(&api).map_or("not at all".to_owned(), range).into(),
            ours: ours.into(),
        }
    }
}

/// An API's name as in Kafka's `ApiKeys`.
pub(super) fn name(key: i16) -> &'static str {
    match ApiKey::try_from(key) {
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::Heartbeat) => "Heartbeat",
        Ok(ApiKey::OffsetFetch) => "OffsetFetch",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::OffsetForLeaderEpoch) => "OffsetForLeaderEpoch",
        Ok(ApiKey::AddPartitionsToTxn) => "AddPartitionsToTxn",
        Ok(ApiKey::AddOffsetsToTxn) => "AddOffsetsToTxn",
        Ok(ApiKey::EndTxn) => "EndTxn",
        Ok(ApiKey::TxnOffsetCommit) => "TxnOffsetCommit",
        Ok(ApiKey::DescribeTransactions) => "DescribeTransactions",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::CreatePartitions) => "CreatePartitions",
        Ok(ApiKey::ListGroups) => "ListGroups",
        Ok(ApiKey::ConsumerGroupDescribe) => "ConsumerGroupDescribe",
        Ok(ApiKey::IncrementalAlterConfigs) => "IncrementalAlterConfigs",
        _ => "an API without a name here",
    }
}
