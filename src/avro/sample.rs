//! Made-up datums, as JSON that `encode` takes: their shape is the schema's, their words are what the names of fields suggest.

use super::node::{Kind, Logical, Node, NodeId, Unit};
use super::schema::{Graph, Schema};
use super::walk;
use serde_json::{Map, Value, json};

/// Below it unions are null and lists empty, or a schema that holds itself would have no end.
const DEPTH_MAX: u32 = 6;
const ITEMS_MAX: u64 = 4;
/// More digits than this in front of the point are no price.
const DIGITS_MAX: usize = 6;
const DAY_MS: i64 = 86_400_000;

const WORDS: [(&str, &[&str]); 16] = [
    ("currency", &["EUR", "CZK", "DKK", "PLN", "SEK"]),
    ("country", &["CZ", "DE", "DK", "ES", "PL", "PT"]),
    ("city", &["Aarhus", "Brno", "Cádiz", "Dresden", "Évora", "Gdańsk", "Łódź"]),
    ("place", &["Aarhus", "Brno", "Cádiz", "Dresden", "Évora", "Gdańsk", "Łódź"]),
    ("street", &["Dlouhá 12", "Elbweg 3", "Rua Nova 41", "Søgade 7", "ul. Długa 19"]),
    ("postal", &["01067", "602 00", "8000", "80-831", "7000-880"]),
    ("name", &["Ana Sousa", "Jan Novák", "Katarzyna Wójcik", "Mette Jensen", "Uwe Krause"]),
    ("customer", &["Ana Sousa", "Jan Novák", "Katarzyna Wójcik", "Mette Jensen", "Uwe Krause"]),
    ("email", &["ana@example.org", "jan@example.org", "mette@example.org"]),
    ("carrier", &["northpost", "parcelo", "quickvan"]),
    ("network", &["amex", "mastercard", "visa"]),
    ("last_digits", &["0005", "1881", "4242", "9424"]),
    ("status", &["open", "paid", "sent", "returned"]),
    ("sku", &["BK-1041", "LP-77", "MUG-03", "TS-208-M"]),
    ("channel", &["app", "shop", "web"]),
    ("note", &["call first", "fragile", "leave at the door"]),
];
const OTHER_WORDS: [&str; 6] = ["amber", "birch", "cobalt", "dune", "ember", "fjord"];

impl Schema {
    /// `pick(n)` is any number below n, and the only source of chance; `now_ms` since 1970 is where times lie around. Of a
    /// schema that no datum ends, what comes is too deep to be one, and `encode_json` says so.
    pub fn sample(&self, now_ms: i64, pick: &mut dyn FnMut(u64) -> u64) -> Value {
        Sampler { graph: &self.graph, now_ms, pick, is_endless: false }.value(self.graph.root, "", 0)
    }
}

struct Sampler<'a> {
    graph: &'a Graph,
    now_ms: i64,
    pick: &'a mut dyn FnMut(u64) -> u64,
    /// It has become deeper than any datum may be.
    is_endless: bool,
}

impl Sampler<'_> {
    /// `field`: the name of the field that the value stands in, however deep.
    fn value(&mut self, id: NodeId, field: &str, depth: u32) -> Value {
        // A record that holds itself, in no list or union, has no end; where it does so twice, each level has twice as many.
        self.is_endless |= depth > walk::DEPTH_MAX;
        if self.is_endless {
            return Value::Null;
        }
        let graph = self.graph;
        let node = graph.node(id);
        match &node.kind {
            Kind::Null => Value::Null,
            Kind::Boolean => Value::Bool((self.pick)(2) == 1),
            Kind::Int | Kind::Long => self.whole(node, field).into(),
            Kind::Float => json!((self.pick)(1_000) as f32 / 8.0),
            Kind::Double => json!((self.pick)(100_000) as f64 / 64.0),
            Kind::String if node.logical == Some(Logical::Uuid) => self.uuid().into(),
            Kind::String => self.word(field).into(),
            Kind::Bytes => {
                let length = (self.pick)(16);
                self.binary(node, field, length as usize)
            }
            Kind::Fixed { size, .. } => self.binary(node, field, *size),
            Kind::Enum { symbols, .. } => {
                // The one for readers that do not know a symbol: nobody writes it.
                let unknown = usize::from(symbols.len() > 1 && symbols[0] == "UNKNOWN");
                let index = unknown + (self.pick)((symbols.len() - unknown) as u64) as usize;
                symbols.get(index).cloned().into()
            }
            Kind::Array(items) => {
                let count = if depth < DEPTH_MAX { (self.pick)(ITEMS_MAX) } else { 0 };
                (0..count).map(|_| self.value(*items, field, depth + 1)).collect()
            }
            Kind::Map(values) => {
                let count = if depth < DEPTH_MAX { (self.pick)(ITEMS_MAX) } else { 0 };
                let entry = |sampler: &mut Self| {
                    let key = OTHER_WORDS[(sampler.pick)(OTHER_WORDS.len() as u64) as usize];
                    (key.to_owned(), sampler.value(*values, field, depth + 1))
                };
                Value::Object((0..count).map(|_| entry(self)).collect())
            }
            Kind::Union(branches) => self.union(branches, field, depth),
            Kind::Record { fields, .. } => {
                let of = |it: &super::node::Field| (it.name.clone(), self.value(it.node, &it.name, depth + 1));
                Value::Object(fields.iter().map(of).collect())
            }
        }
    }

    /// As `json` writes unions.
    fn union(&mut self, branches: &[NodeId], field: &str, depth: u32) -> Value {
        let graph = self.graph;
        let is_null = |id: &NodeId| matches!(graph.node(*id).kind, Kind::Null);
        let null = branches.iter().position(is_null);
        let branch = match null {
            Some(null) if depth >= DEPTH_MAX => null,
            _ => (self.pick)(branches.len() as u64) as usize,
        };
        let Some(id) = branches.get(branch) else { return Value::Null };
        let value = self.value(*id, field, depth + 1);
        if Some(branch) == null || (null.is_some() && branches.len() == 2) {
            return value;
        }
        Value::Object(Map::from_iter([(graph.node(*id).branch_name().to_owned(), value)]))
    }

    fn whole(&mut self, node: &Node, field: &str) -> i64 {
        let back = (self.pick)(30 * DAY_MS as u64) as i64;
        let around = self.now_ms - back;
        match node.logical {
            Some(Logical::Date) => around / DAY_MS,
            Some(Logical::TimeMillis) => around.rem_euclid(DAY_MS),
            Some(Logical::TimeMicros) => around.rem_euclid(DAY_MS) * 1_000,
            Some(Logical::Timestamp { unit, .. }) => around * (unit.per_second() / Unit::Millis.per_second()),
            _ if field.contains("quantity") || field.contains("count") => 1 + back % 9,
            _ if field.ends_with("_ms") => around,
            _ => back % 50_000,
        }
    }

    fn word(&mut self, field: &str) -> String {
        let field = field.to_lowercase();
        if field == "id" || field.ends_with("_id") {
            return format!("{:012x}", (self.pick)(1 << 48));
        }
        let words = WORDS.iter().find(|it| field.contains(it.0)).map_or(&OTHER_WORDS[..], |it| it.1);
        words.get((self.pick)(words.len() as u64) as usize).copied().unwrap_or_default().to_owned()
    }

    fn uuid(&mut self) -> String {
        let (high, low) = ((self.pick)(u64::MAX), (self.pick)(u64::MAX));
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
            .into_uuid()
            .to_string()
    }

    fn binary(&mut self, node: &Node, field: &str, length: usize) -> Value {
        match node.logical {
            Some(Logical::Decimal { precision, scale }) => {
                self.decimal(precision.min(scale + DIGITS_MAX), scale).into()
            }
            Some(Logical::BigDecimal) => self.decimal(DIGITS_MAX, 2).into(),
            Some(Logical::Uuid) => self.uuid().into(),
            Some(Logical::Duration) => {
                json!({ "months": 0, "days": (self.pick)(14), "millis": (self.pick)(DAY_MS as u64) })
            }
            _ => {
                let words = WORDS.iter().find(|it| field.to_lowercase().contains(it.0)).map_or(&[][..], |it| it.1);
                let fitting: Vec<_> = words.iter().filter(|it| it.len() == length && it.is_ascii()).collect();
                let code = ["CZ", "DE", "DK", "ES", "PL", "PT"];
                if length == 2 && fitting.is_empty() {
                    return code[(self.pick)(code.len() as u64) as usize].into();
                }
                match fitting.get((self.pick)(fitting.len().max(1) as u64) as usize) {
                    Some(word) => (**word).into(),
                    None => (0..length).map(|_| char::from((self.pick)(256) as u8)).collect::<String>().into(),
                }
            }
        }
    }

    /// `precision` digits at most, `scale` of them behind the point.
    fn decimal(&mut self, precision: usize, scale: usize) -> String {
        let digits: String = (0..precision).map(|_| char::from(b'0' + (self.pick)(10) as u8)).collect();
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction:0>scale$}") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SchemaText;
    use super::*;

    fn check(text: &str, references: &[&str]) {
        let text =
            SchemaText { text: text.to_owned(), references: references.iter().map(|it| (*it).to_owned()).collect() };
        let schema = Schema::parse(&text).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut texts = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let made = schema.sample(1_700_000_000_000, &mut |below| random.u64(..below.max(1)));
            let datum = schema.encode_json(&made).unwrap_or_else(|fault| panic!("{fault}: {made:#}"));
            let read = schema.to_json(&datum).unwrap();
            assert_eq!(schema.encode_json(&read).unwrap().len(), datum.len());
            texts.insert(made.to_string());
        }
        assert!(texts.len() > 1, "all are the same: {texts:?}");
    }

    #[test]
    fn samples_of_the_repositorys_schemas_are_datums_of_them() {
        let address = include_str!("../../avro/address.avsc");
        check(address, &[]);
        check(include_str!("../../avro/order.avsc"), &[]);
        check(include_str!("../../avro/payment.avsc"), &[]);
        check(include_str!("../../avro/shipment.avsc"), &[address]);
    }

    #[test]
    fn samples_of_every_type_are_datums() {
        check(
            r#"{"type":"record","name":"R","fields":[
                {"name":"a","type":["null","R"]},{"name":"b","type":"boolean"},{"name":"c","type":"bytes"},
                {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":3,"scale":3}},
                {"name":"e","type":{"type":"fixed","name":"F","size":3}},
                {"name":"f","type":["int","string","null",{"type":"map","values":"long"}]},
                {"name":"g","type":{"type":"long","logicalType":"time-micros"}},
                {"name":"h","type":{"type":"array","items":["null","R"]}},
                {"name":"i","type":{"type":"long","logicalType":"local-timestamp-nanos"}},
                {"name":"j","type":"float"},{"name":"k","type":"double"},{"name":"l","type":"null"}]}"#,
            &[],
        );
    }

    #[test]
    fn a_record_without_an_end_is_told_and_not_followed() {
        for fields in [
            r#"{"name":"a","type":"R"}"#,
            r#"{"name":"a","type":"R"},{"name":"b","type":"R"},{"name":"c","type":"int"}"#,
            r#"{"name":"a","type":["R","R2"]},{"name":"b","type":"R"}"#,
        ] {
            let reference = r#"{"type":"record","name":"R2","fields":[{"name":"x","type":"R2"}]}"#.to_owned();
            let text = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
            let schema = Schema::parse(&SchemaText { text, references: vec![reference] }).unwrap();
            let mut random = fastrand::Rng::with_seed(7);
            let made = schema.sample(0, &mut |below| random.u64(..below.max(1)));
            let told = schema.encode_json(&made).unwrap_err().to_string();
            assert!(told.contains("it is nested too deeply"), "{told}");
        }
    }
}
