//! The rights that a link needs, those that are missing, and the commands that grant them.

use super::OwnTopic;
use super::prospect::Prospect;
use crate::bridge::ends::Ends;
use crate::cluster::{ClusterError, Operation, Operations};
use crate::config::Config;
use crate::topics::Step;
use crate::types::TopicName;
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    Topic,
    Group,
    /// Those that begin with the name.
    TransactionalIds,
}

impl ResourceKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalIds => "transactional ids with the prefix",
        }
    }
}

/// What is missing on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    pub end: &'static str,
    pub resource: ResourceKind,
    pub name: String,
    pub operations: Vec<Operation>,
    /// Without it the link cannot do its work; otherwise it is poorer.
    pub is_required: bool,
    pub why: &'static str,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, resource, name, operations, why, .. } = self;
        let operations: Vec<_> = operations.iter().map(ToString::to_string).collect();
        write!(f, "{end}: {} on {} {name}: {why}", operations.join(", "), resource.name())
    }
}

impl Right {
    fn topic(end: &'static str, name: &str, why: &'static str) -> Self {
        let (name, operations) = (name.to_owned(), Vec::new());
        Self { end, resource: ResourceKind::Topic, name, operations, is_required: true, why }
    }

    /// With those of `wanted` that are not in `granted`; None when all are there.
    fn lacking(self, granted: Operations, wanted: &[Operation]) -> Option<Self> {
        let operations: Vec<_> = wanted.iter().copied().filter(|it| !granted.has(*it)).collect();
        (!operations.is_empty()).then_some(Self { operations, ..self })
    }

    /// As an administrator runs it.
    pub fn command(&self, principal: &str, bootstrap: &str) -> String {
        let mut command = format!(
            "kafka-acls.sh --bootstrap-server {} --command-config admin.properties --add --allow-principal {}",
            quoted(bootstrap),
            quoted(principal)
        );
        for operation in &self.operations {
            command += &format!(" --operation {}", operation.name());
        }
        let name = quoted(&self.name);
        command
            + &match self.resource {
                ResourceKind::Topic => format!(" --topic {name}"),
                ResourceKind::Group => format!(" --group {name}"),
                ResourceKind::TransactionalIds => {
                    format!(" --transactional-id {name} --resource-pattern-type prefixed")
                }
            }
    }
}

/// For a shell, where that is needed.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whom the brokers take us for: `DefaultKafkaPrincipalBuilder`, unless their `ssl.principal.mapping.rules` say otherwise.
pub(in crate::bridge) fn principal(subject: Option<&str>) -> String {
    format!("User:{}", subject.unwrap_or("ANONYMOUS"))
}

/// `hidden`: names of the config that the source does not show.
pub(super) async fn missing(
    config: &Config,
    ends: &Ends,
    prospects: &[Prospect],
    hidden: &[TopicName],
    own: [Option<&OwnTopic>; 2],
) -> Result<Vec<Right>, ClusterError> {
    let mut missing = of_source(ends, prospects, hidden).await?;
    missing.extend(of_target_topics(ends, prospects, own).await?);
    missing.extend(of_transactions(config, ends).await?);
    Ok(missing)
}

async fn of_source(ends: &Ends, prospects: &[Prospect], hidden: &[TopicName]) -> Result<Vec<Right>, ClusterError> {
    let visible = prospects.iter().map(|it| &it.entry.source);
    let names: Vec<_> = visible.chain(hidden).cloned().collect();
    let granted = ends.source.topic_operations(&names).await?;
    let mut missing = Vec::new();
    for name in &names {
        let Some(granted) = granted.get(name).copied() else { continue };
        let read = Right::topic("source", name, "its records are read");
        let read = read.lacking(granted, &[Operation::Describe, Operation::Read]);
        // A topic that cannot be seen is no topic of the plan; perhaps it does not exist.
        let is_hidden = hidden.contains(name);
        if !is_hidden {
            let why = "otherwise the copy is created with the target's default settings";
            let describe = Right { is_required: false, ..Right::topic("source", name, why) };
            missing.extend(describe.lacking(granted, &[Operation::DescribeConfigs]));
        }
        missing.extend(read.filter(|it| !is_hidden || it.operations.contains(&Operation::Describe)));
    }
    Ok(missing)
}

/// `own`: the ledger, and the dead letters' topic where there is one.
async fn of_target_topics(
    ends: &Ends,
    prospects: &[Prospect],
    own: [Option<&OwnTopic>; 2],
) -> Result<Vec<Right>, ClusterError> {
    let names = own.iter().flatten().map(|it| Arc::clone(&it.name));
    let names = prospects.iter().map(|it| Arc::clone(&it.entry.target)).chain(names);
    let granted = ends.target.topic_operations(&names.collect::<Vec<_>>()).await?;
    let mut missing = Vec::new();
    for prospect in prospects {
        let Some(granted) = granted.get(&prospect.entry.target).copied() else { continue };
        let mut wanted = vec![Operation::Describe, Operation::Write, Operation::DescribeConfigs];
        if matches!(prospect.step, Some(Step::Grow { .. })) {
            wanted.push(Operation::Alter);
        }
        let right =
            Right::topic("target", &prospect.entry.target, "records are written to it, and its settings checked");
        let mut right = right.lacking(granted, &wanted);
        // The topic's own bits do not know a right to create that was granted on the cluster.
        if prospect.refused.as_ref().is_some_and(ClusterError::is_authorization) {
            let created =
                Right::topic("target", &prospect.entry.target, "it is to be created, and records written to it");
            right.get_or_insert(created).operations.push(Operation::Create);
        }
        missing.extend(right);
    }
    let of_ledger = [Operation::Describe, Operation::Read, Operation::Write, Operation::DescribeConfigs];
    let of_letters = [Operation::Describe, Operation::Write, Operation::DescribeConfigs];
    let wanted = [
        ("positions are kept there", &of_ledger[..]),
        ("records that do not pass their check are written to it", &of_letters[..]),
    ];
    for (topic, (why, wanted)) in own.into_iter().zip(wanted) {
        let Some(topic) = topic else { continue };
        let Some(granted) = granted.get(&topic.name).copied() else { continue };
        let mut right = Right::topic("target", &topic.name, why).lacking(granted, wanted);
        if topic.lacks_create() {
            right.get_or_insert(Right::topic("target", &topic.name, why)).operations.push(Operation::Create);
        }
        missing.extend(right);
    }
    Ok(missing)
}

async fn of_transactions(config: &Config, ends: &Ends) -> Result<Vec<Right>, ClusterError> {
    let mut missing = Vec::new();
    let (group, ledger) = (config.link.group_id(), config.link.ledger_topic().as_str().into());
    let ids: Vec<_> = (0..config.delivery.lanes.get()).map(|lane| config.link.transactional_id(lane)).collect();
    if !ends.target.may_write_transactional_ids(&ids, group, &ledger).await? {
        missing.push(Right {
            end: "target",
            resource: ResourceKind::TransactionalIds,
            name: config.link.transactional_id_prefix(),
            operations: vec![Operation::Describe, Operation::Write],
            is_required: true,
            why: "a lane's transactions are made under them",
        });
    }
    if !ends.target.may_read_group(group).await? {
        missing.push(Right {
            end: "target",
            resource: ResourceKind::Group,
            name: group.to_owned(),
            operations: vec![Operation::Describe, Operation::Read],
            is_required: true,
            why: "every transaction commits an offset of it",
        });
    }
    Ok(missing)
}

/// The commands, by the end where an administrator runs them.
pub(super) fn commands(config: &Config, ends: &Ends, missing: &[Right]) -> Vec<String> {
    let of = |end: &str| match end {
        "source" => (&config.source, &ends.source),
        _ => (&config.target.end, &ends.target),
    };
    let command = |right: &Right| {
        let (end, cluster) = of(right.end);
        let bootstrap = end.bootstrap_servers.first().map(ToString::to_string).unwrap_or_default();
        let subject = cluster.security().certificate().map(|it| it.subject);
        right.command(&principal(subject.as_deref()), &bootstrap)
    };
    missing.iter().map(command).collect()
}

/// Required ones, with what grants them.
#[derive(Clone, Debug)]
pub struct MissingRights {
    pub rights: Vec<Right>,
    pub commands: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(resource: ResourceKind, name: &str, operations: &[Operation]) -> Right {
        Right {
            end: "target",
            resource,
            name: name.to_owned(),
            operations: operations.to_vec(),
            is_required: true,
            why: "w",
        }
    }

    #[test]
    fn commands_are_those_of_kafka_acls() {
        let right_of = right(ResourceKind::Topic, "orders", &[Operation::Write, Operation::DescribeConfigs]);
        assert_eq!(
            right_of.command(&principal(Some("CN=bridge,O=Orders\\, Inc")), "kafka:9093"),
            "kafka-acls.sh --bootstrap-server kafka:9093 --command-config admin.properties --add --allow-principal \
             'User:CN=bridge,O=Orders\\, Inc' --operation Write --operation DescribeConfigs --topic orders"
        );
        let ids = right(ResourceKind::TransactionalIds, "link.", &[Operation::Write]);
        let command = ids.command(&principal(None), "kafka:9092");
        assert!(command.ends_with("--operation Write --transactional-id link. --resource-pattern-type prefixed"));
        assert!(command.contains("--allow-principal User:ANONYMOUS"), "{command}");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
