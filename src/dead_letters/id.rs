//! How a dead letter is named: by its place in the dead letters' topic.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Written `<partition>-<offset>`, as `3-1200`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: an id is <partition>-<offset>, as 3-1200. `kafka-bridge dead-letters list` has those that there are")]
pub struct NoLetterId(String);

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = NoLetterId;

    fn from_str(text: &str) -> Result<Self, NoLetterId> {
        let of = || {
            let (partition, offset) = text.split_once('-')?;
            let partition = partition.parse().ok().filter(|it| *it >= 0)?;
            let offset = offset.parse().ok().filter(|it| (0..i64::MAX).contains(it))?;
            Some(Self { partition, offset })
        };
        of().ok_or_else(|| NoLetterId(text.to_owned()))
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = LetterId { partition: 3, offset: 1_200 };
        assert_eq!((id.to_string().as_str(), "3-1200".parse()), ("3-1200", Ok(id)));
        for wrong in ["", "3", "3-", "-3", "3--1", "-3-1", "x-1", "3-1-1", "3-9223372036854775807"] {
            assert!(wrong.parse::<LetterId>().is_err(), "{wrong}");
        }
    }
}
