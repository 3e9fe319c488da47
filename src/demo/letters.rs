//! A few of the dead letters, as `kafka-bridge dead-letters` shows them.

use super::DemoError;
use crate::config::Config;
use crate::positions::Link;
use crate::undelivered::{self, Filter, PartShown, ShownLetter};
use std::collections::BTreeSet;
use std::fmt;

/// Of the newest so many, one of each reason is looked for.
const LISTED: usize = 1_000;
/// Enough to see what it is about.
const SHOWN: usize = 4;
const LINE_CHARS_MAX: usize = 110;

#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    /// That the link's own list counts.
    pub(super) total: u64,
    pub(super) shown: Vec<ShownLetter>,
}

impl Letters {
    pub(super) async fn read(config: &Config) -> Result<Self, DemoError> {
        let link = Link::open(config).await?;
        let list = undelivered::list(&link, &Filter { count: LISTED, ..Filter::default() }).await?;
        let (mut reasons, mut shown) = (BTreeSet::new(), Vec::new());
        // What is wrong within an event says more than what is none.
        let (inside, whole): (Vec<_>, Vec<_>) = list.letters.iter().partition(|it| !it.path.is_empty());
        for row in inside.into_iter().chain(whole) {
            if shown.len() < SHOWN && reasons.insert(&row.reason) {
                shown.push(undelivered::show(&link, &row.id.to_string()).await?);
            }
        }
        Ok(Self { total: list.total, shown })
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ShownLetter { letter, value, .. } in &self.shown {
            let at = format!("{}-{}@{}", letter.topic, letter.partition, letter.offset);
            let text = format!("    {at:<18} {:<17} {}", letter.reason, letter.error);
            writeln!(f, "{}", cut(&text))?;
            let text = value.as_ref().map_or_else(|| "null".to_owned(), contents);
            writeln!(f, "{}", cut(&format!("    {:<18} {text}", "")))?;
        }
        Ok(())
    }
}

/// As far as it decodes.
fn contents(value: &PartShown) -> String {
    let PartShown { bytes, text, hex, json, .. } = value;
    match (json, text) {
        (Some(json), _) => json.to_string(),
        (None, _) if *bytes == 0 => "no bytes at all".to_owned(),
        (None, Some(text)) if !text.chars().any(char::is_control) => format!("{bytes} bytes: {text}"),
        _ => format!("{bytes} bytes: {hex}"),
    }
}

fn cut(line: &str) -> String {
    let line: String = line.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect();
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_commands_of_a_terminal_are_not_obeyed() {
        assert_eq!(cut("a\u{1b}[2J"), "a\u{fffd}[2J");
        let cut = cut(&"ä".repeat(LINE_CHARS_MAX + 1));
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (LINE_CHARS_MAX + 1, true));
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_as_it_is() {
        let part = |bytes, text: Option<&str>, hex: &str| PartShown {
            bytes,
            text: text.map(str::to_owned),
            hex: hex.to_owned(),
            ..PartShown::default()
        };
        assert_eq!(contents(&part(0, Some(""), "")), "no bytes at all");
        assert_eq!(contents(&part(2, Some("ab"), "6162")), "2 bytes: ab");
        assert_eq!(contents(&part(2, Some("\0b"), "0062")), "2 bytes: 0062");
        assert_eq!(
            contents(&PartShown { json: Some(serde_json::json!({"a": 1})), ..part(1, None, "02") }),
            r#"{"a":1}"#
        );
    }
}
