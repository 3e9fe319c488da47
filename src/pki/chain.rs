//! Certificates in their order, from the holder's to the authority's.

use super::collect::Looked;
use super::{Finding, Level, Role};
use crate::wire::{Certificate, PemError, Signed, Strength, Usage};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{Error, RootCertStore};

/// Java and webpki follow fewer.
const PATH_MAX: usize = 16;

/// A certificate and where it stands in its file.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) number: usize,
    pub(super) count: usize,
    pub(super) der: &'a CertificateDer<'static>,
    pub(super) certificate: &'a Certificate,
}

impl Placed<'_> {
    fn name(&self) -> String {
        let subject = &self.certificate.subject;
        if self.count == 1 { subject.clone() } else { format!("certificate {} ({subject})", self.number) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The chain must lead to one of them.
    Required,
    /// They have signed the other side's certificate: ours may have another authority.
    Theirs,
}

pub(super) struct Authorities<'a> {
    pub(super) all: Vec<Placed<'a>>,
    pub(super) files: String,
    pub(super) trust: Trust,
}

pub(super) struct Chain<'a> {
    /// In the order of the file.
    pub(super) certificates: Vec<Placed<'a>>,
    pub(super) role: Role,
    pub(super) authorities: Authorities<'a>,
    pub(super) now: SystemTime,
}

/// What is wrong with a file of authorities.
pub(super) fn authority(looked: &Looked, now: SystemTime) -> Vec<Finding> {
    let Ok(held) = &looked.contents else { return Vec::new() };
    let all: Vec<_> = looked.certificates().collect();
    let mut findings = Vec::new();
    if held.certificates.is_empty() {
        findings.push(Finding::wrong("no_certificate", PemError::NoCertificate.to_string()));
    } else if !all.iter().any(|it| it.certificate.is_authority()) {
        let names: Vec<_> = all.iter().map(|it| it.certificate.subject.as_str()).collect();
        let text = format!(
            "holds no CA certificate, but {}: put the certificate of the CA that signed it there",
            names.join(" and ")
        );
        findings.push(Finding::wrong("no_ca_certificate", text));
    }
    if !held.keys.is_empty() {
        let text = "holds a private key beside the CA: whoever has it may be able to sign. Leave the certificate alone";
        findings.push(Finding::wrong("key_in_ca_file", text));
    }
    findings.extend(all.iter().flat_map(|it| of_each(it, now)));
    findings
}

/// What is wrong with a certificate wherever it stands.
fn of_each(placed: &Placed<'_>, now: SystemTime) -> Vec<Finding> {
    let (certificate, name) = (placed.certificate, placed.name());
    let mut findings = Vec::new();
    if certificate.has_expired(now) {
        let text = format!("{name} has expired on {}: renew it", certificate.last_day());
        findings.push(Finding::wrong("expired", text));
    } else if certificate.not_before > now {
        let text = format!("{name} is not valid before {}: wait, or set this machine's clock", certificate.first_day());
        findings.push(Finding::wrong("not_yet_valid", text));
    } else if certificate.ends_soon(now) {
        let text =
            format!("{name} expires on {}, in {} days: renew it", certificate.last_day(), certificate.days_left(now));
        findings.push(Finding::wrong("expires_soon", text));
    }
    if certificate.key_strength() == Strength::Weak {
        let text = format!("{name} has a key of {}: 2048 bits are the least that is accepted", certificate.key_kind());
        findings.push(Finding::wrong("weak_key", text));
    }
    // Nobody looks at the signature of a root: it is trusted for standing in the file.
    if certificate.signature_strength() == Strength::Weak && certificate.subject != certificate.issuer {
        let text =
            format!("{name} is signed by {}, which is refused: sign it with SHA-256", certificate.signature_kind());
        findings.push(Finding::wrong("weak_signature", text));
    }
    findings
}

impl<'a> Chain<'a> {
    pub(super) fn judge(&self) -> Vec<Finding> {
        let leaf = self.certificates.iter().position(|it| !it.certificate.is_authority()).unwrap_or(0);
        let Some(first) = self.certificates.get(leaf) else {
            return vec![Finding::wrong("no_certificate", PemError::NoCertificate.to_string())];
        };
        let mut findings: Vec<_> = self.certificates.iter().flat_map(|it| of_each(it, self.now)).collect();
        findings.extend(self.purpose(first));
        let path = self.path(leaf);
        findings.extend(self.order(&path));
        let (trusted, finding) = self.trust(&path);
        findings.extend(finding);
        // Whatever else TLS has against it: this judge knows rules that are not looked at here.
        if !findings.iter().any(|it| it.level == Level::Wrong)
            && let Some(Err(error)) = self.verdict(first, &trusted)
        {
            let text = format!("{} is refused by TLS: {error}", first.name());
            findings.push(Finding::wrong("refused", text));
        }
        findings
    }

    fn purpose(&self, leaf: &Placed<'_>) -> Vec<Finding> {
        let (certificate, name) = (leaf.certificate, leaf.name());
        let usages = || {
            let all: Vec<_> = certificate.usages().unwrap_or_default().iter().map(Usage::to_string).collect();
            all.join(" and ")
        };
        let may = |usage: &Usage| certificate.is_for(usage);
        let mut findings = Vec::new();
        let wanted = match self.role {
            Role::Client if !may(&Usage::Client) => Some(("a client", "clientAuth")),
            Role::Server if !may(&Usage::Server) => Some(("a server", "serverAuth")),
            Role::Either if !may(&Usage::Client) && !may(&Usage::Server) => {
                Some(("a client or a server", "clientAuth or serverAuth"))
            }
            _ => None,
        };
        if let Some((who, extension)) = wanted {
            let text = format!(
                "{name} is for {} alone (extendedKeyUsage), and not for {who}: make one with {extension}",
                usages()
            );
            findings.push(Finding::wrong("wrong_usage", text));
        }
        if !certificate.may_sign() {
            let text = format!("{name} must not sign handshakes (keyUsage): make one with digitalSignature");
            findings.push(Finding::wrong("wrong_usage", text));
        }
        if self.role == Role::Server && certificate.names().is_empty() {
            let text =
                format!("{name} has no subjectAltName, and clients do not look at the subject: make one with names");
            findings.push(Finding::wrong("no_names", text));
        }
        if certificate.is_authority() {
            let text = format!("{name} is a CA certificate: Java takes it for its holder's, others refuse it");
            findings.push(match self.role {
                Role::Server => Finding::wrong("ca_as_leaf", text),
                _ => Finding::note("ca_as_leaf", text),
            });
        }
        findings
    }

    /// Indexes from the leaf up, each signed by the next, wherever they stand.
    fn path(&self, leaf: usize) -> Vec<usize> {
        let mut path = vec![leaf];
        while let Some(&last) = path.last()
            && path.len() < PATH_MAX
        {
            let certificate = self.certificates[last].certificate;
            let next = (0..self.certificates.len()).find(|it| {
                !path.contains(it) && certificate.signed_by(self.certificates[*it].certificate) != Signed::No
            });
            match next {
                Some(next) if certificate.subject != certificate.issuer => path.push(next),
                _ => break,
            }
        }
        path
    }

    fn order(&self, path: &[usize]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !path.is_sorted() || path.first() != Some(&0) {
            let right: Vec<_> = path.iter().map(|it| (it + 1).to_string()).collect();
            let text = format!(
                "its certificates stand in the wrong order: the holder's must be first, each signed by the next: {}",
                right.join(", ")
            );
            findings.push(Finding::wrong("chain_order", text));
        }
        let strays: Vec<_> = (0..self.certificates.len())
            .filter(|it| !path.contains(it))
            .map(|it| self.certificates[it].name())
            .collect();
        if !strays.is_empty() {
            let text = format!(
                "{} is no part of the chain of {}: take it out, or put in what leads to it",
                strays.join(" and "),
                path.first().map(|it| self.certificates[*it].name()).unwrap_or_default()
            );
            findings.push(Finding::wrong("stray_certificate", text));
        }
        findings
    }

    /// The roots that the chain leads to, as far as they are known.
    fn trust(&self, path: &[usize]) -> (Vec<&CertificateDer<'static>>, Option<Finding>) {
        let path: Vec<_> = path.iter().map(|it| self.certificates[*it]).collect();
        let Some(top) = path.last() else { return (Vec::new(), None) };
        let is_same = |a: &Certificate, b: &Certificate| a.subject == b.subject && a.public_key() == b.public_key();
        let leads = |root: &&Placed<'_>| {
            path.iter().any(|it| {
                is_same(it.certificate, root.certificate) || it.certificate.signed_by(root.certificate) != Signed::No
            })
        };
        let is_root =
            |it: &&Placed<'_>| it.certificate.is_authority() || it.certificate.subject == it.certificate.issuer;
        let authorities: Vec<_> = self.authorities.all.iter().filter(is_root).collect();
        let roots: Vec<_> = authorities.iter().copied().filter(leads).map(|it| it.der).collect();
        if !roots.is_empty() {
            return (roots, None);
        }
        let is_complete = top.certificate.subject == top.certificate.issuer;
        let (files, issuer) = (&self.authorities.files, &top.certificate.issuer);
        let namesake = authorities.iter().find(|it| it.certificate.subject == *issuer);
        let (name, text) = match namesake {
            _ if authorities.is_empty() && is_complete => return (vec![top.der], None),
            _ if authorities.is_empty() => {
                let text = format!("{} is signed by {issuer}, which was not looked at: name its file too", top.name());
                return (Vec::new(), Some(Finding::note("unknown_issuer", text)));
            }
            Some(_) => {
                ("untrusted", format!("its chain leads to another CA of the name {issuer} than the one in {files}"))
            }
            None if is_complete => ("untrusted", format!("its chain leads to {issuer}, and not to a CA in {files}")),
            None => {
                let text = format!(
                    "its chain breaks off: {} is signed by {issuer}, which stands neither in the file nor in {files}. Put \
                     the missing certificate behind it",
                    top.name()
                );
                ("missing_intermediate", text)
            }
        };
        let roots = if is_complete { vec![top.der] } else { Vec::new() };
        let finding = match self.authorities.trust {
            Trust::Required => Finding::wrong(name, text),
            Trust::Theirs => {
                let text = format!("{text}. That is right only where the other side's truststore knows the CA");
                Finding::note(name, text)
            }
        };
        (roots, Some(finding))
    }

    /// rustls's own. None: there is no root, or no name to ask for.
    fn verdict(&self, leaf: &Placed<'_>, roots: &[&CertificateDer<'static>]) -> Option<Result<(), Error>> {
        let mut store = RootCertStore::empty();
        for root in roots {
            // It is told where the file of authorities is judged.
            let _ = store.add((*root).clone());
        }
        // Java takes "any" for a client's, and lets CA certificates stand for their holders.
        let is_javas = leaf.certificate.is_authority() && self.role != Role::Server;
        let is_for_any = leaf.certificate.usages().is_some_and(|it| it.contains(&Usage::Any));
        if store.is_empty() || is_javas || is_for_any {
            return None;
        }
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = UnixTime::since_unix_epoch(since);
        let others: Vec<_> =
            self.certificates.iter().filter(|it| it.number != leaf.number).map(|it| it.der.clone()).collect();
        let (store, provider) = (Arc::new(store), Arc::new(ring::default_provider()));
        let is_client = match self.role {
            Role::Client => true,
            Role::Server => false,
            Role::Either => leaf.certificate.is_for(&Usage::Client),
        };
        if is_client {
            let verifier = WebPkiClientVerifier::builder_with_provider(store, provider).build().ok()?;
            return Some(verifier.verify_client_cert(leaf.der, &others, now).map(|_| ()));
        }
        let names = leaf.certificate.names().iter().filter_map(|it| it.split_once(':'));
        // A wildcard stands for any label.
        let name = names.filter(|it| it.0 == "DNS" || it.0 == "IP").map(|it| it.1.replace('*', "any")).next()?;
        let name = ServerName::try_from(name).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider).build().ok()?;
        Some(verifier.verify_server_cert(leaf.der, &others, &name, &[], now).map(|_| ()))
    }
}
