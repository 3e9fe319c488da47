//! Our verdict against `apache-avro`'s, over schemas and datums that nobody thought of.
//!
//! What that library reads with nothing left behind is not always valid; the differences are `REFUSED_HERE_ALONE`, each with
//! its reason. What is taken here it must read, to the last byte.

use super::parse::take_lenient_names;
use super::testing::schema;
use super::{FaultKind, Schema, Validator, calendar, decimal};
use crate::testing::config;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Schema as Avro;
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Days, Decimal, Duration, Millis, Months};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Faults of datums that `apache-avro` 0.22 reads.
const REFUSED_HERE_ALONE: [FaultKind; 7] = [
    // It reads the end within a string, a boolean or a union as null.
    FaultKind::Truncated,
    // It drops bits beyond 64, and takes 10 bytes for an int, where Java takes 5.
    FaultKind::Varint,
    // It does not look at the size of a block.
    FaultKind::BlockSize,
    // It does not look at the precision, and takes no bytes for 0.
    FaultKind::Decimal,
    // It takes braces, a URN, and no hyphens.
    FaultKind::Uuid,
    // It does not look at the range.
    FaultKind::TimeOfDay,
    // It goes on until the stack ends.
    FaultKind::TooDeep,
];

/// Beyond what `EMPTY_ITEMS_MAX` nulls take there, and no more than a test may.
const ALLOCATION_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
enum Shape {
    /// Of `PRIMITIVES`.
    Primitive(usize),
    Fixed(usize),
    FixedLogical(usize),
    Enum(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<Shape>),
    /// Some named type that is known there, or null where none is; a record around it as null or an array of it.
    Named(usize),
}

const PRIMITIVES: [&str; 23] = [
    r#""null""#,
    r#""boolean""#,
    r#""int""#,
    r#""long""#,
    r#""float""#,
    r#""double""#,
    r#""bytes""#,
    r#""string""#,
    r#"{"type": "int", "logicalType": "date"}"#,
    r#"{"type": "int", "logicalType": "time-millis"}"#,
    r#"{"type": "long", "logicalType": "time-micros"}"#,
    r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
    r#"{"type": "long", "logicalType": "timestamp-micros"}"#,
    r#"{"type": "long", "logicalType": "timestamp-nanos"}"#,
    r#"{"type": "long", "logicalType": "local-timestamp-millis"}"#,
    r#"{"type": "long", "logicalType": "local-timestamp-micros"}"#,
    r#"{"type": "long", "logicalType": "local-timestamp-nanos"}"#,
    r#"{"type": "string", "logicalType": "uuid"}"#,
    r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#,
    r#"{"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 0}"#,
    r#"{"type": "bytes", "logicalType": "big-decimal"}"#,
    r#"{"type": "long", "logicalType": "of-tomorrow"}"#,
    r#"{"type": "string", "logicalType": "date"}"#,
];
const FIXED_LOGICAL: [&str; 3] = [
    r#""size": 16, "logicalType": "uuid""#,
    r#""size": 12, "logicalType": "duration""#,
    r#""size": 5, "logicalType": "decimal", "precision": 11, "scale": 3"#,
];

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        8 => (0..PRIMITIVES.len()).prop_map(Shape::Primitive),
        1 => (0..6_usize).prop_map(Shape::Fixed),
        1 => (0..FIXED_LOGICAL.len()).prop_map(Shape::FixedLogical),
        1 => (1..5_usize).prop_map(Shape::Enum),
        2 => any::<usize>().prop_map(Shape::Named),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|it| Shape::Array(Box::new(it))),
            1 => inner.clone().prop_map(|it| Shape::Map(Box::new(it))),
            1 => vec(inner.clone(), 1..4).prop_map(Shape::Union),
            2 => vec(inner, 0..5).prop_map(Shape::Record),
        ]
    })
}

/// Writes a schema; names are counted, so that none comes twice.
#[derive(Default)]
struct Text {
    count: usize,
    /// Names, and whether the type is still being written: such a one must not stand there bare, or no datum would end.
    known: Vec<(String, bool)>,
}

impl Text {
    fn name(&mut self, is_open: bool) -> String {
        self.count += 1;
        let name = format!("T{}", self.count);
        self.known.push((name.clone(), is_open));
        name
    }

    fn of(&mut self, shape: &Shape) -> String {
        match shape {
            Shape::Primitive(index) => PRIMITIVES[*index].to_owned(),
            Shape::Fixed(size) => format!(r#"{{"type": "fixed", "name": "{}", "size": {size}}}"#, self.name(false)),
            Shape::FixedLogical(index) => {
                format!(r#"{{"type": "fixed", "name": "{}", {}}}"#, self.name(false), FIXED_LOGICAL[*index])
            }
            Shape::Enum(count) => {
                let symbols: Vec<_> = (0..*count).map(|it| format!("\"S{it}\"")).collect();
                format!(r#"{{"type": "enum", "name": "{}", "symbols": [{}]}}"#, self.name(false), symbols.join(","))
            }
            Shape::Array(items) => format!(r#"{{"type": "array", "items": {}}}"#, self.of(items)),
            Shape::Map(values) => format!(r#"{{"type": "map", "values": {}}}"#, self.of(values)),
            Shape::Named(index) => match self.known.get(index % self.known.len().max(1)) {
                Some((name, false)) => format!("\"{name}\""),
                Some((name, true)) if index % 2 == 0 => format!(r#"["null", "{name}"]"#),
                Some((name, true)) => format!(r#"{{"type": "array", "items": "{name}"}}"#),
                None => "\"null\"".to_owned(),
            },
            Shape::Union(branches) => {
                let mut kinds = std::collections::BTreeSet::new();
                let mut texts = Vec::new();
                for branch in branches {
                    // A union has each unnamed type once, and no union within.
                    let known = self.known.len();
                    let text = self.of(branch);
                    let value: Value = serde_json::from_str(&text).unwrap();
                    let kind = match &value {
                        Value::Array(_) => None,
                        Value::Object(object) => Some(object.get("name").unwrap_or(&object["type"]).to_string()),
                        name => Some(name.to_string()),
                    };
                    match kind.filter(|it| kinds.insert(it.clone())) {
                        Some(_) => texts.push(text),
                        // Nobody may refer to what was left out.
                        None => self.known.truncate(known),
                    }
                }
                if texts.is_empty() { "\"null\"".to_owned() } else { format!("[{}]", texts.join(", ")) }
            }
            Shape::Record(fields) => {
                let name = self.name(true);
                let field =
                    |(index, it): (usize, &Shape)| format!(r#"{{"name": "f{index}", "type": {}}}"#, self.of(it));
                let fields: Vec<_> = fields.iter().enumerate().map(field).collect();
                if let Some(known) = self.known.iter_mut().find(|it| it.0 == name) {
                    known.1 = false;
                }
                format!(r#"{{"type": "record", "name": "{name}", "fields": [{}]}}"#, fields.join(", "))
            }
        }
    }
}

/// Choices from the bytes of a proptest value, so that shrinking makes them small; 0 when they are used up.
struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().unwrap_or(0)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    fn long(&mut self) -> i64 {
        match self.byte() % 4 {
            0 => i64::from(self.byte()),
            1 => -i64::from(self.byte()),
            2 => i64::from_be_bytes(std::array::from_fn(|_| self.byte())),
            _ => [i64::MIN, i64::MAX, 253_402_300_800_000, -1][self.below(4)],
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let count = self.below(4) * [1, 30][self.below(2)];
        (0..count).map(|_| self.byte()).collect()
    }

    fn text(&mut self) -> String {
        self.bytes().into_iter().map(char::from).collect()
    }
}

fn datum(avro: &Avro, names: &BTreeMap<String, &Avro>, choices: &mut Choices<'_>, depth: usize) -> AvroValue {
    let many = |choices: &mut Choices<'_>| if depth > 6 { 0 } else { choices.below(4) };
    let of_day = |value: i64, length: i64| value.rem_euclid(length);
    match avro {
        Avro::Null => AvroValue::Null,
        Avro::Boolean => AvroValue::Boolean(choices.below(2) == 1),
        Avro::Int => AvroValue::Int(choices.long() as i32),
        Avro::Long => AvroValue::Long(choices.long()),
        Avro::Float => AvroValue::Float(f32::from_bits(choices.long() as u32)),
        Avro::Double => AvroValue::Double(f64::from_bits(choices.long() as u64)),
        Avro::Bytes => AvroValue::Bytes(choices.bytes()),
        Avro::String => AvroValue::String(choices.text()),
        Avro::Date => AvroValue::Date(choices.long() as i32),
        Avro::TimeMillis => AvroValue::TimeMillis(of_day(choices.long(), 86_400_000) as i32),
        Avro::TimeMicros => AvroValue::TimeMicros(of_day(choices.long(), 86_400_000_000)),
        Avro::TimestampMillis => AvroValue::TimestampMillis(choices.long()),
        Avro::TimestampMicros => AvroValue::TimestampMicros(choices.long()),
        Avro::TimestampNanos => AvroValue::TimestampNanos(choices.long()),
        Avro::LocalTimestampMillis => AvroValue::LocalTimestampMillis(choices.long()),
        Avro::LocalTimestampMicros => AvroValue::LocalTimestampMicros(choices.long()),
        Avro::LocalTimestampNanos => AvroValue::LocalTimestampNanos(choices.long()),
        Avro::Uuid(_) => AvroValue::Uuid(uuid::Uuid::from_u128(choices.long() as u128)),
        Avro::Decimal(of) => {
            let unscaled = choices.long() % 10_i64.pow(of.precision.min(17) as u32);
            AvroValue::Decimal(Decimal::from(decimal::parse(&unscaled.to_string()).unwrap().0))
        }
        Avro::Duration(_) => {
            let mut part = || choices.long() as u32;
            AvroValue::Duration(Duration::new(Months::new(part()), Days::new(part()), Millis::new(part())))
        }
        Avro::Fixed(fixed) => AvroValue::Fixed(fixed.size, (0..fixed.size).map(|_| choices.byte()).collect()),
        Avro::Enum(of) => {
            let index = choices.below(of.symbols.len());
            AvroValue::Enum(index as u32, of.symbols[index].clone())
        }
        Avro::Array(of) => {
            AvroValue::Array((0..many(choices)).map(|_| datum(&of.items, names, choices, depth + 1)).collect())
        }
        Avro::Map(of) => {
            let entries = (0..many(choices))
                .map(|it| (format!("{it}{}", choices.text()), datum(&of.types, names, choices, depth + 1)));
            AvroValue::Map(entries.collect())
        }
        Avro::Union(of) => {
            let null = of.variants().iter().position(|it| matches!(it, Avro::Null)).filter(|_| depth > 6);
            let index = null.unwrap_or_else(|| choices.below(of.variants().len()));
            AvroValue::Union(index as u32, Box::new(datum(&of.variants()[index], names, choices, depth + 1)))
        }
        Avro::Record(of) => {
            let fields = of.fields.iter().map(|it| (it.name.clone(), datum(&it.schema, names, choices, depth + 1)));
            AvroValue::Record(fields.collect())
        }
        Avro::Ref { name } => datum(names[&name.fullname(None)], names, choices, depth + 1),
        Avro::BigDecimal => {
            let (unscaled, scale) = (choices.long(), i64::from(choices.byte()) - 100);
            AvroValue::BigDecimal(format!("{unscaled}E{scale}").parse().unwrap())
        }
    }
}

fn names<'a>(avro: &'a Avro, found: &mut BTreeMap<String, &'a Avro>) {
    if !matches!(avro, Avro::Ref { .. })
        && let Some(name) = avro.name()
    {
        found.insert(name.fullname(None), avro);
    }
    match avro {
        Avro::Array(of) => names(&of.items, found),
        Avro::Map(of) => names(&of.types, found),
        Avro::Union(of) => of.variants().iter().for_each(|it| names(it, found)),
        Avro::Record(of) => of.fields.iter().for_each(|it| names(&it.schema, found)),
        _ => {}
    }
}

/// What `to_json` is to show, from the other library's value.
fn shown(value: &AvroValue, avro: &Avro, names: &BTreeMap<String, &Avro>) -> Value {
    use super::node::Unit::{Micros, Millis, Nanos};
    let time =
        |value: i64, unit, is_local| calendar::timestamp(value, unit, is_local).map_or(value.into(), Value::from);
    let latin = |bytes: &[u8]| bytes.iter().map(|it| char::from(*it)).collect::<String>().into();
    let float = |value: f64| match value {
        _ if value.is_nan() => "NaN".into(),
        _ if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        _ => json!(value),
    };
    match (value, avro) {
        (value, Avro::Ref { name }) => shown(value, names[&name.fullname(None)], names),
        (AvroValue::Null, _) => Value::Null,
        (AvroValue::Boolean(it), _) => json!(it),
        (AvroValue::Int(it), _) => json!(it),
        (AvroValue::Long(it), _) => json!(it),
        (AvroValue::Float(it), _) => float(it.to_string().parse().unwrap()),
        (AvroValue::Double(it), _) => float(*it),
        (AvroValue::Bytes(it) | AvroValue::Fixed(_, it), _) => latin(it),
        (AvroValue::String(it), _) => json!(it),
        (AvroValue::Enum(_, it), _) => json!(it),
        (AvroValue::Date(it), _) => calendar::date(i64::from(*it)).map_or(json!(it), Value::from),
        (AvroValue::TimeMillis(it), _) => calendar::time(i64::from(*it), Millis).into(),
        (AvroValue::TimeMicros(it), _) => calendar::time(*it, Micros).into(),
        (AvroValue::TimestampMillis(it), _) => time(*it, Millis, false),
        (AvroValue::TimestampMicros(it), _) => time(*it, Micros, false),
        (AvroValue::TimestampNanos(it), _) => time(*it, Nanos, false),
        (AvroValue::LocalTimestampMillis(it), _) => time(*it, Millis, true),
        (AvroValue::LocalTimestampMicros(it), _) => time(*it, Micros, true),
        (AvroValue::LocalTimestampNanos(it), _) => time(*it, Nanos, true),
        (AvroValue::Uuid(it), _) => json!(it.to_string()),
        (AvroValue::Decimal(it), Avro::Decimal(of)) => {
            let bytes: Vec<u8> = it.clone().try_into().unwrap();
            decimal::text(&bytes, of.scale as i64).into()
        }
        (AvroValue::BigDecimal(it), _) => {
            let (unscaled, scale) = it.as_bigint_and_exponent();
            decimal::text(&decimal::parse(&unscaled.to_string()).unwrap().0, scale).into()
        }
        (AvroValue::Duration(it), _) => {
            let (months, days, millis) = (u32::from(it.months()), u32::from(it.days()), u32::from(it.millis()));
            json!({ "months": months, "days": days, "millis": millis })
        }
        (AvroValue::Array(items), Avro::Array(of)) => items.iter().map(|it| shown(it, &of.items, names)).collect(),
        (AvroValue::Map(items), Avro::Map(of)) => {
            items.iter().map(|(key, it)| (key.clone(), shown(it, &of.types, names))).collect()
        }
        (AvroValue::Record(items), Avro::Record(of)) => {
            let fields = items.iter().zip(&of.fields);
            fields.map(|((name, it), field)| (name.clone(), shown(it, &field.schema, names))).collect()
        }
        (AvroValue::Union(index, it), Avro::Union(of)) => {
            let branch = &of.variants()[*index as usize];
            let inner = shown(it, branch, names);
            let called = |it: &Avro| match it.name() {
                Some(name) => name.fullname(None),
                None => serde_json::to_value(it).unwrap().as_object().map_or_else(
                    || serde_json::to_value(it).unwrap().as_str().unwrap().to_owned(),
                    |it| it["type"].as_str().unwrap().to_owned(),
                ),
            };
            let others = of.variants().iter().filter(|it| !matches!(it, Avro::Null)).count();
            let is_like_a_branch = inner
                .as_object()
                .filter(|it| it.len() == 1)
                .and_then(|it| it.keys().next())
                .is_some_and(|key| of.variants().iter().any(|it| called(it) == *key));
            match branch {
                Avro::Null => inner,
                _ if others == 1 && !is_like_a_branch => inner,
                _ => json!({ called(branch): inner }),
            }
        }
        other => panic!("{other:?}"),
    }
}

struct Pair {
    schema: Schema,
    validator: Validator,
    avro: Avro,
}

fn pair(shape: &Shape) -> Pair {
    take_lenient_names();
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let text = Text::default().of(shape);
    let schema = schema(&text);
    let validator = Validator::compile(&schema, &[]).unwrap();
    Pair { schema, validator, avro: Avro::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")) }
}

impl Pair {
    fn read(&self, datum: &[u8]) -> Option<AvroValue> {
        let mut rest = datum;
        let value = GenericDatumReader::builder(&self.avro).build().unwrap().read_value(&mut rest).ok();
        value.filter(|_| rest.is_empty())
    }

    fn valid(&self, choices: &[u8]) -> Option<Vec<u8>> {
        let mut found = BTreeMap::new();
        names(&self.avro, &mut found);
        let value = datum(&self.avro, &found, &mut Choices { bytes: choices, at: 0 }, 0);
        GenericDatumWriter::builder(&self.avro).build().unwrap().write_value_to_vec(value).ok()
    }

    /// Where the two verdicts differ, and may not.
    fn disagreement(&self, datum: &[u8], without: Option<FaultKind>) -> Option<String> {
        let mut walk = self.validator.walk(datum);
        walk.without = without;
        match (walk.datum(), self.read(datum)) {
            (Ok(()), Some(_)) | (Err(_), None) => None,
            (Ok(()), None) => Some("only we take it".to_owned()),
            (Err(kind), Some(_)) if REFUSED_HERE_ALONE.contains(&kind) => None,
            (Err(kind), Some(_)) => Some(format!("only we refuse it: {}", kind.name())),
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Append(Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<prop::sample::Index>;
    let telling = prop::sample::select(vec![0_u8, 1, 2, 3, 127, 128, 255]);
    let edit = prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), telling).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => at().prop_map(Edit::Cut),
        1 => (at(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => vec(any::<u8>(), 1..3).prop_map(Edit::Append),
    ];
    vec(edit, 1..4)
}

fn edited(mut datum: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        match edit {
            Edit::Flip(at, bit) if !datum.is_empty() => {
                let at = at.index(datum.len());
                datum[at] ^= 1 << bit;
            }
            Edit::Set(at, byte) if !datum.is_empty() => {
                let at = at.index(datum.len());
                datum[at] = *byte;
            }
            Edit::Cut(at) => datum.truncate(at.index(datum.len() + 1)),
            Edit::Insert(at, bytes) => {
                let at = at.index(datum.len() + 1);
                datum.splice(at..at, bytes.iter().copied());
            }
            Edit::Append(bytes) => datum.extend(bytes),
            _ => {}
        }
    }
    datum
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn what_the_other_library_writes_is_valid_and_reads_the_same(shape in shape(), choices in vec(any::<u8>(), 0..200)) {
        let pair = pair(&shape);
        let Some(datum) = pair.valid(&choices) else { return Err(TestCaseError::reject("it cannot write it")) };
        prop_assert_eq!(pair.validator.check(&datum), Ok(()), "{:?}", pair.schema);
        let json = pair.schema.to_json(&datum).unwrap();
        let mut found = BTreeMap::new();
        names(&pair.avro, &mut found);
        let value = pair.read(&datum).unwrap();
        prop_assert_eq!(&json, &shown(&value, &pair.avro, &found));
        // Back, through the text: the same values, if not the same bytes.
        let read: Value = serde_json::from_str(&json.to_string()).unwrap();
        prop_assert_eq!(&read, &json);
        let again = pair.schema.encode_json(&read);
        let again = again.map_err(|fault| TestCaseError::fail(format!("{fault}: {json} {:?}", pair.schema)))?;
        prop_assert_eq!(pair.schema.to_json(&again).unwrap(), json);
        prop_assert_eq!(super::resolve(&pair.schema, &pair.schema), Ok(()));
        // The form that a fingerprint is of means the same.
        let form = schema(&pair.schema.canonical_form());
        prop_assert_eq!(form.fingerprint(), pair.schema.fingerprint());
        prop_assert_eq!(Validator::compile(&form, &[]).unwrap().check(&datum), Ok(()));
    }

    #[test]
    fn verdicts_agree_on_damaged_datums(
        shape in shape(), choices in vec(any::<u8>(), 0..120), edits in vec(edits(), 1..12),
    ) {
        let pair = pair(&shape);
        let datum = pair.valid(&choices).unwrap_or_default();
        for edits in &edits {
            let damaged = edited(datum.clone(), edits);
            let why = pair.disagreement(&damaged, None);
            prop_assert_eq!(&why, &None, "{:02x?} of {:?}", damaged, pair.schema);
            // It ends, and what it says of the place is within the datum.
            if let Err(fault) = pair.validator.check(&damaged) {
                prop_assert!(fault.at <= damaged.len());
                prop_assert_eq!(pair.schema.to_json(&damaged), Err(fault));
            }
            let mut walk = pair.validator.walk(&damaged);
            let _ = walk.datum();
            prop_assert!(walk.steps <= 1 + (damaged.len() as u64 + 1) * u64::from(super::walk::DEPTH_MAX));
        }
    }
}

/// The same search with a check left out of the walk: it must come upon the gap.
#[test]
fn a_check_that_is_left_out_is_found() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    for kind in [FaultKind::Utf8, FaultKind::TrailingBytes, FaultKind::Boolean, FaultKind::EnumIndex] {
        let mut runner = TestRunner::deterministic();
        let inputs = (shape(), vec(any::<u8>(), 0..120), edits());
        let found = (0..20_000).any(|_| {
            let (shape, choices, edits) = inputs.new_tree(&mut runner).unwrap().current();
            let pair = pair(&shape);
            let damaged = edited(pair.valid(&choices).unwrap_or_default(), &edits);
            assert_eq!(pair.disagreement(&damaged, None), None);
            pair.disagreement(&damaged, Some(kind)).is_some()
        });
        assert!(found, "{}", kind.name());
    }
}
