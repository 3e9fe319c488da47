//! The client listener of real brokers: mutual TLS that lets the right one in alone, and proxies that brokers advertise.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::compare::{Timestamps, partition};
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::pki::{Authority, CertificateFiles, Purpose, Validity};
use protocol_tests::proxy::{Action, Proxy};
use protocol_tests::raw::{Codec, Isolation, NewRecord, RawClient};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

use crate::real;

const END_TXN: i16 = 26;
/// ApiVersions v0, correlation id 7, no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("harness", "kafka_3_9_2_zookeeper_lets_the_right_certificate_in_alone", &["3.9.2"], || {
            right_certificate_alone(Spec::zookeeper("3.9.2").with_tls())
        }),
        real("harness", "kafka_4_4_0_kraft_lets_the_right_certificate_in_alone", &["4.4.0"], || {
            right_certificate_alone(Spec::kraft("4.4.0").with_tls())
        }),
        real("harness", "kafka_4_4_0_behind_a_proxy_loses_the_answer_to_end_txn", &["4.4.0"], lost_answer),
    ]
}

fn right_certificate_alone(spec: Spec) -> Result<()> {
    let cluster = KafkaCluster::start(spec)?;
    let pki = cluster.pki().context("a cluster with TLS has certificates")?;
    let address = cluster.client_address(0);
    let ca = pki.authority.ca_file();
    api_versions(&address, &ca, Some(&pki.client)).context("the right certificate")?;

    let folder = tempfile::tempdir()?;
    let foreign = Authority::create(folder.path(), "foreign authority")?;
    let stranger = foreign.issue("stranger", Purpose::Client, Validity::Now)?;
    let expired = pki.authority.issue("expired", Purpose::Client, Validity::Expired)?;
    ensure!(api_versions(&address, &ca, None).is_err(), "let in without a certificate");
    ensure!(api_versions(&address, &ca, Some(&stranger)).is_err(), "let in with a foreign certificate");
    ensure!(api_versions(&address, &ca, Some(&expired)).is_err(), "let in with an expired certificate");
    let server_refused = api_versions(&address, &foreign.ca_file(), Some(&pki.client));
    ensure!(server_refused.is_err(), "the server's certificate passed under a foreign authority");
    api_versions(&address, &ca, Some(&pki.client)).context("the right certificate, again")
}

fn api_versions(address: &str, ca: &Path, client: Option<&CertificateFiles>) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match client {
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.chain)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(&API_VERSIONS)?;
    let mut answer = [0; 8];
    // In TLS 1.3 a server refuses the client's certificate after the handshake: the first read says so.
    stream.read_exact(&mut answer)?;
    ensure!(answer[4..] == [0, 0, 0, 7], "another answer: {answer:?}");
    Ok(())
}

/// The transaction commits at the broker, the client sees a cut connection, and its retry must not change the outcome.
fn lost_answer() -> Result<()> {
    let proxy = Proxy::bind(true)?;
    let cluster = KafkaCluster::start(Spec::kraft("4.4.0").advertised(vec![proxy.port()]))?;
    proxy.set_upstream(&cluster.client_address(0))?;
    let mut direct = cluster.client();
    direct.create_topic("topic", 1, 1, &[])?;
    let mut client = RawClient::new(cluster.bootstrap());
    let mut producer = client.producer(Some("through-the-proxy"))?;
    producer.send(&mut client, "topic", 0, Codec::Lz4, vec![NewRecord::default(); 3])?;
    proxy.take_request(END_TXN, 1, Action::DropAnswer)?;
    producer.commit(&mut client)?;
    // While its markers are not written, a retry is told to come again.
    ensure!(proxy.answers_dropped() == 1 && proxy.requests(END_TXN) >= 2, "the fault did not happen");
    let topics = ["topic".to_owned()];
    direct.quiet(&topics)?;
    direct.no_transaction_hangs(&topics)?;
    let committed = direct.read("topic", 0, Isolation::ReadCommitted)?;
    let all = direct.read("topic", 0, Isolation::ReadUncommitted)?;
    let differences = partition("topic", 0, &committed, &all, Timestamps::Equal);
    ensure!(committed.len() == 3 && differences.is_empty(), "{} records, {differences:?}", committed.len());
    Ok(())
}
