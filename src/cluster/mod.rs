//! One Kafka cluster: metadata, leaders, coordinators, retries.
