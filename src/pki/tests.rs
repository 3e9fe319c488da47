use super::{Finding, Level, Report, Role, TlsTable, inspect};
use crate::config::{ClientFiles, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;
use tempfile::TempDir;

/// Made by openssl, which still makes such: RSA of 1024 bits, signed with SHA-1, and its authority.
const OLD: &str = "\
-----BEGIN CERTIFICATE-----
MIICEzCCAXygAwIBAgIUQ7N3TBkcN+wsHZxn1lZpesy0ECUwDQYJKoZIhvcNAQEF
BQAwGDEWMBQGA1UEAwwNb2xkIGF1dGhvcml0eTAgFw0yNjExMjkwODM3MTlaGA8y
MTI2MTEwNTA4MzcxOVowDjEMMAoGA1UEAwwDb2xkMIGfMA0GCSqGSIb3DQEBAQUA
A4GNADCBiQKBgQDJPzMrPT2VeWmk6pw+DxHBLXdoxi1ZdLQH+7NZKj1iaLlcI9IX
uFaotZy+vmoISF3yQEG0NMQ8b7d5zUqeYqEJAw5IM+7q8hYz7EnMRQvNt0Fw15Ey
OEItRnJRGLuLjsItrV9X4NGXNODlkJITQkEEVk5t4PvQYCBkrvYETWzMswIDAQAB
o2IwYDATBgNVHSUEDDAKBggrBgEFBQcDAjAJBgNVHRMEAjAAMB0GA1UdDgQWBBSN
yWrlB/H5A8vkBqZyl1uskmlJOjAfBgNVHSMEGDAWgBTnv72W+tgni2S8yQQHjV4q
kdjcjTANBgkqhkiG9w0BAQUFAAOBgQBVddehKTg2OWSOX2QU8G5M4yyQzW696Z7n
VEr7322nlvyTfh6nbLV30eZFI9oMIpCE+KEyXHPZ9cZ1sCyHTmr7z0VFdODdesdK
xKCCROCaqOkqpgbF2p2zqPJeJjt24rP+kzDdIuWAiOwXEcJYc9i0Cwz3J5A9KiPB
Hz1KyFEJ1A==
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIICDjCCAXegAwIBAgIUS7PRtoy11ubVdGMqCw6TL4ZUxEAwDQYJKoZIhvcNAQEL
BQAwGDEWMBQGA1UEAwwNb2xkIGF1dGhvcml0eTAgFw0yNjExMjkwODM3MTlaGA8y
MTI2MTEwNTA4MzcxOVowGDEWMBQGA1UEAwwNb2xkIGF1dGhvcml0eTCBnzANBgkq
hkiG9w0BAQEFAAOBjQAwgYkCgYEAutTtnioqKLUgZRroMUgNsXzwQ3SUgVC9JZKh
L9M+SvG9dc+aaijdz0fdbyLIM6fCjuPAQgHhSgteLUOk80Ggwn26q8zJ+cREKkCk
+FsGMbEiQhCjPhNJ0P1Qd4hYaewbigrNk12RUrGy5KCGP6zgcghPkP6WaKFk5oxX
qz1s1mkCAwEAAaNTMFEwHQYDVR0OBBYEFOe/vZb62CeLZLzJBAeNXiqR2NyNMB8G
A1UdIwQYMBaAFOe/vZb62CeLZLzJBAeNXiqR2NyNMA8GA1UdEwEB/wQFMAMBAf8w
DQYJKoZIhvcNAQELBQADgYEAN2izhuM2ELltgLo6gRoBHxhrX6oUEm728NOEKt7s
k/kH2DS90b2FGEtVpMWHOIrVkP4jd/yjj0PP7yfv6dxUOl+Pt32WAowI6x9tkbmN
Z1g/4mfB6wR/NsNN0t3enKLnQBR0CBC5aqgcu5FJCSx1bI0L6AnDoxS04GGbh658
A00=
-----END CERTIFICATE-----
";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2031, 1, 1));
    params
}

fn authority(name: &str, by: Option<&Authority>) -> Authority {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let pem = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// A folder like the ones that people have: `ca.pem`, `bridge.pem`, `bridge.key`.
struct Stage {
    folder: TempDir,
    authority: Authority,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: TempDir::new().unwrap(), authority: authority("authority", None) };
        stage.write("ca.pem", &stage.authority.pem);
        stage.issue(|_| {});
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) {
        self.issue_by(&self.authority, change);
    }

    fn issue_by(&self, authority: &Authority, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = params("bridge");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![Purpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.write("bridge.pem", &params.signed_by(&key, &authority.issuer).unwrap().pem());
        self.write("bridge.key", &key.serialize_pem());
    }

    fn table(&self) -> TlsTable {
        let client = ClientFiles { cert_file: self.path("bridge.pem"), key_file: self.path("bridge.key") };
        TlsTable { key: "source.tls", files: TlsFiles { ca_file: self.path("ca.pem"), client: Some(client) } }
    }

    /// As the config names them.
    fn configured(&self) -> Report {
        inspect(&[self.table()], &[], Role::Either, now())
    }

    fn folder(&self, role: Role) -> Report {
        inspect(&[], &[self.folder.path().to_owned()], role, now())
    }
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2030-06-01T00:00:00Z").unwrap()
}

/// File and name of each finding of a level.
fn names(report: &Report, level: Level) -> Vec<(String, &'static str)> {
    let of = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    let each = |it: &Finding| (it.level == level).then_some(it.name);
    report.files.iter().flat_map(|it| it.findings.iter().filter_map(each).map(|name| (of(&it.file), name))).collect()
}

#[track_caller]
fn told(report: &Report, expected: &[(&str, &'static str)]) {
    let wrong = names(report, Level::Wrong);
    let expected: Vec<_> = expected.iter().map(|(file, name)| ((*file).to_owned(), *name)).collect();
    assert_eq!(wrong, expected, "{:#?}", report.files.iter().flat_map(|it| &it.findings).collect::<Vec<_>>());
    assert_eq!(report.wrong, expected.len());
}

#[test]
fn what_is_right_is_not_told() {
    let stage = Stage::new();
    for report in [stage.configured(), stage.folder(Role::Either), stage.folder(Role::Client)] {
        told(&report, &[]);
        assert_eq!(names(&report, Level::Note), []);
        assert_eq!(report.files.len(), 3);
        let key = report.files.iter().find(|it| it.file.ends_with("bridge.key")).unwrap();
        assert_eq!(key.key_of.as_deref(), Some(&*stage.path("bridge.pem")));
        assert_eq!(key.private_keys, ["EC P-256"]);
    }
    let configured = stage.configured();
    let bridge = configured.files.iter().find(|it| it.file.ends_with("bridge.pem")).unwrap();
    assert_eq!(bridge.config_keys, ["source.tls.cert_file"]);
    let shown = &bridge.certificates[0];
    assert_eq!((shown.subject.as_str(), shown.issuer.as_str(), shown.days_left), ("CN=bridge", "CN=authority", 214));
    assert_eq!(shown.usages.as_deref(), Some(&["client".to_owned()][..]));
}

#[test]
fn a_key_of_another_certificate() {
    let stage = Stage::new();
    stage.write("bridge.key", &KeyPair::generate().unwrap().serialize_pem());
    told(&stage.configured(), &[("bridge.key", "key_mismatch")]);
    told(&stage.folder(Role::Either), &[("bridge.key", "key_mismatch")]);
    // By another name in another folder nothing says that the two belong together, unless they are all there is.
    let other = Stage::new();
    let paths =
        |more: &[&str]| more.iter().map(|it| stage.path(it)).chain([other.path("bridge.pem")]).collect::<Vec<_>>();
    let report = inspect(&[], &paths(&["bridge.key"]), Role::Either, now());
    told(&report, &[("bridge.key", "key_mismatch")]);
    let report = inspect(&[], &[stage.path("bridge.key")], Role::Either, now());
    assert_eq!(names(&report, Level::Note), [("bridge.key".to_owned(), "no_certificate_for_key")]);
    told(&report, &[]);
}

#[test]
fn a_certificate_for_another_use() {
    let stage = Stage::new();
    told(&stage.folder(Role::Server), &[("bridge.pem", "wrong_usage"), ("bridge.pem", "no_names")]);
    stage.issue(|it| it.extended_key_usages = vec![Purpose::ServerAuth]);
    told(&stage.configured(), &[("bridge.pem", "wrong_usage")]);
    told(&stage.folder(Role::Client), &[("bridge.pem", "wrong_usage")]);
    told(&stage.folder(Role::Either), &[]);
    stage.issue(|it| {
        it.extended_key_usages = vec![Purpose::ServerAuth, Purpose::ClientAuth];
        it.subject_alt_names = vec![rcgen::SanType::DnsName("*.example.org".try_into().unwrap())];
    });
    told(&stage.configured(), &[]);
    told(&stage.folder(Role::Server), &[]);
    stage.issue(|it| it.extended_key_usages = vec![Purpose::CodeSigning]);
    told(&stage.folder(Role::Either), &[("bridge.pem", "wrong_usage")]);
    stage.issue(|it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    told(&stage.configured(), &[("bridge.pem", "wrong_usage")]);
    // Without the extension it is for everything.
    stage.issue(|it| it.extended_key_usages = vec![]);
    told(&stage.configured(), &[]);
}

#[test]
fn a_chain_that_breaks_off_or_leads_elsewhere() {
    let stage = Stage::new();
    let intermediate = authority("intermediate", Some(&stage.authority));
    stage.issue_by(&intermediate, |_| {});
    told(&stage.folder(Role::Client), &[("bridge.pem", "missing_intermediate")]);
    // The config's CA signs the brokers: ours may have another, and nobody can tell from here.
    told(&stage.configured(), &[]);
    assert_eq!(names(&stage.configured(), Level::Note), [("bridge.pem".to_owned(), "missing_intermediate")]);
    let leaf = stage.read("bridge.pem");
    stage.write("bridge.pem", &format!("{leaf}{}", intermediate.pem));
    told(&stage.folder(Role::Client), &[]);
    told(&stage.configured(), &[]);
    assert_eq!(names(&stage.configured(), Level::Note), []);
    // Another authority, and one that has its name alone.
    for name in ["other", "authority"] {
        let other = authority(name, None);
        stage.write("ca.pem", &other.pem);
        told(
            &stage.folder(Role::Client),
            &[("bridge.pem", if name == "other" { "missing_intermediate" } else { "untrusted" })],
        );
        stage.write("bridge.pem", &format!("{leaf}{}{}", intermediate.pem, stage.authority.pem));
        told(&stage.folder(Role::Client), &[("bridge.pem", "untrusted")]);
        assert_eq!(names(&stage.configured(), Level::Note), [("bridge.pem".to_owned(), "untrusted")]);
        stage.write("bridge.pem", &format!("{leaf}{}", intermediate.pem));
    }
}

#[test]
fn a_chain_in_the_wrong_order() {
    let stage = Stage::new();
    let intermediate = authority("intermediate", Some(&stage.authority));
    stage.issue_by(&intermediate, |_| {});
    let leaf = stage.read("bridge.pem");
    let root = &stage.authority.pem;
    for chain in [format!("{}{leaf}", intermediate.pem), format!("{leaf}{root}{}", intermediate.pem)] {
        stage.write("bridge.pem", &chain);
        told(&stage.configured(), &[("bridge.pem", "chain_order")]);
        told(&stage.folder(Role::Either), &[("bridge.pem", "chain_order")]);
    }
    stage.write("bridge.pem", &format!("{leaf}{}{}", intermediate.pem, authority("other", None).pem));
    told(&stage.configured(), &[("bridge.pem", "stray_certificate")]);
}

#[test]
fn times() {
    let stage = Stage::new();
    for (from, to, name) in [
        (date_time_ymd(2029, 1, 1), date_time_ymd(2030, 5, 31), Some("expired")),
        (date_time_ymd(2030, 6, 2), date_time_ymd(2031, 1, 1), Some("not_yet_valid")),
        (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 7, 1), Some("expires_soon")),
        (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 7, 2), None),
    ] {
        stage.issue(|it| (it.not_before, it.not_after) = (from, to));
        let expected: Vec<_> = name.iter().map(|it| ("bridge.pem", *it)).collect();
        told(&stage.configured(), &expected);
        told(&stage.folder(Role::Either), &expected);
    }
}

#[test]
fn keys_that_cannot_be_used() {
    let stage = Stage::new();
    let key = stage.read("bridge.key");
    stage.write("bridge.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    told(&stage.configured(), &[("bridge.key", "encrypted_key")]);
    stage.write("bridge.key", &format!("{key}{}", KeyPair::generate().unwrap().serialize_pem()));
    told(&stage.configured(), &[("bridge.key", "several_keys")]);
    told(&stage.folder(Role::Either), &[("bridge.key", "several_keys")]);
    stage.write("bridge.key", "-----BEGIN PRIVATE KEY-----\nMAMCAQI=\n-----END PRIVATE KEY-----\n");
    told(&stage.configured(), &[("bridge.key", "unusable_key")]);
    stage.write("bridge.key", &stage.authority.pem);
    told(&stage.configured(), &[("bridge.key", "no_key")]);
    stage.write("bridge.key", &key);
    fs::set_permissions(stage.path("bridge.key"), fs::Permissions::from_mode(0o644)).unwrap();
    told(&stage.configured(), &[("bridge.key", "key_open_to_others")]);
    fs::set_permissions(stage.path("bridge.key"), fs::Permissions::from_mode(0o640)).unwrap();
    told(&stage.configured(), &[]);
    // A key and its certificate in one file, as Kafka has them.
    stage.write("bridge.keystore.pem", &format!("{key}{}", stage.read("bridge.pem")));
    let report = stage.folder(Role::Client);
    told(&report, &[]);
    let key = report.files.iter().find(|it| it.file.ends_with("bridge.key")).unwrap();
    assert_eq!(key.key_of.as_deref(), Some(&*stage.path("bridge.pem")));
    stage.write(
        "bridge.keystore.pem",
        &format!("{}{}", KeyPair::generate().unwrap().serialize_pem(), stage.read("bridge.pem")),
    );
    told(&stage.folder(Role::Client), &[("bridge.keystore.pem", "key_mismatch")]);
}

#[test]
fn files_that_are_something_else() {
    let stage = Stage::new();
    let ca = stage.read("ca.pem");
    stage.write("ca.pem", &stage.read("bridge.pem"));
    told(&stage.configured(), &[("ca.pem", "no_ca_certificate")]);
    stage.write("ca.pem", &stage.read("bridge.key"));
    told(&stage.configured(), &[("ca.pem", "no_certificate"), ("ca.pem", "key_in_ca_file")]);
    stage.write("ca.pem", &ca);
    stage.write("bridge.p12", "\u{30}\u{10}\u{2}\u{1}\u{3}");
    stage.write("notes.txt", "nothing of ours");
    told(&stage.folder(Role::Either), &[("bridge.p12", "not_pem")]);
    fs::remove_file(stage.path("bridge.p12")).unwrap();
    stage.write("cut.pem", &ca[..100]);
    told(&stage.folder(Role::Either), &[("cut.pem", "not_pem")]);
    stage.write("cut.pem", "-----BEGIN CERTIFICATE-----\nMAMCAQI=\n-----END CERTIFICATE-----\n");
    told(&stage.folder(Role::Either), &[("cut.pem", "unusable_certificate")]);
    let named = [stage.path("notes.txt"), stage.path("missing.pem")];
    let report = inspect(&[], &named, Role::Either, now());
    told(&report, &[("notes.txt", "empty"), ("missing.pem", "unreadable")]);
}

#[test]
fn what_is_too_weak() {
    let stage = Stage::new();
    stage.write("bridge.pem", OLD);
    let report = inspect(&[], &[stage.path("bridge.pem")], Role::Client, now());
    let expected = ["weak_key", "weak_signature", "weak_key"].map(|it| ("bridge.pem", it));
    told(&report, &expected);
    let texts: Vec<_> = report.files[0].findings.iter().map(|it| it.text.as_str()).collect();
    assert!(texts[0].contains("certificate 1 (CN=old) has a key of RSA 1024"), "{texts:?}");
    assert!(texts[1].contains("RSA with SHA-1"), "{texts:?}");
}

#[test]
fn what_only_the_tls_library_knows() {
    let stage = Stage::new();
    let mut params = params("narrow");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &stage.authority.issuer).unwrap().pem();
    let narrow = Authority { pem, issuer: Issuer::new(params, key) };
    let below = authority("below", Some(&narrow));
    stage.issue_by(&below, |_| {});
    let leaf = stage.read("bridge.pem");
    stage.write("bridge.pem", &format!("{leaf}{}{}", below.pem, narrow.pem));
    told(&stage.configured(), &[("bridge.pem", "refused")]);
}
