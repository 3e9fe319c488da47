//! A schema of one registry, registered in another with everything that it names.

use super::{Reference, Registered, Registry, RegistryError};
use std::collections::BTreeMap;

impl Registry {
    /// The id here of another registry's schema, which this one has under this subject afterwards. What it names comes before
    /// it, under the subjects that it has there; the versions may be others here.
    pub async fn copy_from(&self, subject: &str, schema: &Registered) -> Result<i32, RegistryError> {
        let mut versions: BTreeMap<(String, i32), i32> = BTreeMap::new();
        let here = |references: &[Reference], versions: &BTreeMap<(String, i32), i32>| -> Vec<Reference> {
            let of = |it: &Reference| {
                let version = versions.get(&(it.subject.clone(), it.version)).copied().unwrap_or(it.version);
                Reference { version, ..it.clone() }
            };
            references.iter().map(of).collect()
        };
        for it in &schema.referenced {
            let version = self.register_version(&it.subject, &it.text, &here(&it.references, &versions)).await?;
            versions.insert((it.subject.clone(), it.version), version);
        }
        self.register(subject, &schema.text, &here(&schema.references, &versions)).await
    }
}
