//! Every key of the config file, and the known key nearest to an unknown one.

/// All keys by their full path; list positions are left out. The README's reference is tested against this list.
pub const KEYS: &[&str] = &[
    "link",
    "source",
    "source.bootstrap_servers",
    "source.client_id",
    "source.tls",
    "source.tls.ca_file",
    "source.tls.cert_file",
    "source.tls.key_file",
    "source.registry",
    "source.registry.urls",
    "source.registry.username",
    "source.registry.password",
    "source.registry.token",
    "source.registry.tls",
    "source.registry.tls.ca_file",
    "source.registry.tls.cert_file",
    "source.registry.tls.key_file",
    "target",
    "target.bootstrap_servers",
    "target.client_id",
    "target.replication_factor",
    "target.tls",
    "target.tls.ca_file",
    "target.tls.cert_file",
    "target.tls.key_file",
    "target.registry",
    "target.registry.urls",
    "target.registry.username",
    "target.registry.password",
    "target.registry.token",
    "target.registry.tls",
    "target.registry.tls.ca_file",
    "target.registry.tls.cert_file",
    "target.registry.tls.key_file",
    "topics",
    "topics.include",
    "topics.exclude",
    "topics.rename",
    "topics.start",
    "topics.value_schema",
    "topics.key_schema",
    "topics.framing",
    "topics.references",
    "topics.compatible_with",
    "topics.on_invalid",
    "topics.on_unknown_schema",
    "topics.on_registry_down",
    "topics.schema_ids",
    "topics.rules",
    "topics.rules.field",
    "topics.rules.required",
    "topics.rules.min",
    "topics.rules.max",
    "topics.rules.one_of",
    "topics.rules.max_length",
    "delivery",
    "delivery.lanes",
    "delivery.commit_interval_ms",
    "delivery.transaction_bytes_max",
    "delivery.transaction_timeout_ms",
    "delivery.request_timeout_ms",
    "delivery.memory_bytes_max",
    "delivery.drain_timeout_ms",
    "delivery.transaction_protocol",
    "delivery.log_append_time",
    "delivery.accept_weak",
    "delivery.dead_letter_topic",
    "delivery.sharing",
    "delivery.instance_id",
    "delivery.session_timeout_ms",
    "log",
    "log.format",
    "log.level",
    "console",
    "console.listen",
    "console.hosts",
    "console.allow_public",
    "console.records",
];

/// What to do about `key`, which the table `section` (list positions left out, empty at the top) does not know.
pub(super) fn remedy(section: &str, key: &str) -> String {
    if let Some(near) = nearest(key, of(section)) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = |wanted: &str| KEYS.iter().copied().find(|known| known.contains('.') && leaf(known) == wanted);
    if let Some((table, leaf)) = elsewhere(key).and_then(|known| known.rsplit_once('.')) {
        let is_list = table.starts_with("topics");
        let brackets = if is_list { format!("[[{table}]]") } else { format!("[{table}]") };
        return format!("`{leaf}` belongs into {brackets}");
    }
    format!("known keys here: {}", of(section).collect::<Vec<_>>().join(", "))
}

/// The candidate that a typing mistake in `word` most likely meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .map(|candidate| {
            // Kafka's own `bootstrap.servers` arrives as a table `bootstrap`.
            let begins = word.len() >= 4 && candidate.starts_with(&word);
            (if begins { 1 } else { strsim::damerau_levenshtein(&word, candidate) }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn of(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().copied().filter(move |known| known.rsplit_once('.').map_or("", |(table, _)| table) == section).map(leaf)
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

pub(super) fn is_known(section: &str, key: &str) -> bool {
    of(section).any(|known| known == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_key() {
        assert_eq!(remedy("delivery", "comit_interval_ms"), "did you mean `commit_interval_ms`?");
        assert_eq!(remedy("delivery", "commit-interval-ms"), "did you mean `commit_interval_ms`?");
        assert_eq!(remedy("source", "bootstrap"), "did you mean `bootstrap_servers`?");
        assert_eq!(remedy("", "Sorce"), "did you mean `source`?");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_sent_home() {
        assert_eq!(remedy("", "lanes"), "`lanes` belongs into [delivery]");
        assert_eq!(remedy("source", "include"), "`include` belongs into [[topics]]");
    }

    #[test]
    fn a_foreign_key_gets_the_list() {
        assert_eq!(remedy("log", "xyzzy"), "known keys here: format, level");
    }
}
