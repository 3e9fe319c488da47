//! TLS of a server whose certificate and trusted authorities change while it listens, and which counts whom it lets in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::pki::CertificateFiles;

/// A handle; all of them are one door.
#[derive(Clone, Debug)]
pub struct Door {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
    let_in: Vec<CertificateDer<'static>>,
    refused: usize,
}

impl Door {
    pub fn new(server: &CertificateFiles, authorities: &[PathBuf]) -> Result<Door> {
        let state = State { key: certified(server)?, verifier: verifier(authorities)?, let_in: Vec::new(), refused: 0 };
        Ok(Door { state: Arc::new(Mutex::new(state)) })
    }

    pub fn config(&self) -> Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(self.clone()));
        Ok(builder.with_cert_resolver(Arc::new(self.clone())))
    }

    /// New connections are shown this certificate.
    pub fn show(&self, server: &CertificateFiles) -> Result<()> {
        self.state().key = certified(server)?;
        Ok(())
    }

    /// New connections need a certificate of one of these.
    pub fn trust(&self, authorities: &[PathBuf]) -> Result<()> {
        self.state().verifier = verifier(authorities)?;
        Ok(())
    }

    /// How many connections came in with this certificate.
    pub fn let_in(&self, client: &CertificateFiles) -> Result<usize> {
        let certificate = CertificateDer::from_pem_file(&client.chain)?;
        Ok(self.state().let_in.iter().filter(|it| **it == certificate).count())
    }

    pub fn refused(&self) -> usize {
        self.state().refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certified(files: &CertificateFiles) -> Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_file_iter(&files.chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&files.key)?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?))
}

fn verifier(authorities: &[PathBuf]) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for file in authorities {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().context("a verifier of clients")
}

impl ResolvesServerCert for Door {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.state().key))
    }
}

impl ClientCertVerifier for Door {
    /// None: a client with several would choose by them, and ours has one.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verifier = Arc::clone(&self.state().verifier);
        let verified = verifier.verify_client_cert(end_entity, intermediates, now);
        let mut state = self.state();
        match verified {
            Ok(_) => state.let_in.push(end_entity.clone().into_owned()),
            Err(_) => state.refused += 1,
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = Arc::clone(&self.state().verifier);
        verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = Arc::clone(&self.state().verifier);
        verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.state().verifier.supported_verify_schemes()
    }
}
