//! Looks at each record before it is copied: it may pass, be altered, go elsewhere, or have to wait.

use crate::batch::payload::Payload;
use crate::batch::record::RecordView;

/// A record as the target would get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// At the source.
    pub offset: i64,
    pub timestamp: i64,
    pub record: RecordView<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screened {
    Pass,
    /// It is to have these contents.
    Replace(Payload),
    /// It goes somewhere else: the screen has taken it.
    Divert,
    /// Nobody can say yet: its batch, and what comes behind it, waits.
    Await,
}

/// A batch that has to wait, or that was in a transaction that was aborted, comes again: what a screen takes belongs to one
/// call of `prepare_screened`.
pub trait Screen {
    fn screen(&mut self, candidate: &Candidate<'_>) -> Screened;
}
