//! Looks into certificates, keys and CA files, and names the mistakes that people make with them. Nothing is connected to.

mod chain;
mod collect;
mod key;

#[cfg(test)]
mod tests;

use crate::config::{Config, TlsFiles};
use crate::wire::{Certificate, PemError, Usage};
use chain::{Authorities, Chain, Placed};
use collect::Looked;
use key::Key;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a certificate is to be to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
    /// Nobody said.
    Either,
}

/// A tls table of the config.
#[derive(Clone, Debug)]
pub struct TlsTable {
    /// As `source.registry.tls`.
    pub key: &'static str,
    pub files: TlsFiles,
}

impl TlsTable {
    pub fn all(config: &Config) -> Vec<Self> {
        let (source, target) = (&config.source, &config.target.end);
        let of = |registry: &Option<crate::config::RegistryConfig>| registry.as_ref().and_then(|it| it.tls.clone());
        [
            ("source.tls", source.tls.clone()),
            ("source.registry.tls", of(&source.registry)),
            ("target.tls", target.tls.clone()),
            ("target.registry.tls", of(&target.registry)),
        ]
        .into_iter()
        .filter_map(|(key, files)| Some(Self { key, files: files? }))
        .collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Wrong,
    /// Good to know; nobody can say from here whether it is wrong.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub name: &'static str,
    pub text: String,
}

impl Finding {
    fn wrong(name: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Wrong, name, text: text.into() }
    }

    fn note(name: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Note, name, text: text.into() }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct CertificateReport {
    pub subject: String,
    pub issuer: String,
    pub is_ca: bool,
    pub names: Vec<String>,
    /// None: for everything.
    pub usages: Option<Vec<String>>,
    pub key: String,
    pub signature: String,
    pub not_before: String,
    pub not_after: String,
    pub days_left: i64,
}

impl CertificateReport {
    fn of(certificate: &Certificate, now: SystemTime) -> Self {
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            is_ca: certificate.is_authority(),
            names: certificate.names().to_vec(),
            usages: certificate.usages().map(|all| all.iter().map(Usage::to_string).collect()),
            key: certificate.key_kind(),
            signature: certificate.signature_kind(),
            not_before: certificate.first_day(),
            not_after: certificate.last_day(),
            days_left: certificate.days_left(now),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    pub file: PathBuf,
    /// What of the config names it.
    pub config_keys: Vec<String>,
    pub certificates: Vec<CertificateReport>,
    /// The kinds of the private keys that can be read.
    pub private_keys: Vec<String>,
    /// Whose certificate the private key belongs to.
    pub key_of: Option<PathBuf>,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub files: Vec<FileReport>,
    /// How many findings say that something is wrong.
    pub wrong: usize,
}

/// `paths` are files and folders; files of the tables are looked at as what they are there.
pub fn inspect(tables: &[TlsTable], paths: &[PathBuf], role: Role, now: SystemTime) -> Report {
    let mut inspection = Inspection { now, looked: BTreeMap::new(), reports: BTreeMap::new(), order: Vec::new() };
    for table in tables {
        inspection.table(table);
    }
    let mut loose: Vec<_> = Vec::new();
    for found in collect::files(paths) {
        if !inspection.looked.contains_key(&found.file) && inspection.take(found.clone()) {
            loose.push(found.file);
        }
    }
    inspection.loose(&loose, role);
    let Inspection { mut reports, order, .. } = inspection;
    let files: Vec<_> = order.iter().filter_map(|file| reports.remove(file)).collect();
    let wrong = files.iter().flat_map(|it| &it.findings).filter(|it| it.level == Level::Wrong).count();
    Report { files, wrong }
}

struct Inspection {
    now: SystemTime,
    looked: BTreeMap<PathBuf, Looked>,
    reports: BTreeMap<PathBuf, FileReport>,
    /// In which files were named.
    order: Vec<PathBuf>,
}

impl Inspection {
    /// False: a file of a folder that has nothing to do with certificates.
    fn take(&mut self, found: collect::Found) -> bool {
        let collect::Found { file, is_named } = found;
        let looked = Looked::at(&file);
        if !is_named && looked.is_of_no_interest(&file) {
            return false;
        }
        let mut report = FileReport { file: file.clone(), ..FileReport::default() };
        report.certificates = looked.certificates().map(|it| CertificateReport::of(it.certificate, self.now)).collect();
        report.private_keys = looked.keys.iter().flatten().map(|it| it.kind.clone()).collect();
        report.findings = looked.findings(&file, is_named);
        self.order.push(file.clone());
        self.reports.insert(file.clone(), report);
        self.looked.insert(file, looked);
        true
    }

    fn table(&mut self, table: &TlsTable) {
        let TlsFiles { ca_file, client } = &table.files;
        let mut named = vec![(ca_file, "ca_file")];
        named.extend(client.iter().flat_map(|it| [(&it.cert_file, "cert_file"), (&it.key_file, "key_file")]));
        for (file, key) in named {
            if !self.looked.contains_key(file) {
                self.take(collect::Found { file: file.clone(), is_named: true });
            }
            if let Some(report) = self.reports.get_mut(file) {
                report.config_keys.push(format!("{}.{key}", table.key));
            }
        }
        self.authority(ca_file);
        let Some(client) = client else { return };
        self.chain(&client.cert_file, Role::Client, std::slice::from_ref(ca_file), chain::Trust::Theirs);
        self.pair(&client.cert_file, &client.key_file);
    }

    fn tell(&mut self, file: &Path, findings: impl IntoIterator<Item = Finding>) {
        let Some(report) = self.reports.get_mut(file) else { return };
        for finding in findings {
            // A file may stand in two tables.
            if !report.findings.contains(&finding) {
                report.findings.push(finding);
            }
        }
    }

    fn authority(&mut self, file: &Path) {
        let Some(looked) = self.looked.get(file) else { return };
        let findings = chain::authority(looked, self.now);
        self.tell(file, findings);
    }

    fn chain(&mut self, file: &Path, role: Role, authorities: &[PathBuf], trust: chain::Trust) {
        let Some(looked) = self.looked.get(file) else { return };
        if looked.contents.is_err() {
            return;
        }
        let all: Vec<Placed<'_>> =
            authorities.iter().filter_map(|it| self.looked.get(it)).flat_map(Looked::certificates).collect();
        let names: Vec<_> = authorities.iter().map(|it| it.display().to_string()).collect();
        let authorities = Authorities { all, files: names.join(" and "), trust };
        let findings =
            Chain { certificates: looked.certificates().collect(), role, authorities, now: self.now }.judge();
        self.tell(file, findings);
    }

    /// Certificate and key that are used together.
    fn pair(&mut self, cert_file: &Path, key_file: &Path) {
        let (Some(cert), Some(key)) = (self.looked.get(cert_file), self.looked.get(key_file)) else { return };
        let missing = key.keys.is_empty() && key.contents.as_ref().is_ok_and(|it| !it.has_encrypted_key);
        let finding = match (cert.leaf(), key.first_key()) {
            _ if missing => Some(Finding::wrong("no_key", PemError::NoKey.to_string())),
            (Some(leaf), Some(key)) if key.public_key != leaf.certificate.public_key() => {
                Some(mismatch(cert_file, key))
            }
            _ => None,
        };
        let fits = finding.is_none() && cert.leaf().is_some() && key.first_key().is_some();
        self.tell(key_file, finding);
        if let Some(report) = self.reports.get_mut(key_file).filter(|_| fits && cert_file != key_file) {
            report.key_of = Some(cert_file.to_owned());
        }
    }

    /// Files of which nobody has said what they are.
    fn loose(&mut self, files: &[PathBuf], role: Role) {
        let is = |file: &PathBuf, test: fn(&Looked) -> bool| self.looked.get(file).is_some_and(test);
        let authorities: Vec<_> = files.iter().filter(|it| is(it, Looked::is_authority)).cloned().collect();
        let chains: Vec<_> = files.iter().filter(|it| is(it, |it| it.leaf().is_some())).cloned().collect();
        let keys: Vec<_> = files
            .iter()
            .filter(|it| is(it, |it| !it.keys.is_empty() && it.certificates().next().is_none()))
            .cloned()
            .collect();
        let chains: Vec<_> = chains.into_iter().filter(|it| !authorities.contains(it)).collect();
        for file in &authorities {
            self.authority(file);
        }
        for file in &chains {
            // A folder for each zone, each with an authority: one zone's must not vouch for the other's.
            let beside: Vec<_> = authorities.iter().filter(|it| it.parent() == file.parent()).cloned().collect();
            let authorities = if beside.is_empty() { &authorities } else { &beside };
            self.chain(file, role, authorities, chain::Trust::Required);
            if self.looked.get(file).is_some_and(|it| !it.keys.is_empty()) {
                self.pair(file, file);
            }
        }
        for file in &keys {
            let with_certificates = || chains.iter().chain(&authorities);
            let fits = |it: &&PathBuf| self.looked.get(*it).zip(self.looked.get(file)).is_some_and(|(a, b)| a.fits(b));
            let of_its_name = |it: &&PathBuf| it.parent() == file.parent() && it.file_stem() == file.file_stem();
            let only = if chains.len() == 1 && keys.len() == 1 { chains.first() } else { None };
            let fitting = with_certificates().filter(fits).find(of_its_name).or_else(|| with_certificates().find(fits));
            let partner = fitting.or_else(|| with_certificates().find(of_its_name)).or(only);
            match partner.cloned() {
                Some(partner) => self.pair(&partner, file),
                None => {
                    let text = "is the key of none of the certificates that were looked at";
                    self.tell(file, [Finding::note("no_certificate_for_key", text)]);
                }
            }
        }
    }
}

fn mismatch(cert_file: &Path, key: &Key) -> Finding {
    let text = format!(
        "is not the key of {}: it is another {} key. Take the key that the certificate was made with",
        cert_file.display(),
        key.kind
    );
    Finding::wrong("key_mismatch", text)
}
