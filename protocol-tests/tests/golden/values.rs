//! What a decoded message holds, by name, and Java's word for the same.
//!
//! Generated messages have no reflection but `Debug`; it names every field, so that no check has to be written for one
//! API, and none can be forgotten.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

/// Fields to which Kafka has given another name, which the library does not know everywhere.
const RENAMED: [(&str, &str); 1] = [("generation_id_or_member_epoch", "generation_id")];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
    List(Vec<Found>),
    Fields(BTreeMap<String, Found>),
}

/// Reads what `{:?}` writes of a message.
pub(super) fn parse(debug: &str) -> Result<Found> {
    let mut parser = Parser { rest: debug };
    let found = parser.value().with_context(|| format!("before {:?}", excerpt(parser.rest)))?;
    ensure!(parser.rest.is_empty(), "{:?} is left over", excerpt(parser.rest));
    Ok(found)
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self, text: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        ensure!(self.skip(text), "no {text:?}");
        Ok(())
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|it: char| !it.is_alphanumeric() && !"_-.".contains(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn value(&mut self) -> Result<Found> {
        if self.skip("[") {
            let mut list = vec![];
            while !self.skip("]") {
                list.push(self.value()?);
                self.skip(",");
            }
            return Ok(Found::List(list));
        }
        if self.skip("{") {
            return self.fields();
        }
        if self.skip("b\"") {
            return Ok(Found::Bytes(self.quoted()?));
        }
        if self.skip("\"") {
            return Ok(Found::Text(String::from_utf8(self.quoted()?)?));
        }
        let word = self.word();
        match word {
            "None" => Ok(Found::Null),
            "true" | "false" => Ok(Found::Bool(word == "true")),
            _ if self.skip("(") => {
                // `Some`, or an id's own type: what is in it counts.
                let inner = self.value()?;
                self.skip(",");
                self.expect(")")?;
                Ok(inner)
            }
            _ if self.skip("{") => self.fields(),
            _ => match (word.parse(), word.parse()) {
                (Ok(number), _) => Ok(Found::Number(number)),
                (_, Ok(id)) => Ok(Found::Id(id)),
                _ => bail!("{word:?} is nothing known"),
            },
        }
    }

    fn fields(&mut self) -> Result<Found> {
        let mut fields = BTreeMap::new();
        while !self.skip("}") {
            let name = self.word().to_owned();
            self.expect(":")?;
            fields.insert(name, self.value()?);
            self.skip(",");
        }
        Ok(Found::Fields(fields))
    }

    /// Behind the first quotation mark; escapes as in Rust's source.
    fn quoted(&mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        let mut letters = self.rest.chars();
        loop {
            let letter = letters.next().context("a text without end")?;
            let escaped = match letter {
                '"' => break,
                '\\' => letters.next().context("a text without end")?,
                letter => {
                    bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes());
                    continue;
                }
            };
            bytes.push(match escaped {
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                '0' => 0,
                'x' => u8::from_str_radix(&letters.by_ref().take(2).collect::<String>(), 16)?,
                'u' => {
                    let code: String = letters.by_ref().take_while(|it| *it != '}').collect();
                    let letter = char::from_u32(u32::from_str_radix(code.trim_start_matches('{'), 16)?);
                    bytes.extend(letter.context("no letter")?.encode_utf8(&mut [0; 4]).bytes());
                    continue;
                }
                other => u8::try_from(other)?,
            });
        }
        self.rest = letters.as_str();
        Ok(bytes)
    }
}

/// Every value that Java names must be found under its name. What else is found is not part of this version.
pub(super) fn compare(java: &Value, found: &Found) -> Result<()> {
    match (java, found) {
        (Value::Object(java), Found::Fields(found)) => {
            for (name, value) in java {
                let name = snake_case(name);
                let older = RENAMED.iter().find(|(newer, _)| *newer == name).map(|(_, older)| *older);
                let field = found.get(&name).or_else(|| found.get(older?));
                // A field that is a Rust word has an underscore.
                let field = field.or_else(|| found.get(&format!("_{name}")));
                compare(value, field.with_context(|| format!("{name} is missing"))?).context(name)?;
            }
            Ok(())
        }
        (Value::Array(java), Found::List(found)) => {
            ensure!(java.len() == found.len(), "{} elements, and Java's are {}", found.len(), java.len());
            for (index, (java, found)) in java.iter().zip(found).enumerate() {
                compare(java, found).with_context(|| format!("element {index}"))?;
            }
            Ok(())
        }
        _ => {
            let same = match (java, found) {
                (Value::Null, Found::Null) => true,
                (Value::Bool(java), Found::Bool(found)) => java == found,
                (Value::Number(java), Found::Number(found)) => java.as_i64() == Some(*found),
                (Value::String(java), Found::Text(found)) => java == found,
                (Value::String(java), Found::Bytes(found)) => *java == base64(found, STANDARD, true),
                (Value::String(java), Found::Id(found)) => *java == base64(found.as_bytes(), URL_SAFE, false),
                _ => false,
            };
            ensure!(same, "{found:?}, and Java's is {java}");
            Ok(())
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// As Java's converters write bytes and ids.
fn base64(bytes: &[u8], alphabet: &[u8; 64], is_padded: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, index| word << 8 | usize::from(chunk.get(index).copied().unwrap_or(0)));
        for index in 0..4 {
            if index <= chunk.len() {
                text.push(char::from(alphabet[word >> (18 - 6 * index) & 63]));
            } else if is_padded {
                text.push('=');
            }
        }
    }
    text
}
