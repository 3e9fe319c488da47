//! Certificates that change while a bridge copies: no restart, no transaction aborted, and bad files change nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use libtest_mimic::Trial;
use protocol_tests::bridge::{Bridge, Config, End};
use protocol_tests::command::Finished;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::kafka::{KafkaCluster, Spec};
use protocol_tests::load::{Load, create_topics};
use protocol_tests::pair::{Pair, differences, until_none};
use protocol_tests::pki::{Authority, CertificateFiles, Purpose, Validity};
use protocol_tests::sockets::{established, until_replaced};

use crate::{real, trial};

/// For anything that must come about on a slow and noisy machine.
const LIMIT: Duration = Duration::from_secs(90);
const SEED: u64 = 20_261_129;
const RECORDS: usize = 100;
const UNAVAILABLE: i32 = 69;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pki", "certificates_are_rotated_under_load", certificates_are_rotated_under_load),
        real(
            "pki",
            "kafka_3_9_2_to_4_4_0_certificates_are_rotated_under_load",
            &["3.9.2", "4.4.0"],
            kafkas_certificates_are_rotated_under_load,
        ),
    ]
}

/// The files that the config names for one end; what they hold changes.
struct Files {
    ca: PathBuf,
    client: CertificateFiles,
}

impl Files {
    fn new(folder: &Path, end: &str) -> Result<Files> {
        let folder = folder.join(end);
        fs::create_dir_all(&folder)?;
        let file = |name: &str| folder.join(name);
        let client =
            CertificateFiles { chain: file("bridge.pem"), key: file("bridge.key"), keystore: file("unused.pem") };
        Ok(Files { ca: file("ca.pem"), client })
    }

    fn trust(&self, authorities: &[PathBuf]) -> Result<()> {
        bundle(&self.ca, authorities)
    }

    fn hold(&self, client: &CertificateFiles) -> Result<()> {
        replace(&self.client.chain, &fs::read(&client.chain)?)?;
        replace(&self.client.key, &fs::read(&client.key)?)
    }

    fn end(&self, bootstrap: Vec<String>) -> End {
        End { bootstrap, tls: Some((self.ca.clone(), Some(self.client.clone()))), extra: String::new() }
    }
}

fn bundle(file: &Path, authorities: &[PathBuf]) -> Result<()> {
    let mut all = Vec::new();
    for authority in authorities {
        all.extend(fs::read(authority)?);
    }
    replace(file, &all)
}

/// At once, as a careful operator does.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, file)?)
}

/// A running bridge, and how often it has said that it uses new files.
struct Rotated {
    bridge: Bridge,
    told: usize,
}

impl Rotated {
    fn said(&self, text: &str) -> usize {
        self.bridge.log().matches(text).count()
    }

    /// SIGHUP, and the files of both ends are in use on every connection.
    fn reload(&mut self, load: &Load) -> Result<()> {
        let before = self.told()?;
        self.replaced(&before, load)
    }

    /// SIGHUP, and what is new is told. Gives the connections before.
    fn told(&mut self) -> Result<BTreeSet<u64>> {
        let before = established(self.bridge.id())?;
        self.bridge.process().signal("HUP")?;
        self.told += 1;
        let told = self.told;
        for end in ["source", "target"] {
            let text = format!("{end}.tls: new certificates are in use: CN=");
            self.until(|it| it.said(&text) == told, &text)?;
        }
        Ok(before)
    }

    fn replaced(&mut self, before: &BTreeSet<u64>, load: &Load) -> Result<()> {
        load.until_more(RECORDS, LIMIT)?;
        until_replaced(self.bridge.id(), before, LIMIT).with_context(|| self.bridge.log())?;
        load.until_more(RECORDS, LIMIT)
    }

    /// SIGHUP, and this is told; nothing else changes.
    fn refuse(&mut self, says: &str, load: &Load) -> Result<()> {
        let before = established(self.bridge.id())?;
        self.bridge.process().signal("HUP")?;
        self.until(|it| it.said(says) == 1, says)?;
        load.until_more(RECORDS, LIMIT)?;
        let now = established(self.bridge.id())?;
        // Questions beside the lanes have short connections of their own.
        let kept = before.intersection(&now).count();
        ensure!(kept * 2 > before.len(), "connections were closed for files that are not used:\n{}", self.bridge.log());
        Ok(())
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool, what: &str) -> Result<()> {
        let start = std::time::Instant::now();
        while !done(self) {
            let ended = self.bridge.process().exit_code()?;
            let is_late = start.elapsed() > LIMIT;
            ensure!(ended.is_none() && !is_late, "{what} was not said, {ended:?}:\n{}", self.bridge.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// An orderly end, without a transaction that was aborted.
    fn finish(mut self) -> Result<()> {
        ensure!(self.bridge.terminate(LIMIT)? == 0, "{}", self.bridge.log());
        ensure!(self.said("transactions (0 aborted)") == 1, "{}", self.bridge.log());
        Ok(())
    }
}

fn config(source: End, target: End) -> Config {
    let mut config = Config::new("rotated", source, target, &["rotated-*"]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\nlanes = 4\n".to_owned();
    config
}

fn certificates_are_rotated_under_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clusters = [EmbeddedCluster::start(Settings::nodes(1))?, EmbeddedCluster::start(Settings::nodes(1))?];
    let [source, target] = &clusters;
    let topics = create_topics(&mut source.client(), "rotated", 1)?;
    let files = [Files::new(folder.path(), "source")?, Files::new(folder.path(), "target")?];
    let ends = || clusters.iter().zip(&files);
    for (cluster, files) in ends() {
        files.trust(&[cluster.pki().authority.ca_file()])?;
        files.hold(&cluster.pki().client)?;
    }
    let [at_source, at_target] = &files;
    let config = config(at_source.end(source.tls_bootstrap()), at_target.end(target.tls_bootstrap()));
    let mut bridge = Rotated { bridge: Bridge::run(&config.write(folder.path(), "bridge")?)?, told: 0 };
    let load = Load::start(source.client(), &topics, SEED);
    load.until_more(RECORDS, LIMIT)?;
    bridge.bridge.process().wait_for_log("all lanes are taken", LIMIT)?;

    // Certificates of both ends, under the same authorities.
    let mut renewed = Vec::new();
    for (cluster, files) in ends() {
        let client = cluster.pki().authority.issue("renewed", Purpose::Client, Validity::Now)?;
        files.hold(&client)?;
        renewed.push(client);
    }
    bridge.reload(&load)?;
    for ((cluster, _), client) in ends().zip(&renewed) {
        let (old, new) = (cluster.door().let_in(&cluster.pki().client)?, cluster.door().let_in(client)?);
        ensure!(old > 0 && new > 0, "{old} connections with the first certificate, {new} with the second");
    }

    // A key of another certificate, a file that is cut off, and one that has expired.
    at_target.hold(&CertificateFiles { key: renewed[0].key.clone(), ..renewed[1].clone() })?;
    bridge.refuse("target.tls: the certificates in use stay: ", &load)?;
    ensure!(bridge.said("bridge.key do not work together") == 1, "{}", bridge.bridge.log());
    at_target.hold(&renewed[1])?;
    replace(&at_source.ca, &fs::read(&at_source.ca)?[..100])?;
    bridge.refuse("ca.pem: is not PEM", &load)?;
    at_source.trust(&[source.pki().authority.ca_file()])?;
    let expired = source.pki().authority.issue("expired", Purpose::Client, Validity::Expired)?;
    at_source.hold(&expired)?;
    bridge.refuse("CN=expired has expired on 2021-01-01", &load)?;
    ensure!(source.door().let_in(&expired)? == 0 && source.door().refused() == 0, "it was shown to the source");
    at_source.hold(&renewed[0])?;

    // Another authority at each end. The bridge is first, which is the wrong order: the brokers do not let it in, so that it
    // keeps the connections that it has; until the brokers trust both.
    let mut others = Vec::new();
    for (index, (cluster, files)) in ends().enumerate() {
        let other = Authority::create(&folder.path().join(format!("other-{index}")), "another authority")?;
        let client = other.issue("moved", Purpose::Client, Validity::Now)?;
        files.trust(&[cluster.pki().authority.ca_file(), other.ca_file()])?;
        files.hold(&client)?;
        others.push((other, client));
    }
    let before = bridge.told()?;
    bridge.until(|_| clusters.iter().all(|it| it.door().refused() > 0), "the new certificates were not tried")?;
    load.until_more(RECORDS, LIMIT)?;
    let still = before.intersection(&established(bridge.bridge.id())?).count();
    ensure!(still > 0, "no connection was kept:\n{}", bridge.bridge.log());
    for ((cluster, _), (other, _)) in ends().zip(&others) {
        cluster.door().trust(&[cluster.pki().authority.ca_file(), other.ca_file()])?;
    }
    bridge.replaced(&before, &load)?;
    for ((cluster, files), (other, client)) in ends().zip(&others) {
        ensure!(cluster.door().let_in(client)? > 0, "nobody came with the certificate of the new authority");
        cluster.door().show(&other.issue("server", Purpose::Server, Validity::Now)?)?;
        cluster.door().trust(&[other.ca_file()])?;
        files.trust(&[other.ca_file()])?;
    }
    bridge.reload(&load)?;
    load.stop()?;
    let (mut source_client, mut target_client) = (source.client(), target.client());
    until_none(LIMIT, || differences(&mut source_client, &mut target_client, &topics))
        .with_context(|| bridge.bridge.log())?;
    target_client.no_transaction_hangs(&topics)?;
    bridge.finish()
}

/// What the brokers show and trust is changed while they run, as Kafka does it: by the configs of the broker.
fn at_broker(cluster: &KafkaCluster, keystore: Option<&Path>, truststore: &Path) -> Result<()> {
    const KEYSTORE: &str = "listener.name.client.ssl.keystore.location";
    const TRUSTSTORE: &str = "listener.name.client.ssl.truststore.location";
    let (keystore, truststore) = (keystore.map(Path::to_string_lossy), truststore.to_string_lossy());
    let mut configs = vec![(TRUSTSTORE, truststore.as_ref())];
    configs.extend(keystore.as_ref().map(|it| (KEYSTORE, it.as_ref())));
    cluster.client().alter_broker(0, &configs)
}

fn kafkas_certificates_are_rotated_under_load() -> Result<()> {
    let pair = Pair::start_behind_proxies(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())?;
    let folder = pair.folder();
    let topics = create_topics(&mut pair.source.client(), "rotated", 1)?;
    let files = [Files::new(folder, "source")?, Files::new(folder, "target")?];
    let ends = || [&pair.source, &pair.target].into_iter().zip(&files);
    for (cluster, files) in ends() {
        let pki = cluster.pki().context("a cluster with TLS has certificates")?;
        files.trust(&[pki.authority.ca_file()])?;
        files.hold(&pki.client)?;
    }
    let [at_source, at_target] = &files;
    let config = config(at_source.end(pair.source.bootstrap()), at_target.end(pair.target.bootstrap()));
    let mut bridge = Rotated { bridge: pair.run(&config, "bridge")?, told: 0 };
    let load = Load::start(pair.source.client(), &topics, SEED);
    load.until_more(RECORDS, LIMIT)?;
    bridge.bridge.process().wait_for_log("all lanes are taken", LIMIT)?;

    at_target.hold(&pair.source.pki().context("a cluster with TLS has certificates")?.client)?;
    replace(&at_target.client.key, b"-----BEGIN PRIVATE KEY-----\n")?;
    bridge.refuse("bridge.key: is not PEM", &load)?;

    // The brokers trust both authorities, and the bridge takes what the new one has signed.
    let mut others = Vec::new();
    for (index, (cluster, files)) in ends().enumerate() {
        let other = Authority::create(&folder.join(format!("other-{index}")), "another authority")?;
        let pki = cluster.pki().context("a cluster with TLS has certificates")?;
        let both = folder.join(format!("both-{index}.pem"));
        bundle(&both, &[pki.authority.ca_file(), other.ca_file()])?;
        at_broker(cluster, None, &both)?;
        files.trust(&[pki.authority.ca_file(), other.ca_file()])?;
        files.hold(&other.issue("client", Purpose::Client, Validity::Now)?)?;
        others.push(other);
    }
    bridge.reload(&load)?;
    // The old one is gone everywhere. Kafka keeps connections that it has let in: only new ones meet the new certificates.
    for ((cluster, files), other) in ends().zip(&others) {
        let server = other.issue("server", Purpose::Server, Validity::Now)?;
        at_broker(cluster, Some(&server.keystore), &other.ca_file())?;
        files.trust(&[other.ca_file()])?;
    }
    bridge.reload(&load)?;
    // To cut those to the target would abort what is open there; from the source there is only read.
    pair.source_proxies.iter().for_each(protocol_tests::proxy::Proxy::cut_all);
    load.until_more(RECORDS, LIMIT)?;
    for (old, says) in [(false, ""), (true, "source-old")] {
        let mut config = self::config(at_source.end(pair.source.bootstrap()), at_target.end(pair.target.bootstrap()));
        if old {
            let pki = pair.source.pki().context("a cluster with TLS has certificates")?;
            config.source.tls = Some((at_source.ca.clone(), Some(pki.client.clone())));
        }
        let (code, report) = Finished::check(&config.write(folder, &format!("check{says}"))?, LIMIT)?;
        let error = report["source"]["error"].as_str().unwrap_or_default().to_owned();
        // The control beside it: with the new certificate the same question is answered.
        let expected = if old {
            code == UNAVAILABLE && error.contains("refuses the client certificate")
        } else {
            error.is_empty()
        };
        ensure!(expected, "exit code {code}, {report:#}");
    }
    load.stop()?;
    let audited = pair.audit("rotated", &topics, LIMIT).with_context(|| bridge.bridge.log())?;
    ensure!(audited.aborted_transactions == 0 && audited.transactions > 0, "{audited:?}");
    bridge.finish()
}
