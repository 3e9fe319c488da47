//! What a topic's configs say: the names that Kafka knows, their defaults, and the values the log works with.

use crate::batch::Compression;
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;

/// Every name of Kafka's LogConfig, with its default and its type. Those without a meaning here are kept and shown, because
/// tools copy a topic's configs whole.
const KNOWN: &[(&str, &str, Kind)] = &[
    ("cleanup.policy", "delete", Kind::List),
    ("compression.gzip.level", "-1", Kind::Int),
    ("compression.lz4.level", "9", Kind::Int),
    ("compression.type", "producer", Kind::Text),
    ("compression.zstd.level", "3", Kind::Int),
    ("delete.retention.ms", "86400000", Kind::Long),
    ("file.delete.delay.ms", "60000", Kind::Long),
    ("flush.messages", "9223372036854775807", Kind::Long),
    ("flush.ms", "9223372036854775807", Kind::Long),
    ("follower.replication.throttled.replicas", "", Kind::List),
    ("index.interval.bytes", "4096", Kind::Int),
    ("leader.replication.throttled.replicas", "", Kind::List),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Long),
    ("max.message.bytes", "1048588", Kind::Int),
    ("message.timestamp.after.max.ms", "3600000", Kind::Long),
    ("message.timestamp.before.max.ms", "9223372036854775807", Kind::Long),
    ("message.timestamp.type", "CreateTime", Kind::Text),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    ("min.compaction.lag.ms", "0", Kind::Long),
    ("min.insync.replicas", "1", Kind::Int),
    ("preallocate", "false", Kind::Boolean),
    ("retention.bytes", "-1", Kind::Long),
    ("retention.ms", "604800000", Kind::Long),
    ("segment.bytes", "1073741824", Kind::Int),
    ("segment.index.bytes", "10485760", Kind::Int),
    ("segment.jitter.ms", "0", Kind::Long),
    ("segment.ms", "604800000", Kind::Long),
    ("unclean.leader.election.enable", "false", Kind::Boolean),
];

/// With the numbers of DescribeConfigs' `config_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    pub(crate) compact: bool,
    pub(crate) delete: bool,
    /// None: as the producer packed it.
    pub(crate) compression: Option<Compression>,
    pub(crate) delete_retention_ms: i64,
    pub(crate) log_append_time: bool,
    pub(crate) max_message_bytes: usize,
    pub(crate) min_compaction_lag_ms: i64,
    pub(crate) min_insync_replicas: usize,
    /// −1: without limit.
    pub(crate) retention_bytes: i64,
    pub(crate) retention_ms: i64,
    pub(crate) segment_bytes: usize,
    pub(crate) segment_ms: i64,
    pub(crate) timestamp_after_max_ms: i64,
    pub(crate) timestamp_before_max_ms: i64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            compact: false,
            delete: true,
            compression: None,
            delete_retention_ms: 24 * HOUR_MS,
            log_append_time: false,
            max_message_bytes: 1_048_588,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 1,
            retention_bytes: -1,
            retention_ms: 7 * 24 * HOUR_MS,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * HOUR_MS,
            timestamp_after_max_ms: HOUR_MS,
            timestamp_before_max_ms: i64::MAX,
        }
    }
}

/// A config that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidConfig(pub(crate) String);

/// What was set on a topic, by name.
pub(crate) type Overrides = BTreeMap<String, String>;

impl TopicConfig {
    pub(crate) fn of(overrides: &Overrides) -> Result<Self, InvalidConfig> {
        let mut config = Self::default();
        for (name, value) in overrides {
            config.set(name, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidConfig> {
        let Some((_, _, kind)) = KNOWN.iter().find(|(known, _, _)| *known == name) else {
            return Err(InvalidConfig(format!("Unknown topic config name: {name}")));
        };
        let wrong = || InvalidConfig(format!("Invalid value {value} for configuration {name}"));
        let number = value.trim().parse::<i64>();
        match kind {
            Kind::Int => drop(value.trim().parse::<i32>().map_err(|_| wrong())?),
            Kind::Long => drop(number.as_ref().map_err(|_| wrong())?),
            Kind::Double => drop(value.trim().parse::<f64>().map_err(|_| wrong())?),
            Kind::Boolean => drop(value.parse::<bool>().map_err(|_| wrong())?),
            Kind::Text | Kind::List => {}
        }
        let number = number.unwrap_or(0);
        let size = |min: usize| usize::try_from(number).ok().filter(|it| *it >= min).ok_or_else(wrong);
        let at_least = |min: i64| if number >= min { Ok(number) } else { Err(wrong()) };
        match name {
            "cleanup.policy" => {
                (self.compact, self.delete) = (false, false);
                for policy in value.split(',').map(str::trim) {
                    match policy {
                        "compact" => self.compact = true,
                        "delete" => self.delete = true,
                        _ => return Err(wrong()),
                    }
                }
            }
            "compression.type" => {
                self.compression = match value {
                    "producer" => None,
                    "uncompressed" => Some(Compression::None),
                    "gzip" => Some(Compression::Gzip),
                    "snappy" => Some(Compression::Snappy),
                    "lz4" => Some(Compression::Lz4),
                    "zstd" => Some(Compression::Zstd),
                    _ => return Err(wrong()),
                }
            }
            "message.timestamp.type" => {
                self.log_append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(wrong()),
                }
            }
            "delete.retention.ms" => self.delete_retention_ms = at_least(0)?,
            "max.message.bytes" => self.max_message_bytes = size(0)?,
            "min.compaction.lag.ms" => self.min_compaction_lag_ms = at_least(0)?,
            "min.insync.replicas" => self.min_insync_replicas = size(1)?,
            "retention.bytes" => self.retention_bytes = number,
            "retention.ms" => self.retention_ms = at_least(-1)?,
            "segment.bytes" => self.segment_bytes = size(14)?,
            "segment.ms" => self.segment_ms = at_least(1)?,
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = at_least(0)?,
            "message.timestamp.before.max.ms" => self.timestamp_before_max_ms = at_least(0)?,
            _ => {}
        }
        Ok(())
    }
}

/// One line of a description.
pub(crate) struct Described<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: &'a str,
    pub(crate) kind: Kind,
    /// `DescribeConfigsResponse.ConfigSource`
    pub(crate) source: i8,
}

const DYNAMIC_TOPIC_CONFIG: i8 = 1;
pub(crate) const STATIC_BROKER_CONFIG: i8 = 4;
const DEFAULT_CONFIG: i8 = 5;

/// `defaults`: the cluster's own.
pub(crate) fn describe<'a>(overrides: &'a Overrides, defaults: &'a Overrides) -> impl Iterator<Item = Described<'a>> {
    KNOWN.iter().map(|(name, default, kind)| {
        let (value, source) = match (overrides.get(*name), defaults.get(*name)) {
            (Some(value), _) => (value.as_str(), DYNAMIC_TOPIC_CONFIG),
            (None, Some(value)) => (value.as_str(), STATIC_BROKER_CONFIG),
            (None, None) => (*default, DEFAULT_CONFIG),
        };
        Described { name, value, kind: *kind, source }
    })
}

pub(crate) fn default_of(name: &str) -> Option<(&'static str, Kind)> {
    KNOWN.iter().find(|(known, _, _)| *known == name).map(|(_, default, kind)| (*default, *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, value: &str) -> Result<TopicConfig, InvalidConfig> {
        TopicConfig::of(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn the_defaults_shown_are_the_defaults_used() {
        let shown = KNOWN.iter().map(|(name, value, _)| ((*name).to_owned(), (*value).to_owned()));
        let shown = shown.filter(|(_, value)| !value.is_empty()).collect();
        assert_eq!(TopicConfig::of(&shown), Ok(TopicConfig::default()));
    }

    #[test]
    fn values_are_read() {
        let both = config("cleanup.policy", "compact, delete").unwrap();
        assert!(both.compact && both.delete);
        assert_eq!(config("compression.type", "zstd").unwrap().compression, Some(Compression::Zstd));
        assert_eq!(config("retention.ms", "-1").unwrap().retention_ms, -1);
        assert!(config("message.timestamp.type", "LogAppendTime").unwrap().log_append_time);
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for (name, value) in [
            ("no.such.config", "1"),
            ("cleanup.policy", "keep"),
            ("retention.ms", "-2"),
            ("segment.bytes", "13"),
            ("min.insync.replicas", "0"),
            ("max.message.bytes", "much"),
            ("preallocate", "maybe"),
            ("compression.type", "brotli"),
        ] {
            assert!(config(name, value).is_err(), "{name}={value}");
        }
    }
}
