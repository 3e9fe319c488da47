//! The schema registry of one end: where it is, and how to speak to it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

use super::HostPort;
use super::endpoint::{TlsFiles, tls_files};
use super::reader::{Reader, Section, Value};
use super::secret::Secret;

/// A registry is run as a handful of equal nodes; a longer list is a mistake.
const URLS_MAX: usize = 16;

/// The address of a registry, or of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryUrl {
    pub is_tls: bool,
    pub address: HostPort,
    /// What stands before `/subjects`: empty, or with a slash in front and none behind, as `/apis/ccompat/v7`.
    pub prefix: String,
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.address, self.prefix)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegistryUrlError {
    #[error("holds a user name or password")]
    Credentials,
    #[error("does not begin with https:// or http://")]
    Protocol,
    #[error("has no usable host name")]
    Host,
    #[error("has no port from 1 to 65535 behind the colon")]
    PortNumber,
    #[error("has something behind the path")]
    Query,
    #[error("has something in its path that no path holds")]
    Path,
}

impl RegistryUrlError {
    fn remedy(self) -> &'static str {
        match self {
            Self::Credentials => {
                "take it out of the url, and set `username` and `password = \"${NAME}\"`: urls end in logs, those two do not"
            }
            Self::Protocol | Self::Host | Self::PortNumber => "write it as `https://registry.example:8081`",
            Self::Query => "take out what begins at `?` or `#`",
            Self::Path => {
                "write the path in letters, digits, `-._~` and %-escapes, as `https://registry.example/apis/ccompat/v7`"
            }
        }
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, RegistryUrlError> {
        let text = text.trim();
        // First: no later error may come to repeat a password, or a key in a query.
        if text.contains('@') {
            return Err(RegistryUrlError::Credentials);
        }
        if text.contains(['?', '#']) {
            return Err(RegistryUrlError::Query);
        }
        let (protocol, rest) = text.split_once("://").ok_or(RegistryUrlError::Protocol)?;
        let is_tls = match protocol.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(RegistryUrlError::Protocol),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let has_port =
            authority.rsplit_once(':').is_some_and(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
        let with_port = match (has_port, is_tls) {
            (true, _) => authority.to_owned(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        };
        let address = with_port.parse().map_err(|error| match error {
            super::HostPortError::PortNumber => RegistryUrlError::PortNumber,
            _ => RegistryUrlError::Host,
        })?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
        if !path.chars().all(is_plain) {
            return Err(RegistryUrlError::Path);
        }
        Ok(Self { is_tls, address, prefix: path.trim_end_matches('/').to_owned() })
    }
}

/// How the registry knows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryCredentials {
    /// HTTP Basic (RFC 7617).
    Basic { username: String, password: Secret },
    /// A bearer token (RFC 6750).
    Bearer { token: Secret },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Equal nodes of one registry, tried in turn; never empty.
    pub urls: Vec<RegistryUrl>,
    pub credentials: Option<RegistryCredentials>,
    /// Stands where the urls are https, and only there.
    pub tls: Option<TlsFiles>,
}

impl RegistryConfig {
    /// Reads `[source.registry]` or `[target.registry]`; None: there is no such table, or it is wrong.
    pub(super) fn read(reader: &mut Reader<'_>, end: &Section<'_>, folder: &Path) -> Option<Self> {
        let section = reader.section(end, "registry");
        section.table?;
        reader.refuse_unknown(&section);
        let problems = reader.problems.len();
        let urls = urls(reader, &section);
        let credentials = credentials(reader, &section);
        let table = reader.section(&section, "tls");
        reader.refuse_unknown(&table);
        let tls = match table.table {
            None => None,
            Some(_) => tls_files(reader, &table, folder, "the registry's certificate"),
        };
        if reader.problems.len() > problems {
            return None;
        }
        for (url, value) in &urls {
            match (url.is_tls, table.table.is_some()) {
                (true, false) => {
                    let remedy = format!(
                        "add `[{}.tls]` with the ca_file that signed the registry's certificate: no other CA is trusted",
                        section.path
                    );
                    reader.wrong(value, "is https, and there is no tls table", remedy);
                }
                (false, true) => {
                    reader.wrong(
                        value,
                        "is not https, though there is a tls table",
                        "write https://, or take the table out",
                    );
                }
                _ => {}
            }
        }
        let urls = urls.into_iter().map(|(url, _)| url).collect();
        (reader.problems.len() == problems).then_some(Self { urls, credentials, tls })
    }
}

/// Empty only where a problem was told.
fn urls(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<(RegistryUrl, Value)> {
    const KEY: &str = "urls";
    const REMEDY: &str = "add at least one address: `urls = [\"https://registry.example:8081\"]`";
    let problems = reader.problems.len();
    let Some(values) = reader.strings(section, KEY) else {
        if reader.problems.len() == problems {
            reader.missing(section, KEY, REMEDY);
        }
        return Vec::new();
    };
    let span = section.table.and_then(|table| table.get(KEY)).map_or(section.span.clone(), |value| value.span());
    let key = format!("{}.{KEY}", section.path);
    if values.is_empty() && reader.problems.len() == problems {
        reader.problem(&span, &key, "is empty", REMEDY);
    }
    if values.len() > URLS_MAX {
        reader.problem(&span, &key, format_args!("has more than {URLS_MAX} entries"), "name the nodes of one registry");
    }
    let mut urls = Vec::new();
    for value in values {
        match value.text.parse::<RegistryUrl>() {
            Ok(url) => urls.push((url, value)),
            // Without the value: a password or a key is in it.
            Err(error @ (RegistryUrlError::Credentials | RegistryUrlError::Query)) => {
                reader.problem(&value.span, &value.key, error, error.remedy());
            }
            Err(error) => reader.wrong(&value, error, error.remedy()),
        }
    }
    urls
}

fn credentials(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<RegistryCredentials> {
    let problems = reader.problems.len();
    let (username, password) = (reader.string(section, "username"), reader.string(section, "password"));
    let token = reader.string(section, "token");
    if reader.problems.len() > problems {
        return None;
    }
    // They become a header: a line break in one would begin another header.
    for value in [&username, &password, &token].into_iter().flatten() {
        if value.text.chars().any(char::is_control) {
            reader.problem(
                &value.span,
                &value.key,
                "holds a control character",
                "take it out: often it is a line break at the end",
            );
        }
    }
    if let (Some(token), Some(_)) = (&token, username.as_ref().or(password.as_ref())) {
        let remedy = "take either the token out, or username and password";
        reader.problem(&token.span, &token.key, "stands beside username or password", remedy);
    }
    if let Some(username) = username.as_ref().filter(|it| it.text.contains(':')) {
        // Without the value: who writes `name:password` has a password in it.
        let remedy =
            "HTTP Basic ends the name at the first colon: take a name without, and write the password as `password`";
        reader.problem(&username.span, &username.key, "has a colon", remedy);
    }
    match (username, password, token) {
        (None, None, None) => None,
        (Some(username), Some(password), _) => {
            Some(RegistryCredentials::Basic { username: username.text, password: Secret::new(password.text) })
        }
        (Some(_), None, _) => {
            reader.missing(section, "password", "add `password = \"${NAME}\"`, or take username out");
            None
        }
        (None, Some(_), _) => {
            reader.missing(section, "username", "add the name that the password belongs to, or take password out");
            None
        }
        (None, None, Some(token)) => Some(RegistryCredentials::Bearer { token: Secret::new(token.text) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (good, shown) in [
            ("https://registry:8081", "https://registry:8081"),
            ("http://registry", "http://registry:80"),
            ("HTTPS://registry/", "https://registry:443"),
            ("https://[::1]:8081/a/b/", "https://[::1]:8081/a/b"),
            ("https://[::1]", "https://[::1]:443"),
            ("http://10.0.0.1:8080/apis/ccompat/v7", "http://10.0.0.1:8080/apis/ccompat/v7"),
        ] {
            let url: RegistryUrl = good.parse().expect(good);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        for (bad, why) in [
            ("registry:8081", RegistryUrlError::Protocol),
            ("ftp://registry", RegistryUrlError::Protocol),
            ("https://", RegistryUrlError::Host),
            ("https://a b", RegistryUrlError::Host),
            ("https://registry:", RegistryUrlError::PortNumber),
            ("https://registry:70000", RegistryUrlError::PortNumber),
            ("https://u:p@registry", RegistryUrlError::Credentials),
            ("u:p@registry", RegistryUrlError::Credentials),
            ("https://registry/a?b", RegistryUrlError::Query),
            ("ftp://registry?b", RegistryUrlError::Query),
            ("registry#b", RegistryUrlError::Query),
            ("https://registry/a b", RegistryUrlError::Path),
            ("https://registry/\r\nHost: x", RegistryUrlError::Path),
        ] {
            assert_eq!(bad.parse::<RegistryUrl>(), Err(why), "{bad}");
        }
    }
}
