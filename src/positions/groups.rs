//! A whole consumer group's way to the target.

use super::translate::{Translation, Walk, find_letters};
use super::{Link, PositionsError};
use crate::types::TopicPartition;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the target's coordinator says of a group that has members: unknown member, illegal generation, rebalance in progress,
/// stale member epoch.
const MEMBERS: [i16; 4] = [25, 22, 27, 113];

#[derive(Clone, Debug, Default, Serialize)]
pub struct GroupReport {
    pub group: String,
    pub rows: Vec<GroupRow>,
    pub is_applied: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
    pub topic: String,
    pub partition: i32,
    /// What the group has committed at the source.
    pub offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translation: Option<Translation>,
    /// What it has committed at the target already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<i64>,
    #[serde(rename = "move")]
    pub step: Move,
    /// Why there is no translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Move {
    Forward,
    /// It is there already.
    None,
    /// The group is farther at the target than it was at the source.
    Rewind,
    /// Not of this link, or not to be translated.
    Impossible,
}

/// Everything that the group has committed at the source, of topics that are copied; changes nothing.
pub async fn group(link: &Link<'_>, group: &str) -> Result<GroupReport, PositionsError> {
    let at_source = link.ends.source.group_offsets(group).await?;
    let at_target = link.ends.target.group_offsets(group).await?;
    let mut planned = Vec::new();
    for (partition, offset) in at_source {
        match Walk::plan(link, &partition, offset).await {
            Err(error) if error.is_of_all() => return Err(error),
            walk => planned.push((partition, offset, walk)),
        }
    }
    find_letters(link, planned.iter_mut().filter_map(|it| it.2.as_mut().ok())).await?;
    let mut rows = Vec::new();
    for (partition, offset, walk) in planned {
        let translated = match walk {
            Ok(walk) => walk.translate().await,
            Err(error) => Err(error),
        };
        let row = match translated {
            Ok(translation) => {
                let target = TopicPartition::new(translation.target_topic.as_str(), translation.target_partition);
                let committed = at_target.get(&target).copied();
                let step = match committed {
                    Some(committed) if committed == translation.target_offset => Move::None,
                    Some(committed) if committed > translation.target_offset => Move::Rewind,
                    _ => Move::Forward,
                };
                row(&partition, offset, Some(translation), committed, step, None)
            }
            Err(error) if error.is_of_all() => return Err(error),
            Err(error) => row(&partition, offset, None, None, Move::Impossible, Some(error.to_string())),
        };
        rows.push(row);
    }
    Ok(GroupReport { group: group.to_owned(), rows, is_applied: false })
}

fn row(
    partition: &TopicPartition,
    offset: i64,
    translation: Option<Translation>,
    committed: Option<i64>,
    step: Move,
    problem: Option<String>,
) -> GroupRow {
    let (topic, partition) = (partition.topic.to_string(), partition.partition);
    GroupRow { topic, partition, offset, translation, committed, step, problem }
}

/// Commits it for the group at the target, all or nothing; backward only where that is allowed.
pub async fn apply(link: &Link<'_>, report: &mut GroupReport, allow_rewind: bool) -> Result<(), PositionsError> {
    let moves = report.rows.iter().filter(|it| it.step == Move::Forward || (allow_rewind && it.step == Move::Rewind));
    let offsets: BTreeMap<_, _> = moves
        .filter_map(|it| it.translation.as_ref())
        .map(|it| (TopicPartition::new(it.target_topic.as_str(), it.target_partition), it.target_offset))
        .collect();
    if !offsets.is_empty() {
        link.ends.target.commit_group_offsets(&report.group, &offsets).await.map_err(|error| match error.code() {
            Some(code) if MEMBERS.contains(&code) => PositionsError::HasMembers { group: report.group.clone() },
            _ => error.into(),
        })?;
    }
    report.is_applied = true;
    Ok(())
}
