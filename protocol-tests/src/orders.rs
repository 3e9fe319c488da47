//! Orders of `avro/order.avsc` as the benchmarks measure them: 12 fields, about 200 bytes.

use anyhow::Result;
use kafka_bridge::avro::{Schema, SchemaText};
use serde_json::json;

pub const SCHEMA: &str = include_str!("../../avro/order.avsc");
pub fn schema() -> Result<Schema> {
    Ok(Schema::parse(&SchemaText { text: SCHEMA.to_owned(), references: Vec::new() })?)
}

/// No two are the same.
pub fn datums(schema: &Schema, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut datums = Vec::new();
    for number in 0..count {
        let mut text = |count: usize| (0..count).map(|_| random.alphanumeric()).collect::<String>();
        let item = |sku: String| json!({ "sku": sku, "quantity": number, "price": "19.99", "weight_kg": 0.75 });
        let state = ["PLACED", "PAID", "SHIPPED"][number % 3];
        let deliver_on = (number % 2 == 0).then_some("2024-05-03");
        let order = json!({
            "id": format!("00000000-1111-4222-8333-{number:012}"),
            "customer_id": 1_000_000 + number * 77_777,
            "state": state,
            "placed_at": 1_714_566_896_789_i64 + number as i64,
            "deliver_on": deliver_on,
            "currency": "EUR",
            "total": format!("{number}.97"),
            "items": [item(text(8))],
            "tags": { "campaign": text(10), "channel": "web" },
            "source": { "com.example.shop.StoreSource": { "store": number, "till": 3 } },
            "is_gift": number % 5 == 0,
            "note": format!("Please ring twice; {}", text(40)),
        });
        datums.push(schema.encode_json(&order)?);
    }
    Ok(datums)
}
