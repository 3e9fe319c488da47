//! Events that go together: so many, so large, and waited for so long.

use super::event::Event;
use super::feed::Feed;
use super::run::ProduceError;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncBufRead;
use tokio::time::Instant;

/// Of one round: a transaction costs a few milliseconds, which so many events share.
const ROUND_EVENTS_MAX: usize = 1_000;
/// Half of what a broker takes as one batch unless told otherwise (`max.message.bytes`). An event that is larger by itself goes
/// alone.
const ROUND_BYTES_MAX: usize = 512 << 10;
/// An event waits so long for company.
const LINGER: Duration = Duration::from_millis(20);

/// Why there are no more rounds.
pub(super) enum End {
    Input(Result<(), ProduceError>),
    Stopped,
}

pub(super) struct Gather<'a, R> {
    feed: Feed<'a, R>,
    /// Begins the next round, for it would have made the last one too large.
    carried: Option<Event>,
}

impl<'a, R: AsyncBufRead + Unpin> Gather<'a, R> {
    pub(super) fn new(feed: Feed<'a, R>) -> Self {
        Self { feed, carried: None }
    }

    /// The next round; it may be empty at the end. None: another one follows.
    pub(super) async fn round<S: Future<Output = ()>>(&mut self, mut stop: Pin<&mut S>) -> (Vec<Event>, Option<End>) {
        let mut round: Vec<Event> = self.carried.take().into_iter().collect();
        let mut bytes: usize = round.iter().map(Event::bytes).sum();
        let mut full_at = (!round.is_empty()).then(|| Instant::now() + LINGER);
        while round.len() < ROUND_EVENTS_MAX && bytes < ROUND_BYTES_MAX {
            let linger = async {
                match full_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.as_mut() => return (round, Some(End::Stopped)),
                event = self.feed.next() => match event {
                    // Without keys all of a round are one batch: closed behind this event, it could be refused though each
                    // event fits.
                    Ok(Some(event)) if !round.is_empty() && bytes + event.bytes() > ROUND_BYTES_MAX => {
                        self.carried = Some(event);
                        break;
                    }
                    Ok(Some(event)) => {
                        bytes += event.bytes();
                        round.push(event);
                        full_at.get_or_insert_with(|| Instant::now() + LINGER);
                    }
                    Ok(None) => return (round, Some(End::Input(Ok(())))),
                    Err(error) => return (round, Some(End::Input(Err(error)))),
                },
                () = linger => break,
            }
        }
        (round, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{Input, Job};
    use super::super::writer::Delivery;
    use super::*;
    use crate::avro::{Framing, Marker, Schema, SchemaText};
    use crate::batch::Compression;

    fn job() -> Job {
        let text = SchemaText { text: "\"string\"".to_owned(), references: Vec::new() };
        Job {
            topic: "t".into(),
            schema: Schema::parse(&text).unwrap(),
            framing: Framing::Raw,
            marker: Marker::None,
            key: None,
            codec: Compression::None,
            delivery: Delivery::Idempotent,
            abort_ratio: 0.0,
            poison_ratio: 0.0,
            rate: None,
            count: None,
            seed: 1,
            producer: "p".to_owned(),
        }
    }

    /// The lengths in thousands of bytes of the events of each round.
    async fn rounds(lengths: &[usize]) -> Vec<Vec<usize>> {
        let lines: String = lengths.iter().map(|it| format!("\"{}\"\n", "x".repeat(it * 1_000))).collect();
        let job = job();
        let mut gather = Gather::new(Feed::new(&job, Input::Lines(lines.as_bytes())));
        let mut stop = std::pin::pin!(std::future::pending());
        let mut rounds = Vec::new();
        loop {
            let (round, end) = gather.round(stop.as_mut()).await;
            rounds.push(round.iter().map(|it| it.bytes() / 1_000).collect());
            match end {
                None => {}
                Some(End::Input(ended)) => {
                    ended.unwrap();
                    return rounds;
                }
                Some(End::Stopped) => panic!("nobody stops it"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_is_closed_before_it_is_too_large() {
        assert_eq!(rounds(&[500, 900]).await, [vec![500], vec![900], vec![]]);
        assert_eq!(rounds(&[900, 500, 30]).await, [vec![900], vec![500], vec![30]]);
        assert_eq!(rounds(&[1, 900, 1]).await, [vec![1], vec![900], vec![1]]);
        assert_eq!(rounds(&[200, 200, 100, 200, 1]).await, [vec![200, 200, 100], vec![200, 1]]);
        assert_eq!(rounds(&[]).await, [Vec::<usize>::new()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_has_so_many_events_and_no_more() {
        let counts: Vec<_> = rounds(&[0; ROUND_EVENTS_MAX + 1]).await.iter().map(Vec::len).collect();
        assert_eq!(counts, [ROUND_EVENTS_MAX, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_given_before_it_stops() {
        let lines = format!("\"{}\"\n\"{}\"\n", "x".repeat(500_000), "y".repeat(400_000));
        let job = job();
        let mut gather = Gather::new(Feed::new(&job, Input::Lines(lines.as_bytes())));
        let (first, end) = gather.round(std::pin::pin!(std::future::pending())).await;
        assert!(first.len() == 1 && end.is_none());
        let (second, end) = gather.round(std::pin::pin!(std::future::ready(()))).await;
        assert!(second.len() == 1 && matches!(end, Some(End::Stopped)));
    }
}
