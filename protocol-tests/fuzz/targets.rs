//! What can be fuzzed.

use kafka_bridge::batch::Compression;

use crate::mutate::mutated;
use crate::{avro, batches, certificates, frames, values};

/// Whether the input was taken for something, or refused; or why it is a failure. Where hardly any is taken, the fuzzing
/// stays at the surface.
pub(crate) type Verdict = Result<Taken, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    No,
}

impl Taken {
    pub(crate) fn when(taken: bool) -> Self {
        if taken { Self::Yes } else { Self::No }
    }
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) corpus: fn() -> Vec<Vec<u8>>,
    pub(crate) mutate: fn(&mut fastrand::Rng, &[Vec<u8>]) -> Vec<u8>,
    pub(crate) run: fn(&[u8]) -> Verdict,
}

const fn plain(name: &'static str, corpus: fn() -> Vec<Vec<u8>>, run: fn(&[u8]) -> Verdict) -> Target {
    Target { name, corpus, mutate: |random, corpus| mutated(random, corpus, &[]), run }
}

pub(crate) const TARGETS: [Target; 14] = [
    plain("answers", frames::answers_corpus, frames::answers),
    plain("requests", frames::requests_corpus, frames::requests),
    Target { name: "batch", corpus: batches::corpus, mutate: batches::input, run: batches::batch },
    Target { name: "fetch", corpus: batches::corpus, mutate: batches::input, run: batches::fetch },
    plain("gzip", || values::packed(Compression::Gzip), |input| values::unpack(Compression::Gzip, input)),
    plain("snappy", || values::packed(Compression::Snappy), |input| values::unpack(Compression::Snappy, input)),
    plain("lz4", || values::packed(Compression::Lz4), |input| values::unpack(Compression::Lz4, input)),
    plain("zstd", || values::packed(Compression::Zstd), |input| values::unpack(Compression::Zstd, input)),
    Target {
        name: "ledger",
        corpus: values::ledger_corpus,
        mutate: |random, corpus| mutated(random, corpus, &values::JSON),
        run: values::ledger,
    },
    Target {
        name: "config",
        corpus: values::config_corpus,
        mutate: |random, corpus| mutated(random, corpus, &values::TOML),
        run: values::config,
    },
    Target { name: "datum", corpus: avro::datums, mutate: avro::input, run: avro::datum },
    plain("framing", avro::values, avro::framing),
    plain("certificate", certificates::corpus, certificates::certificate),
    Target {
        name: "schema",
        corpus: avro::schema_corpus,
        mutate: |random, corpus| mutated(random, corpus, &avro::WORDS),
        run: avro::schemas,
    },
];

pub(crate) fn find(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|it| it.name == name)
}
