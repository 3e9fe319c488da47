//! What stands behind the `?` of a request.

/// Names and values.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// None: it is missing, or empty, as an input that nobody filled in is sent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|it| it.0 == name).map(|it| it.1.as_str()).filter(|it| !it.is_empty())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name}: this is no number that can be meant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_as_browsers_write_it() {
        let query = Query::parse(Some("topic=a%2Fb+c&offset=12&count=&time=x"));
        assert_eq!(query.text("topic"), Some("a/b c"));
        assert_eq!(query.number::<i64>("offset"), Ok(Some(12)));
        assert_eq!(query.number::<i64>("count"), Ok(None));
        assert_eq!(query.text("none"), None);
        assert!(query.number::<i64>("time").is_err());
        assert_eq!(Query::parse(None).text(""), None);
    }
}
