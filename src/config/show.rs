//! The config as it takes effect, defaults included. A secret stands in it as [`NOT_SHOWN`]; keys are named by file, never read
//! here.

use std::fmt;

use super::{
    Config, Console, EndConfig, Framing, LogAppendTime, LogFormat, OnInvalid, OnRegistryDown, OnUnknownSchema,
    ProtocolChoice, RegistryConfig, RegistryCredentials, Rename, SchemaIds, SchemaSource, Sharing, TlsFiles, TopicRule,
    Validation,
};
use std::path::Path;

/// In the place of a password or token.
pub(super) const NOT_SHOWN: &str = "(not shown)";

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "link = {:?}", self.link.as_str())?;
        end(f, "source", &self.source, None)?;
        end(f, "target", &self.target.end, self.target.replication_factor)?;
        for rule in &self.topics {
            topics(f, rule)?;
        }
        let delivery = &self.delivery;
        writeln!(f, "\n[delivery]")?;
        writeln!(f, "lanes = {}", delivery.lanes)?;
        writeln!(f, "commit_interval_ms = {}", delivery.commit_interval.as_millis())?;
        writeln!(f, "transaction_bytes_max = {}", delivery.transaction_bytes_max)?;
        writeln!(f, "transaction_timeout_ms = {}", delivery.transaction_timeout_ms)?;
        writeln!(f, "request_timeout_ms = {}", delivery.request_timeout.as_millis())?;
        writeln!(f, "memory_bytes_max = {}", delivery.memory_bytes_max)?;
        writeln!(f, "drain_timeout_ms = {}", delivery.drain_timeout.as_millis())?;
        let protocol = match delivery.transaction_protocol {
            ProtocolChoice::Auto => "auto",
            ProtocolChoice::V1 => "v1",
        };
        writeln!(f, "transaction_protocol = {protocol:?}")?;
        let time = match delivery.log_append_time {
            LogAppendTime::Keep => "keep",
            LogAppendTime::CreateTime => "create_time",
        };
        writeln!(f, "log_append_time = {time:?}")?;
        writeln!(f, "accept_weak = {:?}", delivery.accept_weak.iter().map(|weak| weak.name()).collect::<Vec<_>>())?;
        if let Some(topic) = &delivery.dead_letter_topic {
            writeln!(f, "dead_letter_topic = {topic:?}")?;
        }
        let sharing = match delivery.sharing {
            Sharing::Off => "off",
            Sharing::Group => "group",
        };
        writeln!(f, "sharing = {sharing:?}")?;
        if let Some(id) = &delivery.instance_id {
            writeln!(f, "instance_id = {}", quoted(id))?;
        }
        writeln!(f, "session_timeout_ms = {}", delivery.session_timeout.as_millis())?;
        let format = match self.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        writeln!(f, "\n[log]\nformat = {format:?}\nlevel = {:?}", self.log.level.as_str())?;
        if let Some(Console { listen, hosts, allow_public, records }) = &self.console {
            let hosts: Vec<_> = hosts.iter().map(|it| quoted(it)).collect();
            writeln!(f, "\n[console]\nlisten = \"{listen}\"\nhosts = [{}]", hosts.join(", "))?;
            writeln!(f, "allow_public = {allow_public}\nrecords = {records}")?;
        }
        Ok(())
    }
}

fn end(f: &mut fmt::Formatter<'_>, name: &str, end: &EndConfig, replication_factor: Option<i16>) -> fmt::Result {
    let servers: Vec<String> = end.bootstrap_servers.iter().map(ToString::to_string).collect();
    writeln!(f, "\n[{name}]\nbootstrap_servers = {servers:?}\nclient_id = {}", quoted(&end.client_id))?;
    if let Some(factor) = replication_factor {
        writeln!(f, "replication_factor = {factor}")?;
    }
    tls(f, name, end.tls.as_ref())?;
    end.registry.as_ref().map_or(Ok(()), |it| registry(f, name, it))
}

fn registry(f: &mut fmt::Formatter<'_>, end: &str, registry: &RegistryConfig) -> fmt::Result {
    let urls: Vec<String> = registry.urls.iter().map(|it| quoted(&it.to_string())).collect();
    writeln!(f, "[{end}.registry]\nurls = [{}]", urls.join(", "))?;
    match &registry.credentials {
        None => {}
        Some(RegistryCredentials::Basic { username, .. }) => {
            writeln!(f, "username = {}\npassword = {NOT_SHOWN:?}", quoted(username))?;
        }
        Some(RegistryCredentials::Bearer { .. }) => writeln!(f, "token = {NOT_SHOWN:?}")?,
    }
    tls(f, &format!("{end}.registry"), registry.tls.as_ref())
}

fn tls(f: &mut fmt::Formatter<'_>, name: &str, files: Option<&TlsFiles>) -> fmt::Result {
    let Some(tls) = files else { return Ok(()) };
    writeln!(f, "[{name}.tls]\nca_file = {}", quoted(&tls.ca_file.to_string_lossy()))?;
    if let Some(client) = &tls.client {
        writeln!(f, "cert_file = {}", quoted(&client.cert_file.to_string_lossy()))?;
        writeln!(f, "key_file = {}", quoted(&client.key_file.to_string_lossy()))?;
    }
    Ok(())
}

fn topics(f: &mut fmt::Formatter<'_>, rule: &TopicRule) -> fmt::Result {
    let list = |patterns: &[super::Pattern]| patterns.iter().map(|p| quoted(p.as_str())).collect::<Vec<_>>().join(", ");
    writeln!(f, "\n[[topics]]\ninclude = [{}]\nexclude = [{}]", list(&rule.include), list(&rule.exclude))?;
    match &rule.rename {
        Rename::Around { prefix, suffix } => writeln!(f, "rename = \"{prefix}{{topic}}{suffix}\"")?,
        Rename::Fixed(name) => writeln!(f, "rename = {name:?}")?,
        Rename::Map(names) => {
            let pairs: Vec<String> = names.iter().map(|(old, new)| format!("{old:?} = {new:?}")).collect();
            writeln!(f, "rename = {{ {} }}", pairs.join(", "))?;
        }
    }
    writeln!(f, "start = \"{}\"", rule.start)?;
    rule.validation.as_ref().map_or(Ok(()), |it| validation(f, it))
}

fn validation(f: &mut fmt::Formatter<'_>, it: &Validation) -> fmt::Result {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    for (key, source) in [("key_schema", &it.key), ("value_schema", &it.value)] {
        match source {
            None => {}
            Some(SchemaSource::File(file)) => writeln!(f, "{key} = {}", path(file))?,
            Some(SchemaSource::Registry { subject: None }) => writeln!(f, "{key} = \"registry\"")?,
            Some(SchemaSource::Registry { subject: Some(subject) }) => {
                writeln!(f, "{key} = {}", quoted(&format!("registry:{subject}")))?;
            }
        }
    }
    let framing = match it.framing {
        None => None,
        Some(Framing::Confluent) => Some("confluent"),
        Some(Framing::SingleObject) => Some("single_object"),
        Some(Framing::Raw) => Some("raw"),
    };
    framing.map_or(Ok(()), |it| writeln!(f, "framing = {it:?}"))?;
    if !it.references.is_empty() {
        writeln!(f, "references = [{}]", it.references.iter().map(|it| path(it)).collect::<Vec<_>>().join(", "))?;
    }
    it.compatible_with.as_ref().map_or(Ok(()), |it| writeln!(f, "compatible_with = {}", path(it)))?;
    let on_invalid = if it.on_invalid == OnInvalid::Stop { "stop" } else { "dead_letter" };
    writeln!(f, "on_invalid = {on_invalid:?}")?;
    let on_unknown = it.on_unknown_schema.map(|it| match it {
        OnUnknownSchema::DeadLetter => "dead_letter",
        OnUnknownSchema::Stop => "stop",
        OnUnknownSchema::Wait => "wait",
        OnUnknownSchema::PassUnchecked => "pass_unchecked",
    });
    on_unknown.map_or(Ok(()), |it| writeln!(f, "on_unknown_schema = {it:?}"))?;
    if it.uses_registry() {
        let on_down = if it.on_registry_down == OnRegistryDown::Wait { "wait" } else { "pass_unchecked" };
        let ids = if it.schema_ids == SchemaIds::Keep { "keep" } else { "map" };
        writeln!(f, "on_registry_down = {on_down:?}\nschema_ids = {ids:?}")?;
    }
    for rule in &it.rules {
        writeln!(f, "[[topics.rules]]\nfield = {}", quoted(&rule.field))?;
        if rule.required {
            writeln!(f, "required = true")?;
        }
        // With a point: as a whole number it could be beyond TOML's.
        rule.min.map_or(Ok(()), |it| writeln!(f, "min = {:?}", it.0))?;
        rule.max.map_or(Ok(()), |it| writeln!(f, "max = {:?}", it.0))?;
        if !rule.one_of.is_empty() {
            let words: Vec<String> = rule.one_of.iter().map(|it| quoted(it)).collect();
            writeln!(f, "one_of = [{}]", words.join(", "))?;
        }
        rule.max_length.map_or(Ok(()), |it| writeln!(f, "max_length = {it}"))?;
    }
    Ok(())
}

/// A TOML string that reads back as the same text, `${` included.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}
