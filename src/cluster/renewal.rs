//! A connection that was opened with older certificates is replaced: the newer one is opened first, and takes over when
//! nothing is in flight on the older one. So no request is lost, and certificates that the broker does not take yet end nothing.

use super::{ClusterError, Open};
use crate::clock;
use crate::wire::Connection;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests are held back so long, once, for the answers to those before them: where they are pipelined, there is no other
/// moment without one. Far below every timeout of a transaction.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks whether the last answer has come.
const POLL: Duration = Duration::from_millis(10);
/// After a dial that failed: the broker's truststore may be renewed a little later than our certificate.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) type Dialed = Result<Connection, ClusterError>;

#[derive(Default)]
pub(super) struct Renewal {
    dialing: JoinSet<Dialed>,
    next: Option<Connection>,
    retry_at: Option<Instant>,
    has_waited: bool,
}

impl Renewal {
    /// Before a request: the newer connection where it can take over, else nothing.
    pub(super) async fn settle<D: Future<Output = Dialed> + Send + 'static>(
        &mut self,
        open: &Open,
        dial: impl Fn() -> D,
    ) {
        let Some(current) = self.advance(open, dial) else { return };
        if self.next.is_none() {
            return;
        }
        if !current.is_idle() && !self.has_waited {
            self.has_waited = true;
            let _ = tokio::time::timeout(PATIENCE, idle(&current)).await;
        }
        if current.is_idle() {
            self.take_over(open);
        }
    }

    /// While there is no request: replaces what is outdated. Ends never, and loses nothing when it is dropped.
    pub(super) async fn follow<D: Future<Output = Dialed> + Send + 'static>(
        &mut self,
        open: &Open,
        dial: impl Fn() -> D,
    ) {
        loop {
            let Some(current) = self.advance(open, &dial) else { return std::future::pending().await };
            if self.next.is_some() {
                idle(&current).await;
                self.take_over(open);
            } else if let Some(dialed) = self.dialing.join_next().await {
                self.dialed(dialed.ok());
            } else if current.is_outdated() {
                clock::sleep_until(self.retry_at).await;
            } else {
                current.outdated().await;
            }
        }
    }

    /// The connection in use, with a dial under way where it is outdated.
    fn advance<D: Future<Output = Dialed> + Send + 'static>(
        &mut self,
        open: &Open,
        dial: impl Fn() -> D,
    ) -> Option<Connection> {
        let Some(current) = open.usable() else {
            // It was closed for a reason that may hold for the newer one too: a coordinator that has moved.
            *self = Self::default();
            return None;
        };
        while let Some(dialed) = self.dialing.try_join_next() {
            self.dialed(dialed.ok());
        }
        let may_dial = self.retry_at.is_none_or(|it| it <= clock::now());
        if current.is_outdated() && self.next.is_none() && self.dialing.is_empty() && may_dial {
            self.dialing.spawn(dial());
        }
        Some(current)
    }

    /// None: it panicked.
    fn dialed(&mut self, dialed: Option<Dialed>) {
        match dialed {
            Some(Ok(connection)) => self.next = Some(connection),
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(%error, "no connection with the new certificates yet: the older one is used on");
                }
                self.retry_at = Some(clock::now() + RETRY_AFTER);
            }
        }
    }

    fn take_over(&mut self, open: &Open) {
        if let Some(next) = self.next.take() {
            open.close();
            *open.slot() = Some(next);
        }
        *self = Self::default();
    }
}

async fn idle(connection: &Connection) {
    while !connection.is_idle() {
        tokio::time::sleep(POLL).await;
    }
}
