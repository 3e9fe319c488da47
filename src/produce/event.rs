//! One event on its way, and the headers by which a consumer proves that none was lost, doubled or moved.

use super::poison::Poison;

/// The number of the event within its partition, of its producer: 0, 1, 2 …, in decimal digits. Invalid events have none: a
/// bridge may put them elsewhere, and nothing is lost by that.
pub const SEQUENCE: &[u8] = b"sequence";
/// The run that wrote the event.
pub const PRODUCER: &[u8] = b"producer";
/// The kind of an event that is invalid on purpose.
pub const POISON: &[u8] = b"poison";

pub(super) struct Event {
    pub(super) key: Option<Vec<u8>>,
    /// Framed.
    pub(super) value: Vec<u8>,
    pub(super) poison: Option<Poison>,
}

impl Event {
    pub(super) fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len)
    }
}
