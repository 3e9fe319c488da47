//! `cargo run --release -p protocol-tests --bin validate`: what validating a record costs, against decoding it with
//! `apache-avro`. Both in one run, for a ratio is worth more than a time on a machine that does other things too.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use apache_avro::reader::datum::GenericDatumReader;
use clap::Parser;
use kafka_bridge::avro::{Check, FieldRule, Schema, SchemaText, Validator};
use serde_json::json;

/// The fastest round counts: whatever else ran can only have made the others slower.
const ROUNDS: usize = 30;
/// Different enough that no branch of the code is learned by heart.
const DISTINCT_DATUMS: usize = 64;

/// Measures the validator on events of 12 fields.
#[derive(Parser)]
struct Arguments {
    /// Datums in a round.
    #[arg(long, default_value_t = 20_000)]
    datums: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../avro/order.avsc");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let schema = Schema::parse(&SchemaText { text: text.clone(), references: Vec::new() })?;
    let datums = datums(&schema)?;
    let bytes = datums.iter().map(Vec::len).sum::<usize>() / datums.len();

    let plain = Validator::compile(&schema, &[])?;
    let rules = [
        FieldRule { path: "currency".to_owned(), check: Check::OneOf(vec!["EUR".to_owned(), "USD".to_owned()]) },
        FieldRule { path: "total".to_owned(), check: Check::Range { min: Some(0.0), max: None } },
        FieldRule { path: "items[].sku".to_owned(), check: Check::Required },
        FieldRule { path: "note".to_owned(), check: Check::MaxLength(200) },
    ];
    let ruled = Validator::compile(&schema, &rules)?;
    let other = apache_avro::Schema::parse_str(&text)?;
    let reader = GenericDatumReader::builder(&other).build()?;
    for datum in &datums {
        plain.check(datum)?;
        ruled.check(datum)?;
        reader.read_value(&mut datum.as_slice())?;
    }

    let count = arguments.datums;
    ensure!(count > 0, "a round needs a datum");
    let (mut validated, mut with_rules, mut decoded) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let of = |check: &dyn Fn(&[u8]) -> bool| {
            let start = Instant::now();
            let taken = (0..count).filter(|it| check(black_box(&datums[it % datums.len()]))).count();
            assert_eq!(black_box(taken), count);
            start.elapsed()
        };
        validated = validated.min(of(&|datum| plain.check(datum).is_ok()));
        with_rules = with_rules.min(of(&|datum| ruled.check(datum).is_ok()));
        decoded = decoded.min(of(&|datum| reader.read_value(&mut &datum[..]).is_ok()));
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / count as f64;
    let ratio = |time: Duration| each(decoded) / each(time);
    println!("datums of {bytes} bytes, 12 fields");
    println!("validated: {:.0} ns each, {:.1} times as fast as decoding", each(validated), ratio(validated));
    println!("with {} rules: {:.0} ns each, {:.1} times", rules.len(), each(with_rules), ratio(with_rules));
    println!("decoded by apache-avro: {:.0} ns each", each(decoded));
    Ok(())
}

fn datums(schema: &Schema) -> Result<Vec<Vec<u8>>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut datums = Vec::new();
    for number in 0..DISTINCT_DATUMS {
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
