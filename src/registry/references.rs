//! The schemas that a schema names, and those that they name, in the order in which a parser needs them.

use super::answer::{Asked, Schema};
use super::{Inner, Reference, RegistryError, escaped};
use std::collections::BTreeSet;

/// Real ones are three or four deep. A registry cannot make cycles, for a version is fixed before another can name it; one that
/// lies can.
const DEPTH_MAX: usize = 32;
/// Each costs a request.
const COUNT_MAX: usize = 200;
/// Of texts and what they refer to, all together; the memory that one id may cost.
const BYTES_MAX: usize = 16 << 20;

type Key = (String, i32);

/// A schema that another one names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    pub subject: String,
    pub version: i32,
    pub text: String,
    pub references: Vec<Reference>,
}

/// The memory that a schema takes. A registry may answer with a short text and a hundred thousand references.
pub(super) fn bytes_of(text: &str, references: &[Reference]) -> usize {
    let of = |it: &Reference| size_of::<Reference>() + it.name.len() + it.subject.len();
    text.len() + references.iter().map(of).sum::<usize>()
}

/// A schema whose references are being walked.
struct Visit {
    key: Key,
    text: String,
    references: Vec<Reference>,
    next: usize,
}

/// `what` the references belong to, for errors.
pub(super) async fn resolve(inner: &Inner, what: &str, root: &[Reference]) -> Result<Vec<Referenced>, RegistryError> {
    let unusable = |reason: String| inner.transport.unusable(what, reason);
    let mut done: BTreeSet<Key> = BTreeSet::new();
    let mut found = Vec::new();
    let (mut asked_for, mut bytes) = (0, bytes_of("", root));
    // The root's own visit stands for the schema itself, which its caller has.
    let key = (String::new(), 0);
    let mut path = vec![Visit { key, text: String::new(), references: root.to_vec(), next: 0 }];
    while let Some(visit) = path.last_mut() {
        let Some(reference) = visit.references.get(visit.next) else {
            let Some(visit) = path.pop() else { break };
            if !path.is_empty() {
                let Visit { key, text, references, .. } = visit;
                done.insert(key.clone());
                found.push(Referenced { subject: key.0, version: key.1, text, references });
            }
            continue;
        };
        visit.next += 1;
        let key = (reference.subject.clone(), reference.version);
        if done.contains(&key) {
            continue;
        }
        let (subject, version) = (&key.0, key.1);
        if path.iter().any(|it| it.key == key) {
            return Err(unusable(format!("refers to itself through {subject} version {version}")));
        }
        if path.len() > DEPTH_MAX {
            return Err(unusable(format!("has references more than {DEPTH_MAX} deep")));
        }
        asked_for += 1;
        if asked_for > COUNT_MAX {
            return Err(unusable(format!("has more than {COUNT_MAX} references")));
        }
        let number = if version < 0 { "latest".to_owned() } else { version.to_string() };
        let asked = Asked::get(
            format!("/subjects/{}/versions/{number}", escaped(subject)),
            format!("version {number} of subject {subject}, which {what} refers to"),
        );
        let schema: Schema = inner.avro(inner.ask(&asked).await?, &asked.what)?;
        bytes += bytes_of(&schema.schema, &schema.references);
        if bytes > BYTES_MAX {
            return Err(unusable(format!("has references of more than {BYTES_MAX} bytes together")));
        }
        path.push(Visit { key, text: schema.schema, references: schema.references, next: 0 });
    }
    Ok(found)
}
