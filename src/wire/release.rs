//! Which release of Kafka a broker is, as far as its versions show. For people alone: nothing is decided by it.

use super::versions::Versions;

/// What a release was the first to have.
enum Sign {
    /// An API in this version.
    Api(i16, i16),
    /// A level of `metadata.version`; brokers with ZooKeeper have none.
    Level(i16),
}
use Sign::{Api, Level};

/// Newest first; one sign is enough. From `validVersions` in each release's `*Request.json` and from its `MetadataVersion`.
const RELEASES: [(&str, &[Sign]); 20] = [
    ("4.4", &[Api(28, 6)]),
    ("4.3", &[Level(30)]),
    ("4.2", &[Level(28)]),
    ("4.1", &[Api(0, 13)]),
    ("4.0", &[Api(0, 12)]),
    ("3.9", &[Api(1, 17)]),
    ("3.8", &[Api(0, 11)]),
    ("3.7", &[Api(0, 10)]),
    ("3.6", &[Api(24, 4)]),
    ("3.5", &[Api(1, 15)]),
    ("3.4", &[Api(4, 7), Level(8)]),
    ("3.3", &[Api(29, 3)]),
    ("3.2", &[Api(11, 9)]),
    ("3.1", &[Api(3, 12)]),
    ("3.0", &[Api(10, 4)]),
    ("2.8", &[Api(3, 11)]),
    ("2.7", &[Api(1, 12)]),
    ("2.6", &[Api(32, 3)]),
    ("2.5", &[Api(28, 3)]),
    ("2.4", &[Api(3, 9)]),
];

/// None: older than all that are known here.
pub fn release(versions: &Versions) -> Option<&'static str> {
    let has = |sign: &Sign| match sign {
        Api(key, version) => versions.apis.get(key).is_some_and(|(_, last)| last >= version),
        Level(level) => versions.supported_features.get("metadata.version").is_some_and(|it| it >= level),
    };
    RELEASES.iter().find(|(_, signs)| signs.iter().any(has)).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sign_counts() {
        let mut versions = Versions::default();
        assert_eq!(release(&versions), None);
        versions.apis.extend([(0, (0, 9)), (1, (0, 15)), (3, (0, 12)), (24, (0, 3)), (29, (0, 3))]);
        assert_eq!(release(&versions), Some("3.5"));
        versions.apis.insert(0, (3, 13));
        assert_eq!(release(&versions), Some("4.1"));
        versions.supported_features.insert("metadata.version".to_owned(), 30);
        assert_eq!(release(&versions), Some("4.3"));
    }
}
