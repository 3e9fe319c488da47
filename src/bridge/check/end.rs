//! One end: its brokers, what secures the way to them, who we are there.

use super::report::{BrokerReport, CertificateReport, EndReport, Level, Note, SecurityReport};
use crate::bridge::survey::principal;
use crate::cluster::{Cluster, ClusterError, Metadata, Use};
use crate::config::EndConfig;
use crate::types::NodeId;
use crate::wire::{Certificate, Connection, EXPIRY_WARNING_DAYS, Security, release};
use std::time::SystemTime;
use tokio::task::JoinSet;

/// One end, as far as it answers.
pub(super) struct End {
    pub(super) report: EndReport,
    pub(super) metadata: Result<Metadata, ClusterError>,
    /// The lowest release of those that were reached, where one is known.
    pub(super) brokers: Vec<(NodeId, Result<Connection, ClusterError>)>,
}

pub(super) async fn look(cluster: &Cluster, config: &EndConfig) -> End {
    let metadata = cluster.metadata(None).await;
    let mut report = EndReport {
        bootstrap_servers: config.bootstrap_servers.iter().map(ToString::to_string).collect(),
        principal: principal(cluster.security().certificate().as_ref().map(|it| it.subject.as_str())),
        security: security(cluster.security(), None),
        ..EndReport::default()
    };
    let brokers = match &metadata {
        Ok(metadata) => reach(cluster, metadata).await,
        Err(_) => Vec::new(),
    };
    match &metadata {
        Err(error) => report.error = Some(error.to_string()),
        Ok(metadata) => {
            report.cluster_id = Some(metadata.cluster_id.clone());
            report.security = security(cluster.security(), brokers.iter().find_map(|(_, it)| it.as_ref().ok()));
            let of = |(node, reached): &(NodeId, Result<Connection, ClusterError>)| {
                let address = metadata.brokers.get(node).map(|(host, port)| format!("{host}:{port}"));
                BrokerReport {
                    node: *node,
                    address: address.unwrap_or_default(),
                    kafka: reached.as_ref().ok().map(|it| release(it.versions()).unwrap_or("before 2.4").to_owned()),
                    error: reached.as_ref().err().map(ToString::to_string),
                }
            };
            report.brokers = brokers.iter().map(of).collect();
        }
    }
    End { report, metadata, brokers }
}

/// All at once: a network that swallows packets takes its time with each.
async fn reach(cluster: &Cluster, metadata: &Metadata) -> Vec<(NodeId, Result<Connection, ClusterError>)> {
    let mut dials = JoinSet::new();
    for node in metadata.brokers.keys().copied() {
        let cluster = cluster.clone();
        dials.spawn(async move { (node, cluster.dial(node, Use::Control).await) });
    }
    let mut reached = dials.join_all().await;
    reached.sort_by_key(|(node, _)| *node);
    reached
}

fn security(security: &Security, reached: Option<&Connection>) -> SecurityReport {
    let session = reached.and_then(Connection::session);
    let kind = match security {
        Security::Plaintext => "plaintext",
        Security::Tls(_) if security.certificate().is_some() => "mutual_tls",
        Security::Tls(_) => "tls",
    };
    SecurityReport {
        kind,
        version: session.map(|it| it.version),
        client_certificate: security.certificate().as_ref().map(certificate),
        broker_certificate: session.and_then(|it| it.peer.as_ref()).map(certificate),
    }
}

fn certificate(certificate: &Certificate) -> CertificateReport {
    let days_left = certificate.days_left(SystemTime::now());
    CertificateReport { subject: certificate.subject.clone(), not_after: certificate.last_day(), days_left }
}

impl End {
    pub(super) fn notes(&self, end: &'static str) -> Vec<Note> {
        let mut notes = Vec::new();
        for broker in &self.report.brokers {
            if let Some(error) = &broker.error {
                let text = format!(
                    "{error}. What this broker leads cannot be copied: its advertised.listeners must hold an address that \
                     can be reached from here"
                );
                notes.push(Note::new(Level::Stopped, "unreachable_broker", Some(&broker.address), text));
            }
        }
        let security = &self.report.security;
        for (whose, certificate) in
            [("our client", &security.client_certificate), ("the broker's", &security.broker_certificate)]
        {
            let Some(certificate) = certificate.as_ref().filter(|it| it.days_left <= EXPIRY_WARNING_DAYS) else {
                continue;
            };
            let verb = if certificate.days_left < 0 { "expired" } else { "expires" };
            let text = format!("{end}: {whose} certificate {verb} on {}: renew it", certificate.not_after);
            notes.push(Note::new(Level::Warning, "certificate_expiry", Some(&certificate.subject), text));
        }
        notes
    }
}
