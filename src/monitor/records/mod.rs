//! Records of the link's topics for people, and what became of one of them. Only where the config lets contents be shown.

mod read;
mod shown;

use super::clusters::copied;
use super::query::Query;
use crate::bridge::Ends;
use crate::config::Config;
use crate::positions::{Link, destination};
use crate::types::TopicPartition;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Each unpacks batches, and waits for both clusters: a console is no consumer.
const QUESTIONS_MAX: usize = 2;
/// The longest answers are those that walk from an anchor of the offset map.
const DEADLINE: Duration = Duration::from_secs(20);
const HOW_TO_ALLOW: &str =
    "contents of records are not shown: write `records = true` into [console], and restart the bridge";

pub(super) struct Records {
    config: Arc<Config>,
    ends: Ends,
    is_allowed: bool,
    places: Semaphore,
}

/// What cannot be answered, and with which status that is told.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn wrong(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.into() }
    }

    /// By a cluster, or by the ledger.
    fn failed(error: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, error: error.to_string() }
    }
}

impl Records {
    pub(super) fn new(config: Arc<Config>, ends: Ends) -> Self {
        let is_allowed = config.console.as_ref().is_some_and(|it| it.records);
        Self { config, ends, is_allowed, places: Semaphore::new(QUESTIONS_MAX) }
    }

    pub(super) async fn latest(&self, query: &Query) -> (StatusCode, String) {
        self.answer(async { self.read(query).await }).await
    }

    pub(super) async fn destination(&self, query: &Query) -> (StatusCode, String) {
        self.answer(async { self.follow(query).await }).await
    }

    async fn answer<T: Serialize>(&self, question: impl Future<Output = Result<T, Refusal>>) -> (StatusCode, String) {
        if !self.is_allowed {
            return told(StatusCode::FORBIDDEN, HOW_TO_ALLOW);
        }
        let answered = tokio::time::timeout(DEADLINE, async {
            // It is never closed.
            let _place = self.places.acquire().await;
            question.await
        });
        match answered.await {
            Ok(Ok(answer)) => (StatusCode::OK, serde_json::to_string(&answer).unwrap_or_default()),
            Ok(Err(Refusal { status, error })) => told(status, &error),
            Err(_) => {
                let error = format!("there was no answer within {} s; try again", DEADLINE.as_secs());
                told(StatusCode::GATEWAY_TIMEOUT, &error)
            }
        }
    }

    /// One of the link's: a console shows nothing else that the bridge's certificates open.
    async fn read(&self, query: &Query) -> Result<read::Page, Refusal> {
        let question = read::Question::of(query)?;
        let source = self.ends.source.metadata(None).await.map_err(Refusal::failed)?;
        let copied = copied(&self.config, &source);
        let topic = question.topic.as_str();
        let dead_letters = self.config.dead_letter_topic();
        let (cluster, is_known) = match question.is_source {
            true => (&self.ends.source, copied.contains_key(topic)),
            false => (&self.ends.target, topic == dead_letters || copied.values().any(|it| **it == *topic)),
        };
        if !is_known {
            return Err(Refusal { status: StatusCode::NOT_FOUND, error: format!("{topic} is no topic of this link") });
        }
        let reader = shown::Decoder::new(&self.config, &self.ends, question.is_source, topic, &copied);
        read::page(cluster, &question, &reader).await
    }

    async fn follow(&self, query: &Query) -> Result<Value, Refusal> {
        let topic = query.text("topic").ok_or_else(|| Refusal::wrong("topic: say which"))?;
        let number = |name| query.number::<i64>(name).map_err(Refusal::wrong);
        let partition = number("partition")?.and_then(|it| i32::try_from(it).ok());
        let (Some(partition), Some(offset)) = (partition, number("offset")?) else {
            return Err(Refusal::wrong("partition, offset: say which record of the source"));
        };
        if partition < 0 || !(0..i64::MAX).contains(&offset) {
            return Err(Refusal::wrong("partition, offset: neither can be below 0"));
        }
        let link = Link::within(&self.config, self.ends.clone()).await.map_err(Refusal::failed)?;
        let partition = TopicPartition::new(topic, partition);
        let found = destination(&link, &partition, offset).await.map_err(Refusal::failed)?;
        Ok(json!({ "topic": topic, "partition": partition.partition, "offset": offset, "destination": found }))
    }
}

fn told(status: StatusCode, error: &str) -> (StatusCode, String) {
    (status, json!({ "error": error }).to_string())
}
