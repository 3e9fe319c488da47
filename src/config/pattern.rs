//! Topic names, and the patterns that choose them.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

/// `org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH`: the name is a folder on the broker's disk.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Why Kafka would refuse a topic of this name (`Topic.validate`).
pub fn topic_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name == "." || name == ".." {
        Some("is a folder's name to the broker")
    } else if name.len() > TOPIC_NAME_LENGTH_MAX {
        Some("is longer than 249 letters")
    } else if !name.chars().all(is_topic_letter) {
        Some("holds something besides a-z, A-Z, 0-9, `.`, `_` and `-`")
    } else {
        None
    }
}

pub(super) fn is_topic_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// Kafka's own topics (`__consumer_offsets`, `__transaction_state`, …): copied, they would be read as the target's own state.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("__")
}

/// A glob, or a full-match regular expression behind `regex:`.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

#[derive(Clone)]
enum Matcher {
    Literal,
    Glob(GlobMatcher),
    Regex(Regex),
}

impl Pattern {
    /// The error is a half sentence; it does not repeat the pattern, which may come from the environment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let matcher = if let Some(expression) = text.strip_prefix("regex:") {
            if expression.is_empty() {
                return Err("has no regular expression behind `regex:`".to_owned());
            }
            // Compiled alone first: `a)|(b` would become valid inside the anchors, and mean something else.
            let full = Regex::new(expression).and_then(|_| Regex::new(&format!(r"\A(?:{expression})\z")));
            Matcher::Regex(full.map_err(|error| format!("is no regular expression: {}", regex_reason(&error)))?)
        } else if text.contains(['*', '?', '[', ']', '{', '}', '\\', '!']) {
            // Kafka's names have no folders, so `*` matches everything, `/` included.
            let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
            Matcher::Glob(glob.map_err(|error| format!("is no glob: {}", error.kind()))?.compile_matcher())
        } else if let Some(fault) = topic_name_fault(text) {
            return Err(format!("can never match: as a topic's name it {fault}"));
        } else if is_internal(text) {
            return Err("can never match: topics that begin with `__` are Kafka's own and are not copied".to_owned());
        } else {
            Matcher::Literal
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    pub fn matches(&self, topic: &str) -> bool {
        match &self.matcher {
            Matcher::Literal => self.text == topic,
            Matcher::Glob(glob) => glob.is_match(topic),
            Matcher::Regex(regex) => regex.is_match(topic),
        }
    }

    /// One name and nothing else.
    pub fn is_literal(&self) -> bool {
        matches!(self.matcher, Matcher::Literal)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The reason alone: the crate's own text repeats the expression over several lines.
fn regex_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern).expect(pattern).matches(topic)
    }

    #[test]
    fn globs() {
        assert!(matches("orders.*", "orders.eu") && matches("orders.*", "orders.eu.v1"));
        assert!(!matches("orders.*", "orders") && !matches("orders.*", "my.orders.eu"));
        assert!(matches("*", "anything") && matches("o?ders", "orders") && matches("{a,b}-x", "b-x"));
        assert!(matches("[a-c]1", "b1") && !matches("[!a-c]1", "b1"));
        assert!(matches("payments", "payments") && !matches("payments", "payments2"));
    }

    #[test]
    fn regular_expressions_match_the_whole_name() {
        assert!(matches("regex:a|ab", "ab") && !matches("regex:a|ab", "abc") && !matches("regex:b", "abc"));
        assert!(matches("regex:orders-[0-9]+", "orders-17"));
        assert!(!matches("regex:a", "a\n"));
    }

    #[test]
    fn what_can_never_match_is_refused() {
        for bad in ["regex:", "regex:(", "regex:a)|(b", "[a", "{a", "a b", "a/b", "__consumer_offsets", ".."] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        let bomb = format!("regex:{}", "(a{1000}){1000}");
        assert!(Pattern::parse(&bomb).is_err(), "a compiled expression has a size limit");
    }

    #[test]
    fn names_that_kafka_refuses() {
        assert_eq!(topic_name_fault(&"a".repeat(249)), None);
        for bad in [String::new(), ".".to_owned(), "..".to_owned(), "a".repeat(250), "ä".to_owned(), "a b".to_owned()]
        {
            assert!(topic_name_fault(&bad).is_some(), "{bad}");
        }
    }
}
