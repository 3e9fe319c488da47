//! A certificate authority for one zone. Its key never leaves memory; only what a config has to name becomes a file.

use super::DemoError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// The files that a `tls` table names.
pub(super) struct ClientFiles {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn create(name: &str) -> Result<Self, DemoError> {
        let key = KeyPair::generate()?;
        let mut params = parameters(name, Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            issuer: Issuer::new(params, key),
        })
    }

    /// For the zone's nodes: they show a certificate for `localhost`, and want one of this authority.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, DemoError> {
        let mut params = parameters("node", vec!["localhost".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.into()], key)?;
        Ok(Arc::new(config))
    }

    /// For the bridge, producer and checker.
    pub(super) fn client(&self, folder: &Path, zone: &str) -> Result<ClientFiles, DemoError> {
        let mut params = parameters("kafka-bridge", Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let file = |suffix: &str, text: &str| write(folder.join(format!("{zone}-{suffix}")), text);
        Ok(ClientFiles {
            ca: file("ca.pem", &self.certificate_pem)?,
            cert: file("bridge.pem", &certificate.pem())?,
            key: file("bridge.key", &key.serialize_pem())?,
        })
    }
}

fn parameters(name: &str, hosts: Vec<String>) -> Result<CertificateParams, DemoError> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf, DemoError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}
