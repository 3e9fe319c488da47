//! Writes Avro events to a topic: lines of JSON, or made-up ones of a schema.

mod event;
mod feed;
mod gather;
mod lines;
mod partitioner;
mod poison;
mod register;
mod report;
mod run;
mod writer;

pub use event::{POISON, PRODUCER, SEQUENCE};
pub use lines::{LineFault, Lines};
pub use poison::{Poison, poison};
pub use register::{RegisterError, register};
pub use report::{PartitionReport, Progress, Report};
pub use run::{Input, Job, ProduceError, produce};
pub use writer::{Delivery, Writer};
