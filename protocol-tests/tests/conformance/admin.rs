//! Topics and their configs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;
use protocol_tests::raw::topic_name;
use uuid::Uuid;

use super::probe::{Probe, text};

const TOPIC: &str = "admin";
const TOPIC_RESOURCE: i8 = 2;
const METADATA_LIMIT: Duration = Duration::from_secs(20);
/// What the bridge looks at and sets.
const CONFIGS: [&str; 9] = [
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "unclean.leader.election.enable",
];

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    creates(probe)?;
    partitions(probe)?;
    configs(probe)?;
    deletes(probe)
}

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn with_config(topic: CreatableTopic, name: &str, value: &str) -> CreatableTopic {
    topic.with_configs(vec![CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))])
}

fn create(probe: &mut Probe, topics: Vec<CreatableTopic>, validate_only: bool) -> Result<CreateTopicsResponse> {
    let request =
        CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(20_000).with_validate_only(validate_only);
    probe.ask(7, &request)
}

fn creates(probe: &mut Probe) -> Result<()> {
    let long = "x".repeat(250);
    let assignment = |partition: i32, node: i32| {
        CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(vec![node.into()])
    };
    for (question, asked) in [
        ("validated only", (topic(TOPIC, 3, 1), true)),
        ("created", (with_config(topic(TOPIC, 3, 1), "retention.ms", "12345"), false)),
        ("created again", (topic(TOPIC, 3, 1), false)),
        ("no partitions", (topic("none", 0, 1), false)),
        ("negative partitions", (topic("none", -2, 1), false)),
        ("no replicas", (topic("none", 1, 0), false)),
        ("more replicas than nodes", (topic("none", 1, 9), false)),
        ("an empty name", (topic("", 1, 1), false)),
        ("a dot", (topic(".", 1, 1), false)),
        ("a blank", (topic("a b", 1, 1), false)),
        ("a long name", (topic(&long, 1, 1), false)),
        ("an unknown config", (with_config(topic("none", 1, 1), "no.such.config", "1"), false)),
        ("a config that is none", (with_config(topic("none", 1, 1), "retention.ms", "much"), false)),
        ("a policy that is none", (with_config(topic("none", 1, 1), "cleanup.policy", "keep"), false)),
        (
            "an assignment",
            (topic("assigned", -1, -1).with_assignments(vec![assignment(0, 0), assignment(1, 0)]), false),
        ),
        ("an assignment and a count", (topic("none", 1, 1).with_assignments(vec![assignment(0, 0)]), false)),
        ("an assignment to nobody", (topic("none", -1, -1).with_assignments(vec![assignment(0, 77)]), false)),
        ("an assignment with a gap", (topic("none", -1, -1).with_assignments(vec![assignment(1, 0)]), false)),
        ("the defaults", (topic("defaults", -1, -1), false)),
    ] {
        let answer = create(probe, vec![asked.0], asked.1)?;
        let result = answer.topics.first().context("no topic")?;
        let line = (result.error_code, result.num_partitions, result.replication_factor, result.topic_id.is_nil());
        probe.note(question, line);
    }
    let answer = create(probe, vec![topic("twice", 1, 1), topic("twice", 2, 1)], false)?;
    probe.note("the same name twice", answer.topics.iter().map(|it| it.error_code).collect::<Vec<_>>());
    Ok(())
}

fn partitions(probe: &mut Probe) -> Result<()> {
    for (question, name, count, validate_only) in [
        ("fewer partitions", TOPIC, 2, false),
        ("as many partitions", TOPIC, 3, false),
        ("more partitions, validated only", TOPIC, 4, true),
        ("more partitions", TOPIC, 5, false),
        ("partitions of a missing topic", "missing", 5, false),
    ] {
        let topic =
            CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(20_000)
            .with_validate_only(validate_only);
        let answer = probe.ask(3, &request)?;
        probe.note(question, answer.results.first().context("no topic")?.error_code);
    }
    // The controller has answered; the brokers' metadata follows.
    let start = Instant::now();
    let mut count = probe.client.partition_count(TOPIC)?;
    while count != 5 && start.elapsed() < METADATA_LIMIT {
        std::thread::sleep(Duration::from_millis(20));
        count = probe.client.partition_count(TOPIC)?;
    }
    probe.note("partitions now", count);
    Ok(())
}

/// Error code; name, value, type, and whether the topic has it of its own.
type Configs = (i16, Vec<(String, Option<String>, i8, bool)>);

fn configs_of(probe: &mut Probe, name: &str) -> Result<Configs> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(CONFIGS.map(text).to_vec()));
    let answer = probe.ask(4, &DescribeConfigsRequest::default().with_resources(vec![resource]))?;
    let result = answer.results.first().context("no resource")?;
    let mut configs: Vec<_> = result
        .configs
        .iter()
        .map(|it| {
            (it.name.to_string(), it.value.as_ref().map(|it| it.to_string()), it.config_type, it.config_source == 1)
        })
        .collect();
    configs.sort();
    Ok((result.error_code, configs))
}

fn described(probe: &mut Probe, question: &str, name: &str) -> Result<()> {
    let (code, configs) = configs_of(probe, name)?;
    probe.note(question, code);
    for config in configs {
        probe.note(&format!("{question}: {}", config.0), (config.1, config.2, config.3));
    }
    Ok(())
}

fn configs(probe: &mut Probe) -> Result<()> {
    described(probe, "configs", TOPIC)?;
    described(probe, "configs of a missing topic", "missing")?;
    for (question, topic, name, operation, value) in [
        ("set", TOPIC, "retention.bytes", 0, Some("777")),
        ("set the policy", TOPIC, "cleanup.policy", 0, Some("compact")),
        ("append to a list", TOPIC, "cleanup.policy", 2, Some("delete")),
        ("subtract from a list", TOPIC, "cleanup.policy", 3, Some("compact")),
        ("append to a number", TOPIC, "retention.ms", 2, Some("1")),
        ("delete", TOPIC, "retention.ms", 1, None),
        ("set to nothing", TOPIC, "retention.ms", 0, None),
        ("set what is not known", TOPIC, "no.such.config", 0, Some("1")),
        ("set to nonsense", TOPIC, "retention.ms", 0, Some("much")),
        ("set on a missing topic", "missing", "retention.ms", 0, Some("1")),
    ] {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let answer = probe.ask(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))?;
        probe.note(question, answer.responses.first().context("no resource")?.error_code);
    }
    until_altered(probe)?;
    described(probe, "altered", TOPIC)
}

/// The controller has answered; a broker's configs follow.
fn until_altered(probe: &mut Probe) -> Result<()> {
    let start = Instant::now();
    let altered = |configs: &[(String, Option<String>, i8, bool)]| {
        let is = |name: &str, value: &str| configs.iter().any(|it| it.0 == name && it.1.as_deref() == Some(value));
        let is_default = |name: &str| configs.iter().any(|it| it.0 == name && !it.3);
        is("retention.bytes", "777") && is("cleanup.policy", "delete") && is_default("retention.ms")
    };
    while !altered(&configs_of(probe, TOPIC)?.1) && start.elapsed() < METADATA_LIMIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn deletes(probe: &mut Probe) -> Result<()> {
    for (question, state) in [
        ("delete by name", DeleteTopicState::default().with_name(Some(topic_name(TOPIC)))),
        ("delete again", DeleteTopicState::default().with_name(Some(topic_name(TOPIC)))),
        ("delete an unknown id", DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(4_711))),
    ] {
        let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(20_000);
        let answer = probe.ask(6, &request)?;
        probe.note(question, answer.responses.first().context("no topic")?.error_code);
    }
    Ok(())
}
