//! ApiVersions v0–4, with the finalized features (KIP-511, KIP-584). Errors: 35, 42.

use super::text;
use crate::broker::apis;
use crate::broker::cluster::Cluster;
use crate::broker::request::{Caller, Served};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

const FEATURES_VERSION: i16 = 3;
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_VERSION_MAX: i16 = 2;

impl Served for ApiVersionsRequest {
    const OFFERED: (i16, i16) = (0, 4);

    fn serve(self, cluster: &mut Cluster, caller: Caller) {
        if caller.version >= FEATURES_VERSION
            && !(is_software_name(&self.client_software_name) && is_software_name(&self.client_software_version))
        {
            let refusal = self.refusal(caller.version, ResponseError::InvalidRequest);
            return cluster.answer::<Self>(caller, &refusal);
        }
        let keys = apis::all().map(|it| {
            let version = ApiVersion::default().with_api_key(it.key).with_min_version(it.first);
            version.with_max_version(it.last(&cluster.settings))
        });
        let mut response = ApiVersionsResponse::default().with_api_keys(keys.collect());
        if caller.version >= FEATURES_VERSION {
            let level = cluster.settings.transaction_version;
            let supported = SupportedFeatureKey::default().with_name(text(TRANSACTION_VERSION));
            response.supported_features = vec![supported.with_min_version(0).with_max_version(TRANSACTION_VERSION_MAX)];
            response.finalized_features_epoch = 0;
            // A level of 0 is no feature at all.
            if level > 0 {
                let finalized = FinalizedFeatureKey::default().with_name(text(TRANSACTION_VERSION));
                response.finalized_features =
                    vec![finalized.with_min_version_level(level).with_max_version_level(level)];
            }
        }
        cluster.answer::<Self>(caller, &response);
    }

    fn refusal(&self, _version: i16, error: ResponseError) -> ApiVersionsResponse {
        ApiVersionsResponse::default().with_error_code(error.code())
    }
}

/// Kafka's ApiVersionsRequest.isValid.
fn is_software_name(name: &str) -> bool {
    let ends = |it: Option<u8>| it.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(name.bytes().next())
        && ends(name.bytes().last())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.'))
}

/// A version that is too new is answered in version 0, with the versions of ApiVersions itself.
pub(crate) fn answer_unsupported(cluster: &mut Cluster, mut caller: Caller) {
    caller.version = 0;
    let (first, last) = <ApiVersionsRequest as Served>::OFFERED;
    let ours = ApiVersion::default().with_api_key(18).with_min_version(first).with_max_version(last);
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![ours]);
    cluster.answer::<ApiVersionsRequest>(caller, &response);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names() {
        assert!(["a", "apache-kafka-java", "3.9.2"].iter().all(|it| is_software_name(it)));
        assert!(["", "-a", "a.", "a b", "ä"].iter().all(|it| !is_software_name(it)));
    }
}
