//! `${NAME}` in a value is taken from the environment, so that secrets stay out of the file; `$${` stands for `${`.

use thiserror::Error;

/// Where names come from; a function, so that tests need not change the process's own environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SubstituteError {
    #[error("the environment variable {0} is not set")]
    Missing(String),
    #[error("`${{` without a name and `}}` behind it")]
    Malformed,
}

impl SubstituteError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Missing(name) => {
                format!("set {name} (as UTF-8) before the start, or write `$${{` for a literal `${{`")
            }
            Self::Malformed => "write `${NAME}` with letters, digits and `_`, or `$${` for a literal `${`".to_owned(),
        }
    }
}

/// The names in one value; a `$` alone stays, as regular expressions need it.
pub(super) fn substitute(raw: &str, environment: Environment<'_>) -> Result<String, SubstituteError> {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            value.push_str(before);
            value.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        value.push_str(&rest[..at]);
        let (name, behind) = rest[at + 2..].split_once('}').ok_or(SubstituteError::Malformed)?;
        let mut letters = name.chars();
        let starts = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(SubstituteError::Malformed);
        }
        // What comes in is not looked at again: a value from the environment cannot name another one.
        value.push_str(&environment(name).ok_or_else(|| SubstituteError::Missing(name.to_owned()))?);
        rest = behind;
    }
    value.push_str(rest);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOST").then(|| "kafka-${HOST}".to_owned())
    }

    #[test]
    fn names_are_replaced_once() {
        assert_eq!(
            substitute("a ${HOST}:9092 ${HOST}", &environment).as_deref(),
            Ok("a kafka-${HOST}:9092 kafka-${HOST}")
        );
        assert_eq!(substitute("plain $ and ^x$", &environment).as_deref(), Ok("plain $ and ^x$"));
    }

    #[test]
    fn a_doubled_dollar_escapes() {
        assert_eq!(substitute("$${HOST} ${HOST}", &environment).as_deref(), Ok("${HOST} kafka-${HOST}"));
        assert_eq!(substitute("$$", &environment).as_deref(), Ok("$$"));
    }

    #[test]
    fn a_missing_or_malformed_name_is_an_error() {
        assert_eq!(substitute("${NOPE}", &environment), Err(SubstituteError::Missing("NOPE".to_owned())));
        for malformed in ["${", "${}", "${HOST", "${1A}", "${A-B}", "${HOST:-x}"] {
            assert_eq!(substitute(malformed, &environment), Err(SubstituteError::Malformed), "{malformed}");
        }
    }
}
