//! A link: plan, lanes, the pipeline of one lane, drain.

mod dispatch;
mod ends;
mod error;
mod gather;
mod incident;
mod lane;
#[cfg(test)]
mod lane_tests;
mod planner;
mod report;
mod run;
mod transaction;
mod weakness;
mod worker;

pub use ends::Ends;
pub use error::RunError;
pub use incident::{Incident, IncidentKind};
pub use planner::{Planner, topics_of};
pub use report::Summary;
pub use run::run;
pub use weakness::{Finding, findings};
