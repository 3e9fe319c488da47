//! Where events come from: lines, or made up at a rate.

use super::event::Event;
use super::lines::{LineFault, Lines};
use super::poison::poison;
use super::run::{Input, Job, ProduceError};
use fastrand::Rng;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncBufRead;
use tokio::time::Instant;

pub(super) struct Feed<'a, R> {
    job: &'a Job,
    lines: Option<Lines<R>>,
    random: Rng,
    began: Instant,
    given: u64,
}

impl<'a, R: AsyncBufRead + Unpin> Feed<'a, R> {
    pub(super) fn new(job: &'a Job, input: Input<R>) -> Self {
        let lines = match input {
            Input::Lines(reader) => Some(Lines::new(reader)),
            Input::Made => None,
        };
        Self { job, lines, random: Rng::with_seed(job.seed), began: Instant::now(), given: 0 }
    }

    /// None: there are no more. May be given up and asked again.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ProduceError> {
        if self.job.count.is_some_and(|count| self.given >= count) {
            return Ok(None);
        }
        if let Some(rate) = self.job.rate {
            tokio::time::sleep_until(self.began + Duration::from_secs_f64(self.given as f64 / rate)).await;
        }
        let json = match &mut self.lines {
            None => {
                let random = &mut self.random;
                self.job.schema.sample(now_ms(), &mut |below| random.u64(..below.max(1)))
            }
            Some(lines) => match lines.next().await {
                Ok(Some(json)) => json,
                Ok(None) => return Ok(None),
                Err(fault) => return Err(ProduceError::Line { number: lines.number(), fault }),
            },
        };
        let number = self.lines.as_ref().map_or(self.given + 1, Lines::number);
        let event = self.event(&json).map_err(|fault| ProduceError::Line { number, fault })?;
        self.given += 1;
        Ok(Some(event))
    }

    fn event(&mut self, json: &Value) -> Result<Event, LineFault> {
        let Job { schema, framing, marker, key, poison_ratio, .. } = self.job;
        let datum = schema.encode_json(json)?;
        let key = key.as_ref().map(|field| key_of(json, field)).transpose()?;
        if *poison_ratio > 0.0 && self.random.f64() < *poison_ratio {
            let (kind, value) = poison(schema, *framing, *marker, &datum, &mut self.random);
            return Ok(Event { key, value, poison: Some(kind) });
        }
        Ok(Event { key, value: [marker.header(), datum].concat(), poison: None })
    }
}

/// `field`: with dots between a record and its field.
fn key_of(json: &Value, field: &str) -> Result<Vec<u8>, LineFault> {
    let found = field.split('.').try_fold(json, |json, step| json.get(step));
    match found {
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(simple @ (Value::Number(_) | Value::Bool(_))) => Ok(simple.to_string().into_bytes()),
        _ => Err(LineFault::Key { field: field.to_owned() }),
    }
}

pub(super) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_taken_from_fields() {
        let event = json!({ "id": "a", "customer": { "number": 7 }, "none": null, "list": [1] });
        assert_eq!(key_of(&event, "id").unwrap(), b"a");
        assert_eq!(key_of(&event, "customer.number").unwrap(), b"7");
        for wrong in ["none", "list", "customer", "nothing", "id.x"] {
            assert!(matches!(key_of(&event, wrong), Err(LineFault::Key { field }) if field == wrong));
        }
    }
}
