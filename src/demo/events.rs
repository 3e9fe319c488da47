//! Events as a shop writes them: what they say is made up, their shape is not. Orders, payments and shipments are Avro, and a
//! few of them are no events at all; clicks and searches are JSON that nobody checks.

use super::checker::UNFORESEEN;
use crate::avro::{Framing, JsonFault, Marker, Schema, SchemaError, SchemaText};
use crate::produce::{POISON, Poison, poison};
use fastrand::Rng;
use serde_json::json;

/// A record before it is written.
pub(super) struct Event {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(&'static [u8], Option<Vec<u8>>)>,
}

/// The header that names a record within its partition: a number, big-endian, that is never used twice.
pub(super) const NUMBER: &[u8] = b"number";
/// Topics whose values are checked against `<topic>-value`.
pub(super) const CHECKED: [&str; 3] = ["orders", "payments", "shipments"];
/// Those that are paid with money: the field, what may stand in it, and what is planted.
pub(super) const PAID: [&str; 2] = ["orders", "payments"];
pub(super) const CURRENCIES: [&str; 5] = ["EUR", "CZK", "DKK", "PLN", "SEK"];
const WRONG_CURRENCY: &str = "XXX";
/// In the header that names what was planted.
const CURRENCY: &str = "currency";
/// Of a thousand events of a checked topic.
const POISONED: u16 = 10;

const STATES: [&str; 5] = ["created", "paid", "packed", "sent", "returned"];

/// What the dead letters must say of a planted fault, by its header: said here once more, and not by the code that judges.
pub(super) fn reason(planted: &[u8]) -> &'static str {
    match planted {
        b"truncated" => "truncated",
        b"trailing_bytes" => "trailing_bytes",
        b"empty" => "framing_too_short",
        b"json" | b"magic" => "framing_magic",
        b"unknown_schema" => "unknown_schema",
        b"currency" => "rule_one_of",
        _ => UNFORESEEN,
    }
}

/// The same words as they come from the target.
pub(super) fn known_reason(told: &str) -> &'static str {
    const ALL: [&str; 6] =
        ["truncated", "trailing_bytes", "framing_too_short", "framing_magic", "unknown_schema", "rule_one_of"];
    ALL.into_iter().find(|it| *it == told).unwrap_or(UNFORESEEN)
}

/// None: the topic is not checked.
pub(super) fn schema(topic: &str) -> Option<SchemaText> {
    let (text, references): (_, &[&str]) = match topic {
        "orders" => (include_str!("../../avro/order.avsc"), &[]),
        "payments" => (include_str!("../../avro/payment.avsc"), &[]),
        "shipments" => (include_str!("../../avro/shipment.avsc"), &[include_str!("../../avro/address.avsc")]),
        _ => return None,
    };
    Some(SchemaText { text: text.to_owned(), references: references.iter().map(|it| (*it).to_owned()).collect() })
}

/// Makes the events of one topic.
pub(super) struct Maker {
    topic: &'static str,
    avro: Option<(Schema, Marker)>,
}

impl Maker {
    /// `id`: of the schema in the source's registry.
    pub(super) fn new(topic: &'static str, id: Option<i32>) -> Result<Self, SchemaError> {
        let avro = match (schema(topic), id) {
            (Some(text), Some(id)) => Some((Schema::parse(&text)?, Marker::Id(id))),
            _ => None,
        };
        Ok(Self { topic, avro })
    }

    pub(super) fn event(&self, number: u64, timestamp_ms: i64, random: &mut Rng) -> Result<Event, JsonFault> {
        let customer = random.u32(1..50_000);
        // As real topics hold them: keys that are missing, tombstones, and headers that repeat.
        let key = (random.u8(..20) > 0).then(|| customer.to_string().into_bytes());
        let mut headers = vec![(NUMBER, Some(number.to_be_bytes().to_vec()))];
        if random.u8(..10) == 0 {
            headers.extend([(&b"trace"[..], Some(random.u64(..).to_be_bytes().to_vec())), (&b"trace"[..], None)]);
        }
        let value = match &self.avro {
            _ if key.is_some() && random.u8(..50) == 0 => None,
            Some((schema, marker)) => {
                let (value, planted) = self.datum(schema, *marker, timestamp_ms, random)?;
                headers.extend(planted.map(|it| (POISON, Some(it.as_bytes().to_vec()))));
                Some(value)
            }
            None => {
                let (state, page) = (choice(&STATES, random), random.u16(..));
                Some(format!(r#"{{"customer":{customer},"page":"/{state}/{page}"}}"#).into_bytes())
            }
        };
        Ok(Event { timestamp_ms, key, value, headers })
    }

    /// Framed, and what is wrong with it.
    fn datum(
        &self,
        schema: &Schema,
        marker: Marker,
        now_ms: i64,
        random: &mut Rng,
    ) -> Result<(Vec<u8>, Option<&'static str>), JsonFault> {
        let mut sample = schema.sample(now_ms, &mut |below| random.u64(..below.max(1)));
        let is_poisoned = random.u16(..1000) < POISONED;
        if is_poisoned && PAID.contains(&self.topic) && random.usize(..=Poison::ALL.len()) == 0 {
            sample[CURRENCY] = json!(WRONG_CURRENCY);
            return Ok(([marker.header(), schema.encode_json(&sample)?].concat(), Some(CURRENCY)));
        }
        let datum = schema.encode_json(&sample)?;
        if is_poisoned {
            let (kind, value) = poison(schema, Framing::Confluent, marker, &datum, random);
            return Ok((value, Some(kind.name())));
        }
        Ok(([marker.header(), datum].concat(), None))
    }
}

fn choice(of: &[&'static str], random: &mut Rng) -> &'static str {
    of.get(random.usize(..of.len())).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_fault_has_a_reason() {
        for kind in Poison::ALL.map(Poison::name).into_iter().chain([CURRENCY]) {
            let reason = reason(kind.as_bytes());
            assert_ne!(reason, UNFORESEEN, "{kind}");
            assert_eq!(known_reason(reason), reason);
        }
        assert_eq!((reason(b"other"), known_reason("utf8")), (UNFORESEEN, UNFORESEEN));
    }

    #[test]
    fn a_few_events_of_checked_topics_are_none() {
        let mut random = Rng::with_seed(5);
        for topic in CHECKED {
            let maker = Maker::new(topic, Some(7)).unwrap();
            let planted = (0..10_000)
                .map(|number| maker.event(number, 1_750_000_000_000, &mut random).unwrap())
                .filter(|it| it.headers.iter().any(|(name, _)| *name == POISON))
                .count();
            assert!((50..200).contains(&planted), "{planted} of {topic}");
        }
        assert!(Maker::new("clicks", None).unwrap().event(0, 0, &mut random).unwrap().headers.len() <= 3);
    }
}
