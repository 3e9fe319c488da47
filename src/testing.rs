//! What the tests of all layers share.

use bytes::Bytes;
use proptest::test_runner::{Config, FileFailurePersistence};

/// So many cases that all properties together take seconds; `PROPTEST_CASES` says another number. Seeds that ever failed are
/// kept with the other proofs, and run first.
pub(crate) fn config(default: u32) -> Config {
    Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(default),
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel("protocol-tests/regressions"))),
        ..Config::default()
    }
}

/// A message that Java wrote, with its header (`protocol-tests/golden/README.md`).
pub(crate) struct Golden {
    pub(crate) key: i16,
    pub(crate) is_request: bool,
    pub(crate) version: i16,
    pub(crate) frame: Bytes,
}

pub(crate) fn golden() -> Vec<Golden> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/golden/messages");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        // The file's first line is a request, and requests begin with their API's key.
        let mut key = None;
        for line in std::fs::read_to_string(file).unwrap().lines().filter(|it| !it.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            let byte = |at: usize| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap();
            let frame: Vec<_> = (0..words[3].len()).step_by(2).map(byte).collect();
            let key = *key.get_or_insert(i16::from_be_bytes([frame[0], frame[1]]));
            let version = words[1].parse().unwrap();
            all.push(Golden { key, is_request: words[0] == "request", version, frame: frame.into() });
        }
    }
    all
}
