//! What the property tests of all layers share.

/// How many cases a property runs: `PROPTEST_CASES`, or so many that all of them take seconds.
pub(crate) fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}
