//! What a topic's records are held against: the config's schemas, compiled, and those of registries, looked up.

mod checks;
mod finder;
mod verdict;

pub use checks::{Checks, Expected, PartCheck, SchemaProblem, TopicCheck};
pub use finder::Finder;
pub use verdict::{SchemaVerdict, Unfit};
