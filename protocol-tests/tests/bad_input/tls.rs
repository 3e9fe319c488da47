//! Certificates that are wrong, and ports that speak something else: told with the file or the setting to change.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{Config, End};
use protocol_tests::command::Finished;
use protocol_tests::fake::{FakeBroker, MODERN, polite, server};
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::pki::{Authority, CertificateFiles, Purpose, Validity};

use super::{LIMIT, link, plaintext, refused};
use crate::{real, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("bad_input", "tls_certificates_of_brokers", certificates_of_brokers),
        trial("bad_input", "tls_certificates_of_the_bridge", certificates_of_the_bridge),
        trial("bad_input", "tls_where_there_is_none_and_none_where_there_is", crossed),
        real("bad_input", "kafka_3_9_2_says_what_is_wrong_with_tls", &["3.9.2"], || {
            of_kafka(Spec::zookeeper("3.9.2").with_tls())
        }),
        real("bad_input", "kafka_4_4_0_says_what_is_wrong_with_tls", &["4.4.0"], || {
            of_kafka(Spec::kraft("4.4.0").with_tls())
        }),
    ]
}

fn secured(address: &str, ca: PathBuf, client: Option<&CertificateFiles>) -> End {
    End { tls: Some((ca, client.cloned())), ..plaintext(address) }
}

/// As the source of a link whose target can be reached.
fn with_source(source: End) -> Result<(FakeBroker, Config)> {
    let target = FakeBroker::start(None, polite(MODERN))?;
    let config = link(source, plaintext(&target.address()));
    Ok((target, config))
}

/// The control: what is refused in the trials beside it is let in when it is right.
fn let_in(folder: &Path, source: End) -> Result<()> {
    let (_target, config) = with_source(source)?;
    let (_, report) = Finished::check(&config.write(folder, "control")?, LIMIT)?;
    ensure!(report["source"]["cluster_id"].is_string() && report["source"]["error"].is_null(), "{report:#}");
    Ok(())
}

fn turned_away(folder: &Path, source: End, says: &[&str]) -> Result<()> {
    let (target, config) = with_source(source)?;
    refused(folder, &config, 69, says)?;
    ensure!(target.requests() > 0, "the other end was not even asked");
    Ok(())
}

fn certificates_of_brokers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("ours"), "authority")?;
    let foreign = Authority::create(&folder.path().join("foreign"), "authority")?;
    let broker = |files: &CertificateFiles| FakeBroker::start(Some(server(files, None)?), polite(MODERN));
    let good = broker(&authority.issue("server", Purpose::Server, Validity::Now)?)?;
    let_in(folder.path(), secured(&good.address(), authority.ca_file(), None))?;
    let served = good.requests();

    let wrong_ca = foreign.ca_file();
    let says = format!("is not signed by a CA in {}", wrong_ca.display());
    turned_away(folder.path(), secured(&good.address(), wrong_ca, None), &["source", &good.address(), &says])?;
    ensure!(good.requests() == served, "something was asked of a broker that is not trusted");

    let expired = broker(&authority.issue("expired", Purpose::Server, Validity::Expired)?)?;
    let says = ["The broker's certificate has expired: renew it", &expired.address()];
    turned_away(folder.path(), secured(&expired.address(), authority.ca_file(), None), &says)?;

    let other = authority.issue_for(vec!["other.example".to_owned()], "other", Purpose::Server, Validity::Now)?;
    let other = broker(&other)?;
    let says = ["other.example", "connect by a name in its subjectAltName"];
    turned_away(folder.path(), secured(&other.address(), authority.ca_file(), None), &says)
}

/// The four that a broker turns away.
fn clients(folder: &Path, authority: &Authority) -> Result<Vec<(Option<CertificateFiles>, Vec<String>)>> {
    let foreign = Authority::create(&folder.join("foreign"), "authority")?;
    let stranger = foreign.issue("stranger", Purpose::Client, Validity::Now)?;
    let expired = authority.issue("expired", Purpose::Client, Validity::Expired)?;
    let file = |files: &CertificateFiles| files.chain.to_string_lossy().into_owned();
    Ok(vec![
        (None, vec!["The broker wants a client certificate: set cert_file and key_file".to_owned()]),
        (Some(stranger.clone()), vec![file(&stranger), "(CN=stranger): the CA that signed it must be in".to_owned()]),
        (Some(expired.clone()), vec![file(&expired), "(CN=expired), which expired on 2021-01-01: renew it".to_owned()]),
    ])
}

fn certificates_of_the_bridge() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("ours"), "authority")?;
    let files = authority.issue("server", Purpose::Server, Validity::Now)?;
    let broker = FakeBroker::start(Some(server(&files, Some(&authority))?), polite(MODERN))?;
    let right = authority.issue("client", Purpose::Client, Validity::Now)?;
    let_in(folder.path(), secured(&broker.address(), authority.ca_file(), Some(&right)))?;
    let served = broker.requests();
    for (client, says) in clients(folder.path(), &authority)? {
        let says: Vec<_> = says.iter().map(String::as_str).collect();
        turned_away(folder.path(), secured(&broker.address(), authority.ca_file(), client.as_ref()), &says)?;
    }
    ensure!(broker.requests() == served, "a client without the right certificate was served");
    Ok(())
}

fn crossed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("ours"), "authority")?;
    let files = authority.issue("server", Purpose::Server, Validity::Now)?;
    let open = FakeBroker::start(None, polite(MODERN))?;
    let says = ["closed during the TLS handshake", "with the same security as in the config?"];
    turned_away(folder.path(), secured(&open.address(), authority.ca_file(), None), &says)?;
    let tls = FakeBroker::start(Some(server(&files, None)?), polite(MODERN))?;
    turned_away(folder.path(), plaintext(&tls.address()), &["a tls table is missing in the config"])?;
    ensure!(open.requests() == 0 && tls.requests() == 0, "one of them was understood");
    Ok(())
}

/// The same, with Java's alerts and silences.
fn of_kafka(spec: Spec) -> Result<()> {
    let cluster = KafkaCluster::start(spec)?;
    let folder = tempfile::tempdir()?;
    let pki = cluster.pki().context("a cluster with TLS has certificates")?;
    let (address, open) = (&cluster.bootstrap()[0], &cluster.plaintext_bootstrap()[0]);
    let ca = pki.authority.ca_file();
    let_in(folder.path(), secured(address, ca.clone(), Some(&pki.client)))?;
    let foreign = Authority::create(&folder.path().join("other"), "authority")?;
    let wrong = secured(address, foreign.ca_file(), Some(&pki.client));
    turned_away(folder.path(), wrong, &["is not signed by a CA in"])?;
    for (client, says) in clients(folder.path(), &pki.authority)? {
        let says: Vec<_> = says.iter().map(String::as_str).collect();
        turned_away(folder.path(), secured(address, ca.clone(), client.as_ref()), &says)?;
    }
    let says = ["closed during the TLS handshake", "with the same security as in the config?"];
    turned_away(folder.path(), secured(open, ca, Some(&pki.client)), &says)?;
    turned_away(folder.path(), plaintext(address), &["tls table is missing in the config"])
}
