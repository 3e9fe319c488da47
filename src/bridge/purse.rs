//! One lane's part of the memory for records.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the lane took and has not given back. It goes back with the purse: a lane that ends with a fetch in flight must not
/// take its bytes with it, or the others would starve.
pub(super) struct Purse {
    /// A permit is a byte.
    budget: Arc<Semaphore>,
    held: usize,
}

impl Purse {
    pub(super) fn new(budget: Arc<Semaphore>) -> Self {
        Self { budget, held: 0 }
    }

    pub(super) fn keep(&mut self, permit: OwnedSemaphorePermit) {
        self.held += permit.num_permits();
        permit.forget();
    }

    /// BytesBounded: more than was taken would let the lanes together hold more than there is.
    pub(super) fn give_back(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.held, "BytesBounded: {bytes} bytes come back of {}", self.held);
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        self.budget.add_permits(bytes);
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        self.budget.add_permits(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_lane_holds_comes_back_with_it() {
        let budget = Arc::new(Semaphore::new(10));
        let mut purse = Purse::new(Arc::clone(&budget));
        purse.keep(Arc::clone(&budget).acquire_many_owned(7).await.unwrap());
        purse.give_back(2);
        assert_eq!(budget.available_permits(), 5);
        drop(purse);
        assert_eq!(budget.available_permits(), 10);
    }
}
