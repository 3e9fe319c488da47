//! A schema of one registry, registered in another with everything that it names.

use super::answer::{Asked, Versioned};
use super::{Reference, Registered, Registry, RegistryError, escaped};
use std::collections::BTreeMap;

impl Registry {
    /// The schema's id in the other registry, which has it under this subject afterwards. What it names comes before it, under
    /// the subjects that it has here; the versions may be others there.
    pub async fn copy_to(&self, other: &Self, subject: &str, schema: &Registered) -> Result<i32, RegistryError> {
        let mut versions: BTreeMap<(String, i32), i32> = BTreeMap::new();
        let there = |references: &[Reference], versions: &BTreeMap<(String, i32), i32>| -> Vec<Reference> {
            let of = |it: &Reference| {
                let version = versions.get(&(it.subject.clone(), it.version)).copied().unwrap_or(it.version);
                Reference { version, ..it.clone() }
            };
            references.iter().map(of).collect()
        };
        for it in &schema.referenced {
            let references = there(&it.references, &versions);
            other.register(&it.subject, &it.text, &references).await?;
            let version = other.version(&it.subject, &it.text, &references).await?;
            versions.insert((it.subject.clone(), it.version), version);
        }
        other.register(subject, &schema.text, &there(&schema.references, &versions)).await
    }

    /// Of a schema that the subject has.
    async fn version(&self, subject: &str, text: &str, references: &[Reference]) -> Result<i32, RegistryError> {
        let path = format!("/subjects/{}", escaped(subject));
        let asked = Asked::post(path, format!("this schema in subject {subject}"), text, references);
        Ok(self.inner.ask::<Versioned>(&asked).await?.version)
    }
}
