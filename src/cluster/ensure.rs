//! A topic that must be there before anything else: made where it is missing, and waited for.

use super::{Cluster, ClusterError, Metadata, NewTopic};
use crate::clock;
use crate::types::TopicName;
use std::time::Duration;

const TOPIC_ALREADY_EXISTS: i16 = 36;
const POLL: Duration = Duration::from_millis(50);
/// An election takes seconds; whoever waits longer wants to know why.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, thiserror::Error)]
pub enum EnsureError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(
        "{topic}: not all its partitions have a leader after {seconds} s. Is a broker of the target down, or the topic being deleted?"
    )]
    NotReady { topic: TopicName, seconds: u64 },
}

impl Cluster {
    /// Gives the number of its partitions, which all have a leader.
    pub async fn ensure_topic(&self, topic: &NewTopic) -> Result<i32, EnsureError> {
        let began = clock::now();
        loop {
            let metadata = self.metadata(Some(std::slice::from_ref(&topic.name))).await?;
            // More than once: a topic of that name that is being deleted (ZooKeeper mode takes its time) is told to exist.
            if !exists(&metadata, &topic.name) {
                match self.create_topic(topic, false).await {
                    Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => {}
                    created => drop(created?),
                }
            }
            let known = metadata.topics.get(&topic.name).map(|it| &it.partitions);
            if let Some(found) =
                known.filter(|it| !it.is_empty() && it.values().all(|partition| partition.leader.is_some()))
            {
                return Ok(i32::try_from(found.len()).unwrap_or(i32::MAX));
            }
            if clock::now() - began > PATIENCE {
                return Err(EnsureError::NotReady { topic: topic.name.clone(), seconds: PATIENCE.as_secs() });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn exists(metadata: &Metadata, topic: &TopicName) -> bool {
    metadata.topics.get(topic).is_some_and(|it| it.error_code == 0 || !it.partitions.is_empty())
}
