//! A client of the Confluent Schema Registry API, as Confluent's own registry, Apicurio's `ccompat` and Karapace serve it.
//!
//! An id's schema never changes, so each is asked for once, however many lanes want it; what the registry says and what it
//! fails to say are bounded alike.

mod answer;
mod cache;
mod copy;
mod error;
mod references;
mod transport;

pub use error::RegistryError;
pub use references::Referenced;

use crate::clock;
use crate::config::RegistryConfig;
use crate::latest::{self, Latest, Publisher};
use crate::wire::{Network, Security, SecurityError};
use answer::{Asked, Identified, Pair, Schema, Versioned, read};
use cache::{Answer, Cache};
use references::bytes_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use transport::Transport;

/// A schema that another one names. In Avro, `name` is the full name of the type that it brings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub subject: String,
    /// −1: the latest.
    pub version: i32,
}

/// An Avro schema as the registry has it, with everything that it needs to be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub id: i32,
    /// JSON.
    pub text: String,
    pub references: Vec<Reference>,
    /// The schemas behind `references` and behind theirs, each once, those that others need first.
    pub referenced: Vec<Referenced>,
}

impl Registered {
    /// What a parser needs besides the text, in the order in which it needs it.
    pub fn reference_texts(&self) -> Vec<String> {
        self.referenced.iter().map(|it| it.text.clone()).collect()
    }

    fn bytes(&self) -> usize {
        let behind = self.referenced.iter().map(|it| bytes_of(&it.text, &it.references));
        bytes_of(&self.text, &self.references) + behind.sum::<usize>()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrySetupError {
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("the registry's token cannot stand in a header of HTTP: take one in ASCII, without line breaks")]
    Token,
}

/// A handle, cheap to clone; all clones share what is known. With the last of them end the requests that are under way.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
    /// Not in `inner`, which each of them holds: it would keep itself alive.
    asking: Arc<Mutex<JoinSet<()>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.inner.transport)
    }
}

struct Inner {
    transport: Transport,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    cache: Cache,
    /// Ids that are being asked for: whoever wants one of them waits for the same answer. As many as there are callers, and
    /// each ends by its requests' deadlines.
    flights: BTreeMap<i32, Latest<Option<Answer>>>,
}

impl Registry {
    /// `end`: `source` or `target`, for errors. `request_timeout`: for connecting, TLS, request and answer together.
    pub fn new(
        end: &'static str,
        config: &RegistryConfig,
        request_timeout: Duration,
        network: Arc<dyn Network>,
    ) -> Result<Self, RegistrySetupError> {
        let transport = Transport::new(end, config, request_timeout, network)?;
        Ok(Self { inner: Arc::new(Inner { transport, known: Mutex::default() }), asking: Arc::default() })
    }

    pub fn security(&self) -> &Security {
        self.inner.transport.security()
    }

    /// The schema with this id, its references resolved. Remembered; that there is none, or none that can be used, for a while.
    pub async fn by_id(&self, id: i32) -> Result<Arc<Registered>, RegistryError> {
        let mut flight = {
            let mut known = self.inner.known();
            if let Some(answer) = known.cache.get(id, clock::now()) {
                return answer;
            }
            known.flights.get(&id).cloned().unwrap_or_else(|| {
                let (sender, receiver) = latest::channel(None);
                known.flights.insert(id, receiver.clone());
                // A task of its own: a caller that gives up must not take the others' answer with it.
                let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                while asking.try_join_next().is_some() {}
                asking.spawn(Arc::clone(&self.inner).fly(id, sender));
                receiver
            })
        };
        if let Some(Some(answer)) = flight.changed().await {
            return answer;
        }
        // It panicked, or its runtime ends: the next one begins anew.
        self.inner.known().flights.remove(&id);
        Err(self.inner.transport.unreachable("was not asked to the end"))
    }

    /// Its id; what is there already keeps the one that it has.
    pub async fn register(&self, subject: &str, text: &str, references: &[Reference]) -> Result<i32, RegistryError> {
        let path = format!("/subjects/{}/versions", escaped(subject));
        let asked = Asked::post(path, format!("a schema for subject {subject}"), text, references);
        let id = self.inner.ask::<Identified>(&asked).await?.id;
        // It is written into records, where no reader could ask for it.
        if id < 0 {
            return Err(self.inner.transport.malformed(&asked, &format!("{id} is no id")));
        }
        Ok(id)
    }

    /// Registers it, for others to refer to: its version in the subject.
    pub async fn register_version(
        &self,
        subject: &str,
        text: &str,
        references: &[Reference],
    ) -> Result<i32, RegistryError> {
        self.register(subject, text, references).await?;
        let path = format!("/subjects/{}", escaped(subject));
        let asked = Asked::post(path, format!("this schema in subject {subject}"), text, references);
        let version = self.inner.ask::<Versioned>(&asked).await?.version;
        // A reference to −1 is one to the latest, whatever that will be.
        if version < 1 {
            return Err(self.inner.transport.malformed(&asked, &format!("{version} is no version")));
        }
        Ok(version)
    }

    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.inner.ask(&Asked::get("/subjects".to_owned(), "list of subjects".to_owned())).await
    }

    /// The subjects that have this schema, with its version in each.
    pub async fn subjects_of(&self, id: i32) -> Result<Vec<(String, i32)>, RegistryError> {
        let asked = Asked::get(format!("/schemas/ids/{id}/versions"), format!("schema id {id}"));
        let pairs: Vec<Pair> = self.inner.ask(&asked).await?;
        Ok(pairs.into_iter().map(|it| (it.subject, it.version)).collect())
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fly(self: Arc<Self>, id: i32, sender: Publisher<Option<Answer>>) {
        let answer = self.fetch(id).await.map(Arc::new);
        {
            let mut known = self.known();
            known.cache.put(id, &answer, clock::now());
            known.flights.remove(&id);
        }
        sender.publish(Some(answer));
    }

    async fn fetch(&self, id: i32) -> Result<Registered, RegistryError> {
        let asked = Asked::get(format!("/schemas/ids/{id}"), format!("schema id {id}"));
        let schema = self.avro(self.ask(&asked).await?, &asked.what)?;
        let referenced = references::resolve(self, &asked.what, &schema.references).await?;
        Ok(Registered { id, text: schema.schema, references: schema.references, referenced })
    }

    fn avro(&self, schema: Schema, what: &str) -> Result<Schema, RegistryError> {
        match schema.schema_type.as_deref() {
            // Registries before 5.5 know of no other type, and name none.
            None | Some("AVRO") => Ok(schema),
            Some(other) => {
                let shown: String = other.chars().filter(|it| it.is_ascii_alphanumeric()).take(20).collect();
                Err(self.transport.unusable(what, format!("is of type {shown}; AVRO is what can be checked")))
            }
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, asked: &Asked) -> Result<T, RegistryError> {
        let body = self.transport.ask(asked).await?;
        read(&body).map_err(|error| self.transport.malformed(asked, &error))
    }
}

/// A segment of a path: subjects may hold slashes and spaces.
fn escaped(subject: &str) -> String {
    let mut text = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Connecting, Stream};
    use tokio::io::{AsyncReadExt as _, DuplexStream};
    use tokio::sync::mpsc;

    /// Nobody answers.
    #[derive(Debug)]
    struct Silent(mpsc::Sender<DuplexStream>);

    impl Network for Silent {
        fn connect<'a>(&'a self, _: &'a str, _: u16) -> Connecting<'a> {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            self.0.try_send(theirs).unwrap();
            Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
        }
    }

    /// A link that has ended must leave nothing that still asks.
    #[tokio::test(start_paused = true)]
    async fn what_is_asked_ends_with_the_last_handle() {
        let (sender, mut connections) = mpsc::channel(1);
        let config =
            RegistryConfig { urls: vec!["http://registry:8081".parse().unwrap()], credentials: None, tls: None };
        let registry = Registry::new("source", &config, Duration::from_secs(3_600), Arc::new(Silent(sender))).unwrap();
        let caller = tokio::spawn({
            let registry = registry.clone();
            async move { registry.by_id(1).await.map(|it| it.id) }
        });
        let mut connection = connections.recv().await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        let mut asked = Vec::new();
        let mut ended = Box::pin(connection.read_to_end(&mut asked));
        // Others may still want it.
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut ended).await.is_err());
        drop(registry);
        assert!(tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap() > 0);
    }

    #[test]
    fn a_subject_is_one_segment_of_a_path() {
        assert_eq!(escaped("orders-value"), "orders-value");
        assert_eq!(escaped("a/b ?#%ü"), "a%2Fb%20%3F%23%25%C3%BC");
        assert_eq!(escaped(":.ctx:orders"), "%3A.ctx%3Aorders");
    }

    #[test]
    fn a_schema_counts_with_all_that_it_refers_to() {
        let references = vec![Reference { name: "n".repeat(300), subject: "s".repeat(200), version: 1 }; 4];
        let named = 4 * (500 + size_of::<Reference>());
        let text = "x".repeat(7);
        let referenced = Referenced { subject: "s".to_owned(), version: 1, text: text.clone(), references };
        let alone = Registered { id: 1, text, references: referenced.references.clone(), referenced: Vec::new() };
        assert_eq!(alone.bytes(), 7 + named);
        let behind = vec![referenced; 3];
        assert_eq!(Registered { referenced: behind, ..alone }.bytes(), 4 * (7 + named));
    }
}
