//! One end of the link: where its brokers are and how to speak to them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::reader::{Reader, Section};
use super::registry::RegistryConfig;

/// What the brokers see in their request logs and quotas unless the config says otherwise.
const CLIENT_ID_DEFAULT: &str = "kafka-bridge";

/// Brokers make metric names and quota entities from it; longer ones are a mistake.
const CLIENT_ID_LENGTH_MAX: usize = 249;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostPortError {
    #[error("has a protocol in front of the host")]
    Protocol,
    #[error("has no port")]
    Port,
    #[error("has no port from 1 to 65535 behind the colon")]
    PortNumber,
    #[error("has no usable host name")]
    Host,
    #[error("holds several addresses")]
    Several,
}

impl HostPortError {
    fn remedy(self) -> &'static str {
        match self {
            Self::Protocol => "write `host:port`; a [….tls] table makes the connection TLS",
            Self::Port | Self::PortNumber => "write `host:port`, as `kafka-1:9093`",
            Self::Host => "write `host:port`; an IPv6 address goes into brackets, as `[::1]:9093`",
            Self::Several => "give each address its own entry: `[\"a:9093\", \"b:9093\"]`",
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let text = text.trim();
        if text.contains("://") {
            return Err(HostPortError::Protocol);
        }
        if text.contains(',') {
            return Err(HostPortError::Several);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, behind) = rest.split_once(']').ok_or(HostPortError::Host)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| HostPortError::Host)?;
                (address, behind.strip_prefix(':').ok_or(HostPortError::Port)?)
            }
            None => text.rsplit_once(':').ok_or(HostPortError::Port)?,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !text.starts_with('[') && (host.is_empty() || !host.chars().all(plain)) {
            return Err(HostPortError::Host);
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(HostPortError::PortNumber),
        }
    }
}

/// PEM files; read by the TLS layer, never kept in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca_file: PathBuf,
    /// Certificate and key stand together or not at all: only mutual TLS needs them.
    pub client: Option<ClientFiles>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndConfig {
    pub bootstrap_servers: Vec<HostPort>,
    /// None is plaintext.
    pub tls: Option<TlsFiles>,
    pub client_id: String,
    /// None: the schemas of this end are not in a registry.
    pub registry: Option<RegistryConfig>,
}

impl EndConfig {
    /// Reads `[source]` or `[target]`; `folder` is what relative paths count from.
    pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, folder: &Path) -> Option<Self> {
        let bootstrap_servers = servers(reader, section);
        let client_id = match reader.string(section, "client_id") {
            None => CLIENT_ID_DEFAULT.to_owned(),
            Some(value) => {
                if value.text.len() > CLIENT_ID_LENGTH_MAX || value.text.chars().any(char::is_control) {
                    let remedy = format!("take at most {CLIENT_ID_LENGTH_MAX} bytes without control characters");
                    reader.wrong(&value, "is no client id", remedy);
                }
                value.text
            }
        };
        let tls = reader.section(section, "tls");
        reader.refuse_unknown(&tls);
        let registry = RegistryConfig::read(reader, section, folder);
        let tls = match tls.table {
            None => None,
            Some(_) => Some(tls_files(reader, &tls, folder, "the brokers' certificates")?),
        };
        Some(Self { bootstrap_servers: bootstrap_servers?, tls, client_id, registry })
    }
}

fn servers(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Vec<HostPort>> {
    const KEY: &str = "bootstrap_servers";
    const REMEDY: &str = "add at least one broker: `bootstrap_servers = [\"host:port\"]`";
    let problems = reader.problems.len();
    let Some(values) = reader.strings(section, KEY) else {
        if reader.problems.len() == problems {
            reader.missing(section, KEY, REMEDY);
        }
        return None;
    };
    if values.is_empty() && reader.problems.len() == problems {
        let span = section.table.and_then(|table| table.get(KEY)).map_or(section.span.clone(), |value| value.span());
        reader.problem(&span, &format!("{}.{KEY}", section.path), "is empty", REMEDY);
    }
    let mut servers = Vec::new();
    for value in &values {
        match value.text.parse() {
            Ok(server) => servers.push(server),
            Err(error) => {
                let error: HostPortError = error;
                reader.wrong(value, error, error.remedy());
            }
        }
    }
    (!servers.is_empty()).then_some(servers)
}

/// `signed`: what the CA has signed.
pub(super) fn tls_files(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    folder: &Path,
    signed: &str,
) -> Option<TlsFiles> {
    let problems = reader.problems.len();
    let mut file = |key: &str| reader.string(section, key).map(|value| folder.join(value.text));
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    if reader.problems.len() > problems {
        return None;
    }
    let client = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(ClientFiles { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            reader.missing(
                section,
                "key_file",
                "add the private key of cert_file, or take cert_file out (no mutual TLS)",
            );
            None
        }
        (None, Some(_)) => {
            reader.missing(
                section,
                "cert_file",
                "add the certificate of key_file, or take key_file out (no mutual TLS)",
            );
            None
        }
    };
    if ca_file.is_none() {
        reader.missing(section, "ca_file", &format!("add the CA that signed {signed}: `ca_file = \"ca.pem\"`"));
    }
    Some(TlsFiles { ca_file: ca_file?, client })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["kafka-1:9092", "10.0.0.1:1", "[::1]:65535", "my_host.svc.cluster.local:9093"] {
            assert_eq!(good.parse::<HostPort>().expect(good).to_string(), good);
        }
        for (bad, why) in [
            ("kafka", HostPortError::Port),
            ("kafka:", HostPortError::PortNumber),
            ("kafka:0", HostPortError::PortNumber),
            ("kafka:65536", HostPortError::PortNumber),
            ("SSL://kafka:9093", HostPortError::Protocol),
            ("a:1,b:2", HostPortError::Several),
            (":9092", HostPortError::Host),
            ("::1:9092", HostPortError::Host),
            ("[::1:9092", HostPortError::Host),
            ("[kafka]:9092", HostPortError::Host),
            ("[::1]9092", HostPortError::Port),
            ("ka fka:9092", HostPortError::Host),
        ] {
            assert_eq!(bad.parse::<HostPort>(), Err(why), "{bad}");
        }
    }
}
