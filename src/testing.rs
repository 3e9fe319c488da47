//! What the property tests of all layers share.

use proptest::test_runner::{Config, FileFailurePersistence};

/// So many cases that all properties together take seconds; `PROPTEST_CASES` says another number. Seeds that ever failed are
/// kept with the other proofs, and run first.
pub(crate) fn config(default: u32) -> Config {
    Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(default),
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel("protocol-tests/regressions"))),
        ..Config::default()
    }
}
