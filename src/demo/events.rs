//! Events as a shop writes them: what they say is made up, their shape is not.

use fastrand::Rng;

/// A record before it is written.
pub(super) struct Event {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(&'static [u8], Option<Vec<u8>>)>,
}

/// The header that names a record within its partition: a number, big-endian, that is never used twice.
pub(super) const NUMBER: &[u8] = b"number";

const CITIES: [&str; 8] = ["Aarhus", "Brno", "Cádiz", "Dresden", "Évora", "Gdańsk", "Kotor", "Łódź"];
const STATES: [&str; 5] = ["created", "paid", "packed", "sent", "returned"];
const CURRENCIES: [&str; 4] = ["EUR", "CZK", "DKK", "PLN"];

pub(super) fn event(topic: &str, number: u64, timestamp_ms: i64, random: &mut Rng) -> Event {
    let customer = random.u32(1..50_000);
    let value = match topic {
        "orders" => format!(
            r#"{{"order_id":{},"customer":{customer},"state":"{}","city":"{}","total_cents":{},"items":[{}]}}"#,
            random.u64(1..1 << 40),
            choice(&STATES, random),
            choice(&CITIES, random),
            random.u32(100..500_000),
            items(random)
        ),
        "payments" => format!(
            r#"{{"payment_id":"{:016x}","customer":{customer},"currency":"{}","amount_cents":{},"captured":{}}}"#,
            random.u64(..),
            choice(&CURRENCIES, random),
            random.u32(100..500_000),
            random.bool()
        ),
        "shipments" => format!(
            r#"{{"parcel":"{:012x}","from":"{}","to":"{}","weight_g":{},"events":{}}}"#,
            random.u64(..1 << 48),
            choice(&CITIES, random),
            choice(&CITIES, random),
            random.u32(50..30_000),
            random.u8(1..9)
        ),
        _ => format!(r#"{{"customer":{customer},"page":"/{}/{}"}}"#, choice(&STATES, random), random.u16(..)),
    };
    // As real topics hold them: keys that are missing, tombstones, and headers that repeat.
    let key = (random.u8(..20) > 0).then(|| customer.to_string().into_bytes());
    let value = (key.is_none() || random.u8(..50) > 0).then(|| value.into_bytes());
    let mut headers = vec![(NUMBER, Some(number.to_be_bytes().to_vec()))];
    if random.u8(..10) == 0 {
        headers.extend([(&b"trace"[..], Some(random.u64(..).to_be_bytes().to_vec())), (&b"trace"[..], None)]);
    }
    Event { timestamp_ms, key, value, headers }
}

fn choice(of: &[&'static str], random: &mut Rng) -> &'static str {
    of.get(random.usize(..of.len())).copied().unwrap_or_default()
}

fn items(random: &mut Rng) -> String {
    let item = |random: &mut Rng| format!(r#"{{"sku":"{:08x}","count":{}}}"#, random.u32(..), random.u8(1..9));
    let all: Vec<_> = (0..random.u8(1..6)).map(|_| item(random)).collect();
    all.join(",")
}
