//! What is wrong with a config file: where, what, and the remedy. All problems of a file are told at once.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A line of the file is shown around the problem, at most this many characters of it, so that a binary file cannot fill the terminal.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// A line that holds one of these words, or a url with a user or a query in it, is shown only up to its `=`: an error ends in
/// logs and tickets. A user's name is often given as `name:password`.
const SECRET_WORDS: &[&str] = &["username", "password", "passphrase", "secret", "token", "credential", "jaas"];

/// A position in the config file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// The full path of the key, as `topics[0].include`; empty when the file as a whole is meant.
    pub key: String,
    pub what: String,
    pub remedy: String,
    snippet: Option<Snippet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: String,
    skip: usize,
    carets: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        writeln!(f, "{}", self.what)?;
        let number = self.place.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(Snippet { line, skip, carets }) = &self.snippet {
            writeln!(f, " {number} | {line}")?;
            writeln!(f, " {margin} | {}{}", " ".repeat(*skip), "^".repeat(*carets))?;
        }
        write!(f, " {margin} = {}", self.remedy)
    }
}

/// Every problem of one config file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|left, right| left.place.cmp(&right.place));
        Self { problems }
    }

    /// The file as a whole cannot be used.
    pub(super) fn file(file: &Path, what: String, remedy: String) -> Self {
        let place = Place { file: file.to_owned(), line: 1, column: 1 };
        Self::new(vec![Problem { place, key: String::new(), what, remedy, snippet: None }])
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        if self.problems.len() > 1 {
            write!(f, "\n{} problems in the config", self.problems.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// How much of the line a problem may show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Line,
    /// Nothing behind the span: the value of an unknown key may be a secret that this version does not know of.
    UpToSpan,
}

/// The text of a config file, and what turns a byte range of it into a place.
pub(super) struct Text<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Text<'_> {
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { file: self.file.to_owned(), line, column }
    }

    pub(super) fn problem(&self, span: Range<usize>, key: &str, what: String, remedy: String, show: Show) -> Problem {
        let place = self.place(span.start);
        let snippet = self.snippet(&place, span, show);
        Problem { place, key: key.to_owned(), what, remedy, snippet }
    }

    fn snippet(&self, place: &Place, span: Range<usize>, show: Show) -> Option<Snippet> {
        let line = self.text.split('\n').nth(place.line - 1)?.trim_end();
        let width = self.text.get(span)?.split('\n').next().unwrap_or_default().trim_end().chars().count();
        let column = place.column - 1;
        let secret = is_secret(line);
        let end = match show {
            Show::UpToSpan => column + width,
            // In a line of a list the first `=` may stand within the value.
            Show::Line if secret => match line.chars().enumerate().find(|it| "=\"'".contains(it.1)) {
                Some((equals, '=')) => equals + 1,
                Some((quote, _)) => quote,
                None => 0,
            },
            Show::Line => usize::MAX,
        };
        let start = column.saturating_sub(SHOWN_CHARACTERS_MAX / 2);
        let all: Vec<char> = line.chars().take(end).skip(start).collect();
        let cut = all.len() > SHOWN_CHARACTERS_MAX || line.chars().count() > end;
        // Control characters would reach the terminal as commands.
        let mut shown: String =
            all.iter().take(SHOWN_CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { *c }).collect();
        let count = shown.chars().count();
        if cut {
            shown.push_str(" …");
        }
        let skip = (column - start).min(count);
        Some(Snippet { line: shown, skip, carets: width.clamp(1, (count - skip).max(1)) })
    }
}

fn is_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    let has_query = line.split_once('?').is_some_and(|(before, query)| before.contains("://") || query.contains('='));
    SECRET_WORDS.iter().any(|word| lower.contains(word)) || line.contains('@') || has_query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, needle: &str, show: Show) -> String {
        let start = text.find(needle).expect("the needle is in the text");
        let text = Text { file: Path::new("a.toml"), text };
        let span = start..start + needle.len();
        text.problem(span, "key", "is wrong".to_owned(), "do better".to_owned(), show).to_string()
    }

    #[test]
    fn the_caret_stands_under_the_place_also_behind_wide_letters() {
        let text = shown("a = 1\nß = \"x\"\n", "\"x\"", Show::Line);
        assert_eq!(text, "a.toml:2:5: key: is wrong\n 2 | ß = \"x\"\n   |     ^^^\n   = do better");
    }

    #[test]
    fn the_value_of_an_unknown_key_and_of_a_secret_is_not_shown() {
        assert!(!shown("pw = \"hunter2\"", "pw", Show::UpToSpan).contains("hunter2"));
        assert!(!shown("sasl_password = \"hunter2\"", "\"hunter2\"", Show::Line).contains("hunter2"));
        assert!(!shown("\"hunter2\" # password", "\"hunter2\"", Show::Line).contains("hunter2"));
        assert!(!shown("urls = [\"https://u:hunter2@r\", \"x\"]", "\"x\"", Show::Line).contains("hunter2"));
        assert!(!shown("  \"https://u:hunter2@r\",", "\"https", Show::Line).contains("hunter2"));
    }

    #[test]
    fn long_lines_and_control_characters_do_not_reach_the_terminal() {
        let long = format!("{} needle {}\u{1b}[31m", "x".repeat(5_000), "y".repeat(5_000));
        let text = shown(&long, "needle", Show::Line);
        assert!(text.contains("needle") && text.len() < 500, "{text}");
        assert!(!shown("a\u{1b}[31m = 1", "= 1", Show::Line).contains('\u{1b}'));
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_span_panics(text in "\\PC{0,40}(\n\\PC{0,300})?", a in 0_usize..400, b in 0_usize..400) {
            let source = Text { file: Path::new("a.toml"), text: &text };
            let _ = source.problem(a..b, "key", String::new(), String::new(), Show::Line).to_string();
            let _ = source.problem(a.min(b)..a.max(b), "key", String::new(), String::new(), Show::UpToSpan).to_string();
        }
    }
}
