//! Clients that we have not written, against the embedded cluster: librdkafka and kafka-python from PyPI, and Java's tools.
//!
//! They run where they are installed; `KAFKA_BRIDGE_PYTHON` names the interpreter that has the packages.

mod java;
mod python;

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    [python::trials(), java::trials()].into_iter().flatten().collect()
}
