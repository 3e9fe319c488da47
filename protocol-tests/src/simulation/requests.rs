//! Steps that go through the clusters' own APIs.

use anyhow::Result;
use kafka_bridge::broker::Coordinator;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, DeleteGroupsRequest, DeleteTopicsRequest, GroupId};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;

use super::bridges::LINK;
use super::client::Client;
use super::world::{PARTITIONS_MAX, World};
use crate::raw::topic_name;

impl World {
    pub(super) async fn forget_group(&mut self) -> Result<()> {
        let node = self.target.with(|cluster, _| cluster.coordinator(Coordinator::Group, LINK));
        let Some(node) = node else { return Ok(()) };
        let group = GroupId(StrBytes::from_static_str(LINK));
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group]);
        // A group that does not exist yet has nothing to forget.
        drop(Client::new(Arc::clone(&self.target)).ask(node, 2, &request).await);
        Ok(())
    }

    pub(super) async fn grow(&mut self, topic: usize) -> Result<()> {
        let Some(name) = self.topics.get(topic % self.topics.len().max(1)).cloned() else { return Ok(()) };
        let partitions = self.source.with(|cluster, _| cluster.partitions(&name)).unwrap_or(PARTITIONS_MAX);
        if partitions < PARTITIONS_MAX {
            let wanted = CreatePartitionsTopic::default()
                .with_name(topic_name(&name))
                .with_count(partitions + 1)
                .with_assignments(None);
            let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1_000);
            let mut client = Client::new(Arc::clone(&self.source));
            if let Ok(node) = client.any(self.setup.source_nodes) {
                drop(client.ask(node, 2, &request).await);
            }
        }
        Ok(())
    }

    pub(super) async fn recreate(&mut self, topic: usize) -> Result<()> {
        let Some(name) = self.topics.get(topic % self.topics.len().max(1)).cloned() else { return Ok(()) };
        let Some(partitions) = self.source.with(|cluster, _| cluster.partitions(&name)) else { return Ok(()) };
        let places: Vec<_> = (0..partitions).map(|it| (name.clone(), it)).collect();
        // A marker that is due in this very instant comes before the deletion.
        self.source.with(|cluster, now_ms| cluster.handle_timeout(now_ms));
        for place in &places {
            self.observe_source(place)?;
        }
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)]).with_timeout_ms(1_000);
        let mut client = Client::new(Arc::clone(&self.source));
        let Ok(node) = client.any(self.setup.source_nodes) else { return Ok(()) };
        let deleted = client.ask(node, 5, &request).await;
        if deleted.is_ok_and(|it| it.responses.first().is_some_and(|it| it.error_code == 0)) {
            // What came between the look and the deletion was never there for anybody.
            let _ = self.source.with(|cluster, _| cluster.create_topic(&name, partitions, 1, self.configs(&name)));
            for place in places {
                self.reference.source(&place).recreated();
                self.disturbed.insert(place);
            }
        }
        Ok(())
    }
}
