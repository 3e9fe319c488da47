//! What can go wrong between the bridge and a schema registry.

use std::sync::Arc;

/// Names the end (`source`, `target`) and the registry's url, which never holds a secret. Cheap to clone: everybody who waits
/// for one answer receives it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No node answered, or one that says that it cannot now (408, 429, 5xx). Passes.
    #[error("{end}: the schema registry {url} {reason}")]
    Unreachable { end: &'static str, url: Arc<str>, reason: Arc<str> },
    /// The registry knows no such schema, subject or version (40401, 40402, 40403).
    #[error("{end}: the schema registry {url} has no {what}: {message}")]
    Unknown { end: &'static str, url: Arc<str>, what: Arc<str>, message: Arc<str> },
    /// A right is missing (401, 403): an operator must grant it, or mend the credentials.
    #[error("{end}: the schema registry {url} refuses {what} ({status}): {message}. {remedy}")]
    Refused { end: &'static str, url: Arc<str>, what: Arc<str>, status: u16, message: Arc<str>, remedy: Arc<str> },
    /// It does not take what was to be registered (409: incompatible with what the subject has; 422: no valid schema).
    #[error("{end}: the schema registry {url} does not take {what} ({code}): {message}. {remedy}")]
    Rejected { end: &'static str, url: Arc<str>, what: Arc<str>, code: i64, message: Arc<str>, remedy: &'static str },
    /// The schema is there, and is none that a datum can be checked with.
    #[error("{end}: {what} of the schema registry {url} {reason}")]
    Unusable { end: &'static str, url: Arc<str>, what: Arc<str>, reason: Arc<str> },
    /// What answers there is no schema registry, or not at that path; or TLS does not work out.
    #[error("{end}: {url}: {reason}")]
    NotRegistry { end: &'static str, url: Arc<str>, reason: Arc<str> },
}

impl RegistryError {
    /// Waiting helps: nothing has to be mended.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// It says something about the schema that was asked for, rather than about the registry: asked again, it is the same for a
    /// while.
    pub(super) fn is_about_schema(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Unusable { .. })
    }
}
