//! The harness behind the trials: real Apache Kafka, certificates, fault proxies, checkers.
