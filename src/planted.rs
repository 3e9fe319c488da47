//! Bugs on purpose: the trials on real Kafka must find each of them, or they prove nothing.
//!
//! They exist only with the feature `planted-bugs`, which nothing but the trials' own build turns on. Without it `planted`
//! is a constant, and every `if planted(…)` is gone from the binary.

/// Each breaks one thing that exactly-once rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The ledger's record is written at once, whatever becomes of the transaction.
    PositionOutsideTransaction,
    /// The position is one record too far.
    PositionOffByOne,
    /// Records of aborted source transactions are copied.
    AbortedKept,
    /// A start leaves the former owner its lanes.
    NoFence,
    /// Protocol v1 goes on with the same epoch after a request without an answer (KAFKA-17754).
    NoBump,
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

/// `KAFKA_BRIDGE_PLANTED_BUG` names the one that this process has.
#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(bug: Bug) -> bool {
    static NAME: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("KAFKA_BRIDGE_PLANTED_BUG").ok());
    NAME.as_deref() == Some(bug.name())
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    const fn name(self) -> &'static str {
        match self {
            Bug::PositionOutsideTransaction => "position_outside_transaction",
            Bug::PositionOffByOne => "position_off_by_one",
            Bug::AbortedKept => "aborted_kept",
            Bug::NoFence => "no_fence",
            Bug::NoBump => "no_bump",
        }
    }
}
