//! `[console]`: where health, metrics and the console are served.

use super::endpoint::{HostPort, HostPortError};
use super::reader::{Reader, Section};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    pub listen: HostPort,
    /// Names that requests may be meant for, besides that of `listen` and those of loopback.
    pub hosts: Vec<String>,
    pub allow_public: bool,
    /// Keys, values and headers of records may be shown.
    pub records: bool,
}

impl Console {
    /// None: nothing is served.
    pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_>) -> Option<Self> {
        let section = reader.section(root, "console");
        reader.refuse_unknown(&section);
        let hosts: Vec<_> = reader.strings(&section, "hosts").into_iter().flatten().collect();
        let allow_public = reader.flag(&section, "allow_public").unwrap_or(false);
        let records = reader.flag(&section, "records").unwrap_or(false);
        let value = reader.string(&section, "listen")?;
        let listen: HostPort = match value.text.parse() {
            Ok(listen) => listen,
            Err(error) => {
                let error: HostPortError = error;
                reader.wrong(&value, error, "write `host:port`, as \"127.0.0.1:8080\"");
                return None;
            }
        };
        if !allow_public && !is_loopback(&listen.host) {
            let what = "can be reached from other hosts, and nobody has to log in there";
            let remedy = "listen on 127.0.0.1 behind a proxy that asks for a login; or write `allow_public = true`";
            reader.wrong(&value, what, remedy);
        }
        for host in hosts.iter().filter(|it| it.text.is_empty() || it.text.contains(['/', ' ', '@'])) {
            reader.wrong(
                host,
                "is no name of a host",
                "write it as it stands in the browser's address, without `https://`",
            );
        }
        Some(Self { listen, hosts: hosts.into_iter().map(|it| it.text).collect(), allow_public, records })
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}
