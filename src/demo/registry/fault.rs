//! What can be wrong with a registry, as data.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is closed without an answer.
    Down,
    /// Answers, but late.
    Slow(Duration),
    /// This HTTP status, with this `error_code`.
    Status(u16, i64),
    /// Status 200 with these bytes, whatever was asked.
    Body(Vec<u8>),
    /// Status 301.
    Redirect(String),
    /// Status 200 and a body in chunks that never ends.
    Endless { chunk_bytes: usize, pause: Duration },
}

/// The first rule that fits strikes.
#[derive(Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    struck: u64,
}

struct Rule {
    part: String,
    fault: Fault,
    left: u64,
}

impl Faults {
    pub(super) fn add(&mut self, part: &str, fault: Fault, times: u64) {
        self.rules.push(Rule { part: part.to_owned(), fault, left: times });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn strike(&mut self, path: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|it| it.left > 0 && path.contains(&it.part))?;
        rule.left -= 1;
        self.struck += 1;
        Some(rule.fault.clone())
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck
    }
}

/// The body of [`Fault::Endless`].
pub(super) struct Drip {
    chunk: Bytes,
    ticks: Interval,
}

impl Drip {
    pub(super) fn new(chunk_bytes: usize, pause: Duration) -> Self {
        let mut ticks = interval(pause.max(Duration::from_micros(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { chunk: vec![b' '; chunk_bytes].into(), ticks }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}
