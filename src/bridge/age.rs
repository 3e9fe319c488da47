//! How old the data is that has still to be copied: a target that keeps records for a shorter time loses them at once.

use super::ends::Ends;
use crate::cluster::{At, Metadata};
use crate::config::Start;
use crate::topics::plan::PlanEntry;
use crate::types::{TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The oldest record of a topic that is to be copied to a partition of the target which holds nothing yet. Of what is being
/// copied already, the operator was told when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oldest {
    Nothing,
    Record {
        partition: TopicPartition,
        age: Duration,
    },
    /// A leader is away, or a right is missing.
    Unknown,
}

/// By the source's name; every entry is in the answer.
pub(super) async fn oldest(
    ends: &Ends,
    source: &Metadata,
    target: &Metadata,
    entries: &[PlanEntry],
) -> BTreeMap<TopicName, Oldest> {
    let mut found: BTreeMap<_, _> = entries.iter().map(|it| (Arc::clone(&it.source), Oldest::Nothing)).collect();
    let begins = |entry: &PlanEntry| match entry.start {
        Start::Earliest => Some(At::Time(0)),
        Start::Latest => None,
        Start::Time(time) => Some(At::Time(since_1970(time))),
    };
    let entries: Vec<_> = entries.iter().filter_map(|entry| Some((entry, begins(entry)?))).collect();
    let places = |entry: &PlanEntry| {
        let names = (Arc::clone(&entry.source), Arc::clone(&entry.target));
        (0..entry.partitions).map(move |number| {
            (TopicPartition::new(Arc::clone(&names.0), number), TopicPartition::new(Arc::clone(&names.1), number))
        })
    };
    let exists = |partition: &TopicPartition| {
        target.topics.get(&partition.topic).is_some_and(|it| it.partitions.contains_key(&partition.partition))
    };
    let copies = entries.iter().flat_map(|(entry, _)| places(entry)).map(|(_, copy)| copy);
    let asked: Vec<_> = copies.filter(exists).map(|copy| (copy, At::Latest)).collect();
    let ends_at = ends.target.offsets(target, &asked).await;
    let mut asked = Vec::new();
    for (entry, at) in entries {
        for (partition, copy) in places(entry) {
            match ends_at.get(&copy) {
                None => asked.push((partition, at)),
                Some(Ok(end)) if end.offset == 0 => asked.push((partition, at)),
                Some(Ok(_)) => {}
                Some(Err(_)) => merge(&mut found, &entry.source, Oldest::Unknown),
            }
        }
    }
    let now = since_1970(ends.surroundings.wall.now());
    for (partition, first) in ends.source.offsets(source, &asked).await {
        let topic = Arc::clone(&partition.topic);
        let oldest = match first {
            Ok(first) if first.offset < 0 || first.timestamp < 0 => Oldest::Nothing,
            Ok(first) => {
                let age = Duration::from_millis(now.saturating_sub(first.timestamp).max(0).unsigned_abs());
                Oldest::Record { partition, age }
            }
            Err(_) => Oldest::Unknown,
        };
        merge(&mut found, &topic, oldest);
    }
    found
}

/// A record's age says more than that another partition's is unknown.
fn merge(found: &mut BTreeMap<TopicName, Oldest>, topic: &TopicName, other: Oldest) {
    let Some(known) = found.get_mut(topic) else { return };
    let is_more = match (&*known, &other) {
        (Oldest::Record { age: known, .. }, Oldest::Record { age: other, .. }) => other > known,
        (_, Oldest::Record { .. }) | (Oldest::Nothing, Oldest::Unknown) => true,
        _ => false,
    };
    if is_more {
        *known = other;
    }
}

pub(super) fn since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration for people: its two largest units at most.
pub(super) fn lasts(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |large: String, small: u64, unit: &str| match small {
        0 => large,
        small => format!("{large} {small} {unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => format!("{} ms", duration.as_millis()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => pair(format!("{minutes} min"), seconds % 60, "s"),
        (0, ..) => pair(format!("{hours} h"), minutes, "min"),
        (1, ..) => pair("1 day".to_owned(), hours, "h"),
        (2..10, ..) => pair(format!("{days} days"), hours, "h"),
        _ => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_record_counts() {
        let topic: TopicName = "t".into();
        let record =
            |seconds| Oldest::Record { partition: TopicPartition::new("t", 0), age: Duration::from_secs(seconds) };
        let merged = |all: &[Oldest]| {
            let mut found = BTreeMap::from([(Arc::clone(&topic), Oldest::Nothing)]);
            all.iter().for_each(|it| merge(&mut found, &topic, it.clone()));
            found.remove(&topic)
        };
        assert_eq!(merged(&[]), Some(Oldest::Nothing));
        assert_eq!(merged(&[record(1), Oldest::Unknown, record(3), record(2)]), Some(record(3)));
        assert_eq!(merged(&[Oldest::Unknown, record(1)]), Some(record(1)));
        assert_eq!(merged(&[Oldest::Nothing, Oldest::Unknown, Oldest::Nothing]), Some(Oldest::Unknown));
    }

    #[test]
    fn durations_are_told_by_their_largest_units() {
        for (seconds, told) in [
            (0, "0 ms"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_661, "1 h 1 min"),
            (86_400 + 7_200, "1 day 2 h"),
            (86_400 * 7 + 59, "7 days"),
            (86_400 * 9 + 3_700, "9 days 1 h"),
            (86_400 * 40 + 3_700, "40 days"),
        ] {
            assert_eq!(lasts(Duration::from_secs(seconds)), told);
        }
        assert!(!lasts(Duration::MAX).is_empty());
    }
}
