//! Memory for what a batch unpacks to, used again: fresh pages were 4 to 8 % of a checked copy's CPU time.

use std::cell::Cell;

/// Of each thread. What batches of ordinary size unpack to; a larger one gets memory of its own.
pub(super) const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Goes back to the thread that drops it.
pub(super) struct Kept(Vec<u8>);

impl Kept {
    /// Empty, with the room that the last one had.
    pub(super) fn take() -> Self {
        Self(KEPT.take())
    }

    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.0.capacity() > KEPT_BYTES_MAX {
            return;
        }
        self.0.clear();
        let kept = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|it| it.set(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_up_to_a_bound() {
        let mut first = Kept::take();
        first.bytes().extend_from_slice(&[7; 5_000]);
        let room = first.as_ref().as_ptr();
        drop(first);
        let mut again = Kept::take();
        assert_eq!(again.as_ref(), b"");
        assert_eq!(again.as_ref().as_ptr(), room);
        assert_ne!(Kept::take().as_ref().as_ptr(), room, "it is in use");
        again.bytes().reserve(KEPT_BYTES_MAX + 1);
        drop(again);
        assert_eq!(Kept::take().bytes().capacity(), 0);
    }
}
