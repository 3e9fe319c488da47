//! What a topic's records are held against: the config's schemas, compiled, and those of registries, looked up.

mod checks;
mod decoded;
mod file;
mod finder;
mod verdict;

pub use checks::{Checks, Expected, PartCheck, SchemaProblem, TopicCheck};
pub use decoded::{Decoded, decoded, registered};
pub use file::{SchemaFileError, read_file};
pub use finder::Finder;
pub use verdict::{SchemaVerdict, Unfit};
