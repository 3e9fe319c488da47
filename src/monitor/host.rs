//! Whom a request is meant for. A page on the network that names its own host but resolves to this address could otherwise read
//! the console through its visitor's browser (DNS rebinding).

/// Whether the Host header names one of these, whatever the port.
pub(super) fn is_known(header: Option<&str>, hosts: &[String]) -> bool {
    let Some(name) = header.map(without_port) else { return false };
    hosts.iter().any(|it| without_port(it).eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    let host = host.trim();
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        // An IPv6 address without brackets has several.
        Some((name, port)) if !name.contains(':') && port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_are_named() {
        let hosts =
            ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), "console.example.org".to_owned()];
        for known in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "console.example.org"] {
            assert!(is_known(Some(known), &hosts), "{known}");
        }
        for unknown in ["evil.example.org", "localhost.evil.example.org", "", "localhost:8080@evil", "localhost:x"] {
            assert!(!is_known(Some(unknown), &hosts), "{unknown}");
        }
        assert!(!is_known(None, &hosts));
    }
}
