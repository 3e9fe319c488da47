//! Reads a topic as a consumer does, read_committed, and proves what it reads: each event against its schema, and by the
//! headers of `kafka-bridge produce` that none was lost, doubled or moved.

mod check;
mod decode;
mod report;
mod run;
mod sequence;

pub use decode::Schemas;
pub use report::{PartitionReport, Problem, Report, Shown};
pub use run::{ConsumeError, From, Job, consume};
