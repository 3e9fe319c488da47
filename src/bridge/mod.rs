//! A link: plan, lanes, the pipeline of one lane, drain.

mod age;
#[cfg(test)]
mod auditor;
mod certificates;
pub mod check;
mod decisions;
mod deliveries;
mod dispatch;
mod ends;
mod error;
mod event;
mod gather;
mod incident;
mod lane;
#[cfg(test)]
mod lane_tests;
mod link;
#[cfg(test)]
mod model;
mod ownership;
mod packing;
mod planner;
#[cfg(test)]
mod process;
mod producer;
#[cfg(test)]
mod properties;
mod purse;
mod reach;
mod report;
mod review;
#[cfg(test)]
mod rig;
mod roster;
mod routing;
mod run;
mod screening;
#[cfg(test)]
mod situations;
mod size;
mod survey;
mod transaction;
#[cfg(test)]
mod transitions;
mod waiting;
mod weakness;
mod worker;
mod working;
#[cfg(test)]
mod world;

pub use age::Oldest;
pub use certificates::Reload;
pub use ends::{Ends, Surroundings, open_end};
pub use error::RunError;
pub use event::{Beginning, LinkEvent};
pub use incident::{Incident, IncidentKind};
pub use lane::{Event as LaneEvent, KnownPosition};
pub use planner::{Planner, topics_of};
pub use producer::{Ended, Producer, ProducerError};
pub use report::{Summary, Watcher};
pub use review::{Reviewed, Reviewer};
pub use run::run;
pub use screening::Objection;
pub use survey::{MissingRights, OwnTopic, Prospect, ResourceKind, Right, Survey};
pub use transaction::{Counts, PartCounts};
pub use weakness::{Finding, findings};
