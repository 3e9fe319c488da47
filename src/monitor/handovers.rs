//! When this bridge took which lanes or gave them up, and why: what somebody asks who finds a lane at another bridge than
//! yesterday.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Of the newest; the log has all.
pub(super) const HANDOVERS_MAX: usize = 50;
/// Lanes are taken one by one; what comes within so long for the same reason is one story.
const MERGE_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Taken,
    GivenUp,
    Stopped,
}

/// The README has a row for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Started,
    Assigned,
    Confirmed,
    Reassigned,
    SourceUnreachable,
    SessionLost,
    Fenced,
    TakenOver,
    Ended,
    Failed,
}

impl Reason {
    fn change(self) -> Change {
        match self {
            Self::Started | Self::Assigned | Self::Confirmed => Change::Taken,
            Self::Reassigned
            | Self::SourceUnreachable
            | Self::SessionLost
            | Self::Fenced
            | Self::TakenOver
            | Self::Ended => Change::GivenUp,
            Self::Failed => Change::Stopped,
        }
    }

    /// As the README has it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Started => "the bridge began, and `sharing` is `\"off\"`",
            Self::Assigned => "the group gave them to this bridge",
            Self::Confirmed => "they were fenced, and the group confirmed that they are this bridge's",
            Self::Reassigned => "the group gave them to another bridge",
            Self::SourceUnreachable => "the source did not answer this bridge, and the group gave them to another",
            Self::SessionLost => "the group counts this bridge out; it gave up all lanes by itself",
            Self::Fenced => "another bridge took them at the target",
            Self::TakenOver => "a newer bridge took them; `sharing` is `\"off\"`",
            Self::Ended => "the bridge ended",
            Self::Failed => "they cannot be worked; the log and the page of incidents say why",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    pub(super) time_ms: u64,
    pub(super) change: Change,
    pub(super) reason: Reason,
    pub(super) detail: Option<String>,
    pub(super) lanes: BTreeSet<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Handovers {
    all: VecDeque<Handover>,
    /// Lanes that are to be taken, and why.
    promised: BTreeMap<u32, (Reason, Option<String>)>,
}

impl Handovers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Handover> {
        self.all.iter()
    }

    /// They will be taken, each when it is free.
    pub(super) fn promise(&mut self, lanes: impl Iterator<Item = u32>, reason: Reason, detail: Option<&str>) {
        self.promised.extend(lanes.map(|it| (it, (reason, detail.map(str::to_owned)))));
    }

    pub(super) fn taken(&mut self, now_ms: u64, lane: u32) {
        let (reason, detail) = self.promised.remove(&lane).unwrap_or((Reason::Started, None));
        self.add(now_ms, reason, detail, BTreeSet::from([lane]));
    }

    pub(super) fn left(&mut self, now_ms: u64, lanes: BTreeSet<u32>, reason: Reason, detail: Option<String>) {
        self.promised.retain(|lane, _| !lanes.contains(lane));
        if !lanes.is_empty() {
            self.add(now_ms, reason, detail, lanes);
        }
    }

    fn add(&mut self, now_ms: u64, reason: Reason, detail: Option<String>, lanes: BTreeSet<u32>) {
        if let Some(last) = self.all.back_mut()
            && (last.reason, &last.detail) == (reason, &detail)
            && now_ms.saturating_sub(last.time_ms) <= MERGE_MS
        {
            last.lanes.extend(lanes);
            return;
        }
        if self.all.len() == HANDOVERS_MAX {
            self.all.pop_front();
        }
        self.all.push_back(Handover { time_ms: now_ms, change: reason.change(), reason, detail, lanes });
    }
}

/// 1, 2, 3, 7 as `1-3,7`: a link may have a thousand lanes.
pub(super) fn ranges(lanes: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for lane in lanes {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *lane => *last = *lane,
            _ => parts.push((*lane, *lane)),
        }
    }
    let part = |(first, last): (u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const REASONS: [Reason; 10] = [
        Reason::Started,
        Reason::Assigned,
        Reason::Confirmed,
        Reason::Reassigned,
        Reason::SourceUnreachable,
        Reason::SessionLost,
        Reason::Fenced,
        Reason::TakenOver,
        Reason::Ended,
        Reason::Failed,
    ];

    fn word(it: impl Serialize) -> String {
        serde_json::to_value(it).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn the_readme_has_a_row_for_each_reason() {
        for reason in REASONS {
            let row = format!("| `{}` | `{}` | {} |", word(reason.change()), word(reason), reason.text());
            assert!(README.lines().any(|it| it == row), "there is no {row}");
        }
    }

    #[test]
    fn lanes_that_move_together_are_one_story_and_stories_are_bounded() {
        let mut handovers = Handovers::default();
        handovers.promise(0..8, Reason::Assigned, Some("generation 3"));
        (0..8).for_each(|lane| handovers.taken(u64::from(lane), lane));
        handovers.left(10, BTreeSet::from([1, 2]), Reason::Reassigned, None);
        handovers.left(10, BTreeSet::new(), Reason::SessionLost, None);
        // The same reason, and another time.
        handovers.left(20_000, BTreeSet::from([7]), Reason::Reassigned, None);
        let told: Vec<_> = handovers.iter().map(|it| (it.time_ms, it.change, ranges(&it.lanes))).collect();
        let expected = [
            (0, Change::Taken, "0-7".to_owned()),
            (10, Change::GivenUp, "1-2".to_owned()),
            (20_000, Change::GivenUp, "7".to_owned()),
        ];
        assert_eq!(told, expected);
        (1..1_000).for_each(|it| handovers.left(it * 100_000, BTreeSet::from([1]), Reason::Fenced, None));
        assert_eq!(handovers.iter().count(), HANDOVERS_MAX);
        assert_eq!(handovers.iter().last().map(|it| it.time_ms), Some(99_900_000));
    }

    #[test]
    fn ranges_of_lanes() {
        assert_eq!(ranges(&BTreeSet::new()), "");
        assert_eq!(ranges(&BTreeSet::from([0, 2, 3, 4, 9, 1023])), "0,2-4,9,1023");
    }
}
