//! Keeps a cluster's metadata fresh for everyone who needs it: at an interval, and at once when someone was sent to the
//! wrong broker.

use super::{Backoff, Cluster, Metadata};
use crate::latest::{self, Latest};
use crate::types::TopicName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Between two questions, however many lanes ask: an election makes all of them ask at once.
const SPACING: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Keeper {
    current: Latest<Arc<Metadata>>,
    wanted: Arc<Notify>,
    topics: watch::Sender<Option<Vec<TopicName>>>,
    /// Ends with the last handle.
    _task: Arc<JoinSet<()>>,
}

impl Keeper {
    /// `topics` None follows all topics of the cluster. Ends when the last handle is dropped.
    pub async fn start(
        cluster: Cluster,
        topics: Option<Vec<TopicName>>,
        interval: Duration,
    ) -> Result<Self, super::ClusterError> {
        let first = cluster.metadata(topics.as_deref()).await?;
        let (publisher, current) = latest::channel(Arc::new(first));
        let wanted = Arc::new(Notify::new());
        let (topics, asked) = watch::channel(topics);
        let woken = Arc::clone(&wanted);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                tokio::select! {
                    biased;
                    () = woken.notified() => {}
                    () = tokio::time::sleep(interval) => {}
                }
                let names = asked.borrow().clone();
                match cluster.metadata(names.as_deref()).await {
                    Ok(metadata) => {
                        backoff.succeeded();
                        publisher.publish(Arc::new(metadata));
                        tokio::time::sleep(SPACING).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no metadata");
                        tokio::time::sleep(backoff.failed()).await;
                        woken.notify_one();
                    }
                }
            }
        });
        Ok(Self { current, wanted, topics, _task: Arc::new(task) })
    }

    pub fn current(&self) -> Arc<Metadata> {
        self.current.now()
    }

    pub fn watch(&self) -> Latest<Arc<Metadata>> {
        self.current.clone()
    }

    pub fn refresh(&self) {
        self.wanted.notify_one();
    }

    /// Which topics to follow from now on.
    pub fn follow(&self, topics: Vec<TopicName>) {
        self.topics.send_replace(Some(topics));
        self.refresh();
    }
}
