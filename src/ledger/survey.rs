//! All lanes of a ledger at once, for an onlooker.

use super::error::LedgerError;
use super::reader::{LedgerReader, Until};
use super::state::LaneLedger;
use crate::clock;
use crate::cluster::{Backoff, Cluster};
use crate::types::TopicPartition;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::task::JoinSet;

/// A target that is just starting makes its group coordinator on the first question.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is committed now, of the lanes that can be read; why not, of the others.
pub async fn survey(
    cluster: &Cluster,
    topic: &str,
    lanes: NonZeroU32,
    group_id: &str,
) -> Vec<Result<LaneLedger, LedgerError>> {
    let mut reading = JoinSet::new();
    for lane in 0..lanes.get() {
        let partition = TopicPartition::new(topic, i32::try_from(lane).unwrap_or(i32::MAX));
        let reader = LedgerReader { cluster: cluster.clone(), partition, group_id: group_id.to_owned() };
        reading.spawn(read(reader));
    }
    reading.join_all().await
}

async fn read(reader: LedgerReader) -> Result<LaneLedger, LedgerError> {
    let (began, mut backoff) = (clock::now(), Backoff::default());
    loop {
        match reader.read(Until::Stable).await {
            Err(error) if error.is_transient() && clock::now() - began < PATIENCE => {
                tracing::debug!(%error, "the ledger cannot be read yet");
            }
            other => return other,
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}
