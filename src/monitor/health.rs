//! Whether a link lives, and whether it works.

use super::state::{Phase, State};
use serde::Serialize;
use std::time::Duration;

/// The link's task beats every second. One that is silent so long hangs, and a restart is all that helps.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    pub(super) is_well: bool,
    /// What is wrong, if anything is.
    pub(super) problems: Vec<String>,
}

impl Health {
    fn of(problems: Vec<String>) -> Self {
        Self { is_well: problems.is_empty(), problems }
    }
}

impl State {
    /// Is there anything left that a restart would not mend? Clusters that are away are none of its business.
    pub(super) fn lives(&self) -> Health {
        let silent = self.beat.elapsed();
        // While it begins it waits for both clusters, within limits of its own.
        let hangs = self.phase != Phase::Starting && silent > SILENCE_MAX;
        Health::of(hangs.then(|| format!("the link has not moved for {} s", silent.as_secs())).into_iter().collect())
    }

    /// Does it copy what it is to copy? A spare member of a group is ready: it waits for a lane.
    pub(super) fn is_ready(&self) -> Health {
        let mut problems = self.lives().problems;
        match self.phase {
            Phase::Starting => problems.push("it has not begun: it connects to both clusters".to_owned()),
            Phase::Draining => problems.push("it ends".to_owned()),
            Phase::Running if self.own.is_empty() && self.generation_id.is_none() => {
                problems.push("no lane was given to it yet".to_owned());
            }
            Phase::Running => {}
        }
        let missing: Vec<_> =
            self.own.iter().filter(|it| !self.taken.contains(it) && !self.failed.contains_key(it)).collect();
        if !missing.is_empty() {
            problems.push(format!("lanes are not taken yet: {missing:?}"));
        }
        // One that the group has given to another bridge is worked there.
        let failed = self.failed.iter().filter(|(lane, _)| self.own.contains(lane));
        problems.extend(failed.map(|(lane, reason)| format!("lane {lane} has stopped: {reason}")));
        Health::of(problems)
    }
}
