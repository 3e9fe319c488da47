//! One Kafka cluster: its brokers, who leads and coordinates what, and connections to them, split by use so that a long
//! poll never delays a commit.

mod admin;
mod backoff;
mod courier;
mod ensure;
mod error;
mod groups;
mod keeper;
mod metadata;
mod offsets;
mod renewal;
mod rights;

pub use admin::{NewTopic, TopicConfigs, WouldBe};
pub use backoff::Backoff;
use courier::Open;
pub use courier::{Address, Courier, Dispatch, Lost, Pending};
pub use ensure::EnsureError;
pub use error::{ClusterError, describe};
pub use groups::{GroupMember, ListedGroup};
pub use keeper::Keeper;
pub use metadata::{Metadata, PartitionMetadata, TopicMetadata};
pub use offsets::{At, Listed};
pub use rights::{Operation, Operations};

use crate::clock;
use crate::config::HostPort;
use crate::types::{NodeId, TopicName};
use crate::wire::{Connection, ConnectionSettings, Security, WireError};
use kafka_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, TopicName as WireName, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::{Request, StrBytes};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Metadata v12 has topic ids in both directions; nothing later is needed.
const METADATA_VERSION_MAX: i16 = 12;
/// The last version that asks for one key.
const FIND_COORDINATOR_VERSION_MAX: i16 = 3;
const BROKER_NOT_AVAILABLE: i16 = 8;
/// Of connections that fetch no records: a link has dozens, and their answers are small.
const SMALL_READ_BUFFER_BYTES: usize = 8 << 10;

/// What a connection is for. Requests on one connection are answered in order, so what must not wait for each other
/// must not share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    Control,
    Fetch(u32),
    Produce(u32),
    Coordinate(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

#[derive(Clone)]
pub struct ClusterSettings {
    /// `source` or `target`, for errors and logs.
    pub end: &'static str,
    pub bootstrap: Vec<HostPort>,
    pub security: Security,
    pub connection: ConnectionSettings,
    pub request_timeout: Duration,
}

/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ClusterSettings,
    known: Mutex<Known>,
    control: tokio::sync::Mutex<Control>,
}

/// The connection that all share.
#[derive(Default)]
struct Control {
    connection: Option<Connection>,
    /// New certificates did not get one: when to try again.
    renew_at: Option<Instant>,
}

#[derive(Default)]
struct Known {
    cluster_id: Option<String>,
    brokers: BTreeMap<NodeId, (String, u16)>,
    controller: Option<NodeId>,
    /// Finalized `transaction.version` with the epoch of the answer it came in: the highest epoch is the newest truth.
    transaction_version: Option<(i64, i16)>,
}

impl Cluster {
    pub fn new(settings: ClusterSettings) -> Self {
        let inner = Inner { settings, known: Mutex::default(), control: tokio::sync::Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    pub fn end(&self) -> &'static str {
        self.inner.settings.end
    }

    pub fn security(&self) -> &Security {
        &self.inner.settings.security
    }

    pub fn request_timeout(&self) -> Duration {
        self.inner.settings.request_timeout
    }

    /// The finalized `transaction.version`; 0 where the cluster has no such feature. KIP-890's protocol needs 2.
    pub fn transaction_version(&self) -> i16 {
        self.known().transaction_version.map_or(0, |(_, version)| version)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection of the caller's own.
    pub async fn dial(&self, node: NodeId, usage: Use) -> Result<Connection, ClusterError> {
        let known = self.known().brokers.get(&node).cloned();
        let Some((host, port)) = known else {
            return Err(ClusterError::NoSuchNode { end: self.end(), node });
        };
        tracing::debug!(end = self.end(), node, ?usage, "connecting");
        self.open(&HostPort { host, port }, usage).await.map_err(|error| ClusterError::Wire { end: self.end(), error })
    }

    async fn open(&self, address: &HostPort, usage: Use) -> Result<Connection, WireError> {
        let settings = &self.inner.settings;
        let mut of_connection = settings.connection.clone();
        if !matches!(usage, Use::Fetch(_)) {
            of_connection.read_buffer_bytes = of_connection.read_buffer_bytes.min(SMALL_READ_BUFFER_BYTES);
        }
        let connection = Connection::open(address, &settings.security, &of_connection).await?;
        let versions = connection.versions();
        versions.require(&address.to_string())?;
        let epoch = versions.finalized_features_epoch;
        let version = versions.finalized_features.get("transaction.version").map_or(0, |range| range.1);
        let mut known = self.known();
        if known.transaction_version.is_none_or(|(newest, _)| epoch >= newest) {
            known.transaction_version = Some((epoch, version));
        }
        Ok(connection)
    }

    /// The shared connection for questions that any broker answers. Tries the brokers it knows, then the bootstrap list
    /// again: after all brokers changed their addresses nothing else is left.
    pub async fn any(&self) -> Result<Connection, ClusterError> {
        let mut control = self.inner.control.lock().await;
        if let Some(connection) = control.connection.clone().filter(|it| !it.is_dead()) {
            return Ok(if connection.is_outdated() {
                self.renewed(&mut control, connection).await
            } else {
                connection
            });
        }
        let mut last = None;
        for address in self.addresses() {
            match self.open(&address, Use::Control).await {
                Ok(connection) => {
                    *control = Control { connection: Some(connection.clone()), renew_at: None };
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        let addresses: Vec<_> = self.inner.settings.bootstrap.iter().map(ToString::to_string).collect();
        let last = last.unwrap_or_else(|| WireError::closed("", "no address was given"));
        Err(ClusterError::Unreachable { end: self.end(), addresses: addresses.join(", "), last })
    }

    /// One with the newer certificates, or the older one where these do not get one: brokers may come to trust them later.
    async fn renewed(&self, control: &mut Control, older: Connection) -> Connection {
        if control.renew_at.is_some_and(|it| clock::now() < it) {
            return older;
        }
        let Some(address) = self.addresses().into_iter().next() else { return older };
        match self.open(&address, Use::Control).await {
            Ok(connection) => {
                *control = Control { connection: Some(connection.clone()), renew_at: None };
                connection
            }
            Err(error) => {
                if control.renew_at.is_none() {
                    let end = self.end();
                    tracing::warn!(%error, "{end}: no connection with the new certificates; those that are open are used on");
                }
                control.renew_at = Some(clock::now() + renewal::RETRY_AFTER);
                older
            }
        }
    }

    /// The brokers that are known, then the bootstrap list, each in no order.
    fn addresses(&self) -> Vec<HostPort> {
        let mut brokers: Vec<_> =
            self.known().brokers.values().map(|(host, port)| HostPort { host: host.clone(), port: *port }).collect();
        fastrand::shuffle(&mut brokers);
        let mut bootstrap = self.inner.settings.bootstrap.clone();
        fastrand::shuffle(&mut bootstrap);
        brokers.extend(bootstrap);
        brokers
    }

    /// A connection to the controller, where ZooKeeper clusters want topics to be created; any broker elsewhere.
    pub async fn controller(&self) -> Result<Connection, ClusterError> {
        let controller = self.known().controller;
        match controller {
            Some(node) => self.dial(node, Use::Control).await,
            None => self.any().await,
        }
    }

    /// After NOT_CONTROLLER: true when metadata names a controller other than the one that was asked.
    async fn controller_moved(&self) -> Result<bool, ClusterError> {
        let before = self.known().controller;
        self.metadata(Some(&[])).await?;
        Ok(self.known().controller != before)
    }

    /// One request with the newest common version up to `version_max`.
    pub async fn ask<R: Request>(
        &self,
        connection: &Connection,
        version_max: i16,
        request: &R,
    ) -> Result<R::Response, ClusterError> {
        let wire = |error| ClusterError::Wire { end: self.end(), error };
        let version = connection.version::<R>(version_max).map_err(wire)?;
        let answer = connection.send(version, request, self.request_timeout()).await;
        answer.map_err(|error| {
            if error.is_timeout() {
                connection.close();
            }
            wire(error)
        })
    }

    /// None asks for all topics. Never creates one.
    pub async fn metadata(&self, topics: Option<&[TopicName]>) -> Result<Metadata, ClusterError> {
        let named = topics.map(|topics| {
            let request = |name: &TopicName| {
                MetadataRequestTopic::default().with_name(Some(WireName(StrBytes::from_string(name.to_string()))))
            };
            topics.iter().map(request).collect()
        });
        let request = MetadataRequest::default().with_topics(named).with_allow_auto_topic_creation(false);
        let connection = self.any().await?;
        let answer = self.ask(&connection, METADATA_VERSION_MAX, &request).await?;
        let metadata = Metadata::of(&answer);
        let mut known = self.known();
        match &known.cluster_id {
            Some(expected) if *expected != metadata.cluster_id => {
                connection.close();
                let (expected, found) = (expected.clone(), metadata.cluster_id);
                return Err(ClusterError::OtherCluster { end: self.end(), expected, found });
            }
            _ => known.cluster_id = Some(metadata.cluster_id.clone()),
        }
        // A broker of ZooKeeper mode answers before its controller has told it anything: no brokers and, which would be taken
        // for the truth, no topics.
        if metadata.brokers.is_empty() {
            connection.close();
            return Err(ClusterError::Answered { end: self.end(), api: "Metadata", code: BROKER_NOT_AVAILABLE });
        }
        known.brokers = metadata.brokers.clone();
        known.controller = metadata.controller;
        Ok(metadata)
    }

    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<NodeId, ClusterError> {
        let (key_type, subject) = match kind {
            CoordinatorKind::Group => (0, "group"),
            CoordinatorKind::Transaction => (1, "transactional id"),
        };
        let request =
            FindCoordinatorRequest::default().with_key(StrBytes::from_string(key.to_owned())).with_key_type(key_type);
        let connection = self.any().await?;
        let answer = self.ask(&connection, FIND_COORDINATOR_VERSION_MAX, &request).await?;
        if answer.error_code != 0 {
            let (api, what) = ("FindCoordinator", format!("{subject} {key}"));
            let (code, message) = (answer.error_code, String::new());
            return Err(ClusterError::Refused { end: self.end(), api, what, code, message });
        }
        let node = answer.node_id.0;
        if let Ok(port) = u16::try_from(answer.port) {
            self.known().brokers.entry(node).or_insert_with(|| (answer.host.to_string(), port));
        }
        Ok(node)
    }
}
