//! The time, in one place: a test or a simulation that stops the runtime's clock has stopped it everywhere.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The runtime's clock, as the pure machines want it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Without a deadline, for ever.
pub async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// What the time of day is, for whoever compares it with the times that records carry. It may jump.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    pub fn new(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for WallClock {
    /// This machine's.
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
