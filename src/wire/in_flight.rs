//! Who waits for which answer on one connection. Pure: the connection brings what it read, and tells the waiters.
//!
//! Kafka answers the requests of one connection in their order, so the answer that is due is that of the one who waits
//! longest. After the first failure nothing is due any more: an answer in the wrong place would be taken for another's.

use super::error::WireError;
use std::collections::VecDeque;
use std::sync::Arc;

/// Far above what the machines keep in flight: five batches a partition and one fetch a node.
pub(super) const IN_FLIGHT_MAX: usize = 4_096;
/// Each answer begins with its correlation id.
const ANSWER_BYTES_MIN: usize = 4;
/// A TLS record of handshake failure and alert begins so; read as a frame's length it is over 300 MB.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

pub(super) struct InFlight<W> {
    address: Arc<str>,
    next_correlation_id: i32,
    waiting: VecDeque<Waiting<W>>,
    dead: Option<WireError>,
}

struct Waiting<W> {
    correlation_id: i32,
    bytes_max: usize,
    waiter: W,
}

impl<W> InFlight<W> {
    pub(super) fn new(address: Arc<str>) -> Self {
        Self { address, next_correlation_id: 0, waiting: VecDeque::new(), dead: None }
    }

    /// The correlation id of a request whose answer has at most `bytes_max` bytes; it must be sent now, before the next one.
    pub(super) fn queue(&mut self, api: &'static str, bytes_max: usize, waiter: W) -> Result<i32, WireError> {
        if let Some(error) = &self.dead {
            return Err(error.clone());
        }
        if self.waiting.len() >= IN_FLIGHT_MAX {
            return Err(WireError::Full { address: Arc::clone(&self.address), api, max: IN_FLIGHT_MAX });
        }
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        self.waiting.push_back(Waiting { correlation_id, bytes_max, waiter });
        Ok(correlation_id)
    }

    /// The length of the answer that is due, from the four bytes before it.
    pub(super) fn length(&self, prefix: [u8; 4]) -> Result<usize, WireError> {
        let Some(due) = self.waiting.front() else { return Err(self.unasked()) };
        let (length, limit) = (i32::from_be_bytes(prefix), due.bytes_max);
        match usize::try_from(length) {
            Ok(length) if (ANSWER_BYTES_MIN..=limit).contains(&length) => Ok(length),
            _ if prefix[..2] == TLS_ALERT => {
                Err(self.not_kafka("it answered by TLS: a tls table is missing in the config".to_owned()))
            }
            _ => Err(self.not_kafka(format!("it sent a frame of {length} bytes, where at most {limit} can come"))),
        }
    }

    /// Whose answer this is.
    pub(super) fn answered(&mut self, correlation_id: i32) -> Result<W, WireError> {
        match self.waiting.pop_front() {
            Some(due) if due.correlation_id == correlation_id => Ok(due.waiter),
            Some(due) => {
                let expected = due.correlation_id;
                // It waits on, for the failure that comes now.
                self.waiting.push_front(due);
                Err(self.not_kafka(format!("it answered request {correlation_id} where {expected} was due")))
            }
            None => Err(self.unasked()),
        }
    }

    /// The connection is dead. Returns why, which is the first reason, and all who still wait.
    pub(super) fn fail(&mut self, error: &WireError) -> (WireError, impl Iterator<Item = W>) {
        let error = self.dead.get_or_insert_with(|| error.clone()).clone();
        (error, self.waiting.drain(..).map(|it| it.waiter))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    fn unasked(&self) -> WireError {
        self.not_kafka("it sent something that nobody asked for".to_owned())
    }

    fn not_kafka(&self, reason: String) -> WireError {
        WireError::NotKafka { address: Arc::clone(&self.address), reason: reason.into() }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
