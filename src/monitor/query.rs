//! What stands behind the `?` of a request.

/// Names and values, decoded; those that are no UTF-8 are left out.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        Self(pairs.collect())
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

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |it: Option<u8>| char::from(it?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_as_browsers_write_it() {
        let query = Query::parse(Some("topic=a%2Fb+c&offset=12&count=&bad=%zz&half=%4&time=x"));
        assert_eq!(query.text("topic"), Some("a/b c"));
        assert_eq!(query.number::<i64>("offset"), Ok(Some(12)));
        assert_eq!(query.number::<i64>("count"), Ok(None));
        assert_eq!((query.text("bad"), query.text("half"), query.text("none")), (None, None, None));
        assert!(query.number::<i64>("time").is_err());
        assert_eq!(Query::parse(None).text(""), None);
    }
}
