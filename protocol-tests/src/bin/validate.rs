//! `cargo run --release -p protocol-tests --bin validate`: what validating a record costs, against decoding it with
//! `apache-avro`. Both in one run, for a ratio is worth more than a time on a machine that does other things too.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use apache_avro::reader::datum::GenericDatumReader;
use clap::Parser;
use kafka_bridge::avro::{Check, FieldRule, Validator};
use protocol_tests::orders;

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
    let schema = orders::schema()?;
    let datums = orders::datums(&schema, DISTINCT_DATUMS)?;
    let bytes = datums.iter().map(Vec::len).sum::<usize>() / datums.len();

    let plain = Validator::compile(&schema, &[])?;
    let rules = [
        FieldRule { path: "currency".to_owned(), check: Check::OneOf(vec!["EUR".to_owned(), "USD".to_owned()]) },
        FieldRule { path: "total".to_owned(), check: Check::Range { min: Some(0.0), max: None } },
        FieldRule { path: "items[].sku".to_owned(), check: Check::Required },
        FieldRule { path: "note".to_owned(), check: Check::MaxLength(200) },
    ];
    let ruled = Validator::compile(&schema, &rules)?;
    let other = apache_avro::Schema::parse_str(orders::SCHEMA)?;
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
