//! Places for trials that may not all run at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

pub struct Places {
    count: usize,
    free: Mutex<usize>,
    given_back: Condvar,
}

pub struct Place<'a>(&'a Places);

impl Places {
    pub const fn new(count: usize) -> Places {
        Places { count, free: Mutex::new(count), given_back: Condvar::new() }
    }

    /// Waits for one; dropping it gives it back, also where a trial panics.
    pub fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.given_back.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }

    /// Waits for every one, taking each as it becomes free. Only one caller at a time may.
    pub fn take_all(&self) -> Vec<Place<'_>> {
        (0..self.count).map(|_| self.take()).collect()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}
