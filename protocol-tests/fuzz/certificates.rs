//! Certificates, as `check` and `pki inspect` read them.

use kafka_bridge::wire::{Certificate, Signed};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::targets::{Taken, Verdict, ensure};

pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let Ok(key) = KeyPair::generate() else { return Vec::new() };
    let mut corpus = Vec::new();
    for names in [vec![], vec!["kafka.example.org".to_owned(), "10.0.0.1".to_owned(), "::1".to_owned()]] {
        let Ok(mut params) = CertificateParams::new(names) else { continue };
        params.distinguished_name.push(DnType::OrganizationName, "Orders, \"Inc\"");
        corpus.extend(params.self_signed(&key).map(|it| it.der().to_vec()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::CodeSigning];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        corpus.extend(params.self_signed(&key).map(|it| it.der().to_vec()));
    }
    corpus
}

pub(crate) fn certificate(input: &[u8]) -> Verdict {
    let Some(read) = Certificate::parse(input) else { return Ok(Taken::No) };
    let again = Certificate::parse(input);
    ensure(again.as_ref() == Some(&read), || "read again, it is another".to_owned())?;
    ensure(input.windows(read.public_key().len()).any(|it| it == read.public_key()), || {
        "its public key does not stand in it".to_owned()
    })?;
    ensure(Certificate::kind_of(read.public_key()).is_some(), || "its public key cannot be read alone".to_owned())?;
    // What is said to be signed must stand in it as it was signed.
    let is_signed = read.signed_by(&read) == Signed::Yes;
    ensure(!is_signed || read.subject == read.issuer, || "it is signed by another, and by itself".to_owned())?;
    Ok(Taken::Yes)
}
