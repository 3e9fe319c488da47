//! Certificates, keys and CA files that change while the bridge runs: looked at now and then, and when somebody asks.

use crate::clock::WallClock;
use crate::wire::{Fingerprint, Security, SecurityError, TlsContents};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Files that were just written may be half of what they will be, and the key may come a little after its certificate.
const SETTLE: Duration = Duration::from_secs(1);

/// Has the files looked at now.
#[derive(Clone, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// The files of one tls table.
#[derive(Clone)]
pub(super) struct Watched {
    /// As `source.registry.tls`.
    pub(super) key: &'static str,
    security: Security,
    /// What was refused last.
    told: Option<Fingerprint>,
}

#[derive(Debug)]
enum Outcome {
    /// Whose, and until when; None: only the other side has some.
    InUse(Option<String>),
    Refused(SecurityError),
    /// As before, and that was told.
    RefusedAgain,
}

impl Watched {
    pub(super) fn new(key: &'static str, security: &Security) -> Self {
        Self { key, security: security.clone(), told: None }
    }

    fn renew(&mut self, contents: TlsContents, now: SystemTime) -> Outcome {
        let fingerprint = contents.fingerprint();
        match self.security.renew(contents, now) {
            Ok(certificate) => {
                self.told = None;
                Outcome::InUse(certificate.map(|it| format!("{} until {}", it.subject, it.last_day())))
            }
            Err(_) if self.told == Some(fingerprint) => Outcome::RefusedAgain,
            Err(error) => {
                self.told = Some(fingerprint);
                Outcome::Refused(error)
            }
        }
    }
}

/// Never ends.
pub(super) async fn watch(mut watched: Vec<Watched>, reload: Reload, wall: WallClock) {
    loop {
        let is_asked = tokio::select! {
            biased;
            () = reload.0.notified() => true,
            () = tokio::time::sleep(LOOK_INTERVAL) => false,
        };
        let mut changes = changes(&watched).await;
        if is_asked && changes.is_empty() {
            tracing::info!("certificates, keys and CA files are what they were");
        }
        if is_asked {
            // Whoever asks wants an answer.
            watched.iter_mut().for_each(|it| it.told = None);
        } else if !changes.is_empty() {
            let before: Vec<_> = changes.iter().map(|(index, it)| (*index, it.fingerprint())).collect();
            tokio::time::sleep(SETTLE).await;
            changes = self::changes(&watched).await;
            changes.retain(|(index, it)| before.contains(&(*index, it.fingerprint())));
        }
        for (index, contents) in changes {
            let Some(watched) = watched.get_mut(index) else { continue };
            let outcome = watched.renew(contents, wall.now());
            tell(watched.key, &outcome);
        }
    }
}

fn tell(key: &str, outcome: &Outcome) {
    match outcome {
        Outcome::InUse(Some(certificate)) => tracing::info!("{key}: new certificates are in use: {certificate}"),
        Outcome::InUse(None) => tracing::info!("{key}: new CA certificates are in use"),
        Outcome::Refused(error) => tracing::warn!("{key}: the certificates in use stay: {error}"),
        Outcome::RefusedAgain => {}
    }
}

/// What is not what is in use. Away from the lanes: a file may lie on a disk that does not answer.
async fn changes(watched: &[Watched]) -> Vec<(usize, TlsContents)> {
    let all: Vec<_> = watched.iter().map(|it| it.security.clone()).collect();
    let look = move || {
        let changed = all.iter().enumerate();
        changed.filter_map(|(index, it)| Some((index, it.changes()?))).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientFiles, TlsFiles};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use std::fs;
    use tempfile::TempDir;

    struct Stage {
        folder: TempDir,
        issuer: Issuer<'static, KeyPair>,
        files: TlsFiles,
    }

    impl Stage {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let path = |name: &str| folder.path().join(name);
            fs::write(path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
            let client = ClientFiles { cert_file: path("bridge.pem"), key_file: path("bridge.key") };
            let files = TlsFiles { ca_file: path("ca.pem"), client: Some(client) };
            let stage = Self { folder, issuer: Issuer::new(params, key), files };
            stage.issue("first", |_| {});
            stage
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            change(&mut params);
            self.write("bridge.pem", &params.signed_by(&key, &self.issuer).unwrap().pem());
            self.write("bridge.key", &key.serialize_pem());
        }
    }

    fn subject(security: &Security) -> String {
        security.certificate().unwrap().subject
    }

    #[test]
    fn what_does_not_fit_leaves_the_old_ones_and_is_told_once() {
        let stage = Stage::new();
        let mut watched = Watched::new("source.tls", &Security::load(Some(&stage.files)).unwrap());
        let security = watched.security.clone();
        assert!(security.changes().is_none());
        let key = fs::read_to_string(stage.folder.path().join("bridge.key")).unwrap();
        let ca = fs::read_to_string(stage.folder.path().join("ca.pem")).unwrap();
        let mut refused = |says: &str| {
            for is_first in [true, false] {
                let outcome = watched.renew(security.changes().unwrap(), SystemTime::now());
                match outcome {
                    Outcome::Refused(error) if is_first => assert!(error.to_string().contains(says), "{error}"),
                    Outcome::RefusedAgain if !is_first => {}
                    other => panic!("{says}: {other:?}"),
                }
                assert_eq!(subject(&security), "CN=first");
            }
        };
        stage.issue("second", |_| {});
        let second = fs::read_to_string(stage.folder.path().join("bridge.key")).unwrap();
        stage.write("bridge.key", &key);
        refused("do not work together");
        stage.write("bridge.key", &second[..60]);
        refused("bridge.key: is not PEM");
        fs::remove_file(stage.folder.path().join("bridge.key")).unwrap();
        refused("bridge.key: cannot read it");
        stage.write("bridge.key", &second);
        stage.write("ca.pem", &fs::read_to_string(stage.folder.path().join("bridge.pem")).unwrap());
        refused("ca.pem: holds no CA certificate");
        stage.write("ca.pem", &ca);
        stage.issue("late", |it| it.not_after = rcgen::date_time_ymd(2020, 1, 1));
        refused("CN=late has expired on 2020-01-01");
        stage.issue("early", |it| it.not_before = rcgen::date_time_ymd(2100, 1, 1));
        refused("CN=early is not valid before 2100-01-01");
        stage.issue("other", |it| it.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]);
        refused("CN=other is not for clients");
        stage.issue("third", |_| {});
        let outcome = watched.renew(security.changes().unwrap(), SystemTime::now());
        assert!(matches!(outcome, Outcome::InUse(Some(certificate)) if certificate.starts_with("CN=third until ")));
        assert_eq!(subject(&security), "CN=third");
        assert!(security.changes().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_by_the_clock_and_when_somebody_asks() {
        let stage = Stage::new();
        let security = Security::load(Some(&stage.files)).unwrap();
        let (reload, wall) = (Reload::default(), WallClock::default());
        let watching = watch(vec![Watched::new("source.tls", &security)], reload.clone(), wall);
        let _task = {
            let mut task = tokio::task::JoinSet::new();
            task.spawn(watching);
            task
        };
        let until = async |name: &str| {
            let began = tokio::time::Instant::now();
            while subject(&security) != name {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            began.elapsed()
        };
        stage.issue("second", |_| {});
        let took = until("CN=second").await;
        assert!(took >= LOOK_INTERVAL, "{took:?}");
        stage.issue("third", |_| {});
        reload.ask();
        let took = until("CN=third").await;
        assert!(took < LOOK_INTERVAL, "{took:?}");
        // One that changes between the two looks is still being written.
        let began = tokio::time::Instant::now();
        stage.issue("fourth", |_| {});
        while began.elapsed() < LOOK_INTERVAL + SETTLE / 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(subject(&security), "CN=third");
        stage.issue("fifth", |_| {});
        tokio::time::sleep(SETTLE).await;
        assert_eq!(subject(&security), "CN=third");
        until("CN=fifth").await;
    }
}
