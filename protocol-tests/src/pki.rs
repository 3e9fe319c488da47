//! Certificates: one authority per cluster, servers for `localhost`, clients, and the wrong ones (expired, foreign).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Who a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Server,
    Client,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Now,
    /// Ended in 2021.
    Expired,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, then its authority's.
    pub chain: PathBuf,
    /// The private key, PKCS#8.
    pub key: PathBuf,
    /// Key and chain in one file, the form of Kafka's `ssl.keystore.type=PEM`.
    pub keystore: PathBuf,
}

/// A certificate authority whose files are in a folder.
pub struct Authority {
    folder: PathBuf,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority named `name`; its files go to `folder`.
    pub fn create(folder: &Path, name: &str) -> Result<Authority> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params = parameters(vec![], name, Validity::Now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        fs::write(folder.join("ca.pem"), &certificate_pem)?;
        Ok(Authority { folder: folder.to_owned(), certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, as a truststore.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Signs a certificate. A server's is for `localhost` and 127.0.0.1; `name` is the common name and the files' name.
    pub fn issue(&self, name: &str, purpose: Purpose, validity: Validity) -> Result<CertificateFiles> {
        let names = match purpose {
            Purpose::Server => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            Purpose::Client => vec![],
        };
        self.issue_for(names, name, purpose, validity)
    }

    /// As `issue`, with other subject names: a server's wrong ones, say.
    pub fn issue_for(
        &self,
        subject_names: Vec<String>,
        name: &str,
        purpose: Purpose,
        validity: Validity,
    ) -> Result<CertificateFiles> {
        self.sign(parameters(subject_names, name, validity)?, name, purpose)
    }

    /// A client of an organization: its subject has more than one part.
    pub fn issue_member(&self, name: &str, organization: &str) -> Result<CertificateFiles> {
        let mut params = parameters(vec![], name, Validity::Now)?;
        params.distinguished_name.push(DnType::OrganizationName, organization);
        self.sign(params, name, Purpose::Client)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, purpose: Purpose) -> Result<CertificateFiles> {
        let key = KeyPair::generate()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem() + &self.certificate_pem;
        let key_pem = key.serialize_pem();
        let path = |suffix: &str| self.folder.join(format!("{name}{suffix}"));
        let files = CertificateFiles { chain: path(".pem"), key: path(".key"), keystore: path("-keystore.pem") };
        fs::write(&files.chain, &chain_pem)?;
        fs::write(&files.key, &key_pem)?;
        fs::write(&files.keystore, key_pem + &chain_pem)?;
        Ok(files)
    }
}

fn parameters(subject_names: Vec<String>, name: &str, validity: Validity) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(subject_names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match validity {
        Validity::Now => date_time_ymd(2090, 1, 1),
        Validity::Expired => date_time_ymd(2021, 1, 1),
    };
    Ok(params)
}
