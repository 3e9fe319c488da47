//! A link: plan, lanes, the pipeline of one lane, drain.

mod age;
pub mod check;
mod dispatch;
mod ends;
mod error;
mod gather;
mod incident;
mod lane;
#[cfg(test)]
mod lane_tests;
mod ownership;
mod planner;
mod purse;
mod report;
mod run;
mod survey;
mod transaction;
mod weakness;
mod worker;
mod working;

pub use age::Oldest;
pub use ends::{Ends, Surroundings};
pub use error::RunError;
pub use incident::{Incident, IncidentKind};
pub use planner::{Planner, topics_of};
pub use report::{Summary, Watcher};
pub use run::run;
pub use survey::{LedgerProspect, MissingRights, Prospect, ResourceKind, Right, Survey};
pub use weakness::{Finding, findings};
