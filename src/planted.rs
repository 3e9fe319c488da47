//! Bugs on purpose: the trials on real Kafka and the simulation must find them, or they prove nothing.
//!
//! They exist only in builds with debug assertions, and there only a program of the trials can turn one on. In a release
//! `planted` is a constant, and every `if planted(…)` is gone from the binary.

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
    /// A batch that is sent again has another sequence than the first time.
    SequenceReset,
    /// The epoch that EndTxn v5 answers is not taken.
    EpochKept,
    /// A marker is copied as if it were a record.
    MarkerAsData,
    /// The position moves behind a batch that an answer cut off.
    PositionFromDropped,
    /// A snapshot of the ledger lacks a partition.
    SnapshotIncomplete,
    /// The ledger is replayed from behind its snapshot.
    ReplayOffset,
    /// A leader that never had the last records is read on from.
    StaleEpochIgnored,
    /// A transaction that its coordinator calls complete is taken for decided everywhere.
    MarkersTrusted,
    /// A dead letter is written at once, whatever becomes of the transaction.
    LetterOutsideTransaction,
    /// The position moves past a record that does not pass its check, and nobody files it.
    LetterDropped,
    /// Records pass unchecked while the schema registry does not answer, though the config says to wait.
    UncheckedWhileDown,
    /// A connection with older certificates is closed though requests wait on it.
    HastyRenewal,
}

#[cfg(not(debug_assertions))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(debug_assertions)]
std::thread_local! {
    static OF_THREAD: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

#[cfg(debug_assertions)]
static OF_PROCESS: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();

/// A process has one, or each of its threads its own, as simulations do.
#[cfg(debug_assertions)]
pub(crate) fn planted(bug: Bug) -> bool {
    OF_THREAD.get().or_else(|| OF_PROCESS.get().copied()) == Some(bug)
}

/// In this thread. False: there is no such bug.
#[cfg(debug_assertions)]
pub fn plant(name: Option<&str>) -> bool {
    let bug = name.and_then(Bug::named);
    OF_THREAD.set(bug);
    bug.is_some() == name.is_some()
}

/// In the whole process, for good. False: there is no such bug, or another is there already.
#[cfg(debug_assertions)]
pub fn plant_for_good(name: &str) -> bool {
    Bug::named(name).is_some_and(|bug| OF_PROCESS.set(bug).is_ok())
}

/// By name.
#[cfg(debug_assertions)]
pub fn names() -> impl Iterator<Item = &'static str> {
    Bug::ALL.into_iter().map(Bug::name)
}

#[cfg(debug_assertions)]
impl Bug {
    const ALL: [Self; 17] = [
        Self::PositionOutsideTransaction,
        Self::PositionOffByOne,
        Self::AbortedKept,
        Self::NoFence,
        Self::NoBump,
        Self::SequenceReset,
        Self::EpochKept,
        Self::MarkerAsData,
        Self::PositionFromDropped,
        Self::SnapshotIncomplete,
        Self::ReplayOffset,
        Self::StaleEpochIgnored,
        Self::MarkersTrusted,
        Self::LetterOutsideTransaction,
        Self::LetterDropped,
        Self::UncheckedWhileDown,
        Self::HastyRenewal,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Bug::PositionOutsideTransaction => "position_outside_transaction",
            Bug::PositionOffByOne => "position_off_by_one",
            Bug::AbortedKept => "aborted_kept",
            Bug::NoFence => "no_fence",
            Bug::NoBump => "no_bump",
            Bug::SequenceReset => "sequence_reset",
            Bug::EpochKept => "epoch_kept",
            Bug::MarkerAsData => "marker_as_data",
            Bug::PositionFromDropped => "position_from_dropped",
            Bug::SnapshotIncomplete => "snapshot_incomplete",
            Bug::ReplayOffset => "replay_offset",
            Bug::StaleEpochIgnored => "stale_epoch_ignored",
            Bug::MarkersTrusted => "markers_trusted",
            Bug::LetterOutsideTransaction => "letter_outside_transaction",
            Bug::LetterDropped => "letter_dropped",
            Bug::UncheckedWhileDown => "unchecked_while_down",
            Bug::HastyRenewal => "hasty_renewal",
        }
    }
}
