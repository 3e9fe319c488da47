//! A config that is wrong: every problem with its place, none with a secret, exit code 78.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::{End, binary};
use protocol_tests::command::Finished;
use protocol_tests::pki::{Authority, CertificateFiles, Purpose, Validity};

use super::{LIMIT, link, plaintext, refused};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("bad_input", "config_problems_are_told_with_file_line_and_key", problems),
        trial("bad_input", "config_problems_are_told_as_json", as_json),
        trial("bad_input", "config_files_that_are_not_what_they_should_be", wrong_files),
        trial("bad_input", "usage_that_is_wrong_and_help", usage),
    ]
}

const WRONG: &str = r#"link = "orders dmz"
lanes = 4

[sorce]
bootstrap_servers = ["kafka"]

[target]
bootstrap_servers = ["${NO_SUCH_VARIABLE}:9092"]
password = "hunter2"

[[topics]]
include = ["regex:("]
start = "yesterday"

[delivery]
comit_interval_ms = 10
accept_weak = ["target_retentions"]
"#;

/// Line, column, key, and what is said about it.
const EXPECTED: [(usize, usize, &str, &str); 10] = [
    (1, 1, "source.bootstrap_servers", "is missing"),
    (1, 8, "link", "holds something besides"),
    (2, 1, "lanes", "`lanes` belongs into [delivery]"),
    (4, 2, "sorce", "did you mean `source`?"),
    (8, 22, "target.bootstrap_servers[0]", "NO_SUCH_VARIABLE is not set"),
    (9, 1, "target.password", "unknown key"),
    (12, 12, "topics[0].include[0]", "is no regular expression"),
    (13, 9, "topics[0].start", "take \"earliest\", \"latest\" or a time"),
    (16, 1, "delivery.comit_interval_ms", "did you mean `commit_interval_ms`?"),
    (17, 16, "delivery.accept_weak[0]", "did you mean \"target_retention\"?"),
];

fn problems() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bridge.toml");
    fs::write(&file, WRONG)?;
    for command in ["check", "run"] {
        let done = Finished::run(folder.path(), &[command, "--config", &file.to_string_lossy()], LIMIT)?;
        ensure!(done.code == 78 && done.stdout.is_empty(), "{done:?}");
        for (line, column, key, says) in EXPECTED {
            let place = format!("{}:{line}:{column}: {key}: ", file.display());
            ensure!(done.stderr.contains(&place), "{place} is missing:\n{}", done.stderr);
            ensure!(done.stderr.contains(says), "{says} is missing:\n{}", done.stderr);
        }
        ensure!(done.stderr.contains("10 problems in the config"), "{}", done.stderr);
        ensure!(!done.stderr.contains("hunter2"), "a value of an unknown key is shown:\n{}", done.stderr);
    }
    Ok(())
}

fn as_json() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bridge.toml");
    fs::write(&file, WRONG)?;
    let (code, report) = Finished::check(&file, LIMIT)?;
    ensure!(
        code == 78 && report["verdict"]["exit_code"] == 78 && report["verdict"]["would_run"] == false,
        "{report:#}"
    );
    let errors = report["config_errors"].as_array().context("a list of errors")?;
    let found: Vec<_> = errors.iter().map(|it| (&it["line"], &it["column"], &it["key"])).collect();
    ensure!(found.len() == EXPECTED.len(), "{report:#}");
    for ((line, column, key), (expected_line, expected_column, expected_key, says)) in found.iter().zip(EXPECTED) {
        ensure!(
            **line == expected_line && **column == expected_column && **key == expected_key,
            "{line}:{column} {key}"
        );
        let error = errors.iter().find(|it| it["key"] == expected_key).context("the error")?;
        let text =
            format!("{} {}", error["what"].as_str().unwrap_or_default(), error["remedy"].as_str().unwrap_or_default());
        ensure!(text.contains(says), "{says} is missing: {text}");
    }
    ensure!(!report.to_string().contains("hunter2"), "a value of an unknown key is shown");
    let (code, report) = Finished::check(&folder.path().join("none.toml"), LIMIT)?;
    ensure!(
        code == 78 && report["config_errors"][0]["what"].as_str().is_some_and(|it| it.contains("cannot read it")),
        "{report:#}"
    );
    Ok(())
}

/// PEM files that openssl or a download made into something else.
fn wrong_files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::create(&folder.path().join("pki"), "authority")?;
    let right = authority.issue("client", Purpose::Client, Validity::Now)?;
    let other = authority.issue("other", Purpose::Client, Validity::Now)?;
    let file = |name: &str, text: &[u8]| -> Result<std::path::PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let encrypted = folder.path().join("encrypted.key");
    let status = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:hunter2", "-in"])
        .arg(&right.key)
        .arg("-out")
        .arg(&encrypted)
        .status();
    // Without openssl: what it writes around the key is what tells.
    if !status.is_ok_and(|it| it.success()) {
        file(
            "encrypted.key",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAMCAQE=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )?;
    }
    let der = file("ca.der", b"\x30\x82\x01\x0a\x30\x81")?;
    let html = file("ca.html", b"<html><body>404</body></html>")?;
    let cut = file("cut.pem", &fs::read(authority.ca_file())?[..80])?;
    let missing = folder.path().join("missing.pem");
    let large = file("large.pem", &vec![b'x'; 5 << 20])?;
    let with_key = |key: &std::path::Path| CertificateFiles { key: key.to_owned(), ..right.clone() };
    let ca = authority.ca_file();
    let cases = [
        (ca.clone(), with_key(&encrypted), "holds an encrypted key. Decrypt it by `openssl pkey", &encrypted),
        (ca.clone(), with_key(&ca), "holds no private key", &ca),
        (ca.clone(), with_key(&other.key), "do not work together", &other.key),
        (der.clone(), right.clone(), "is a certificate in DER, and not PEM. It becomes PEM by `openssl x509", &der),
        (html.clone(), right.clone(), "holds no certificate", &html),
        (cut.clone(), right.clone(), "is not PEM", &cut),
        (large.clone(), right.clone(), "it is no PEM file", &large),
        (missing.clone(), right.clone(), "source.tls.ca_file: cannot read", &missing),
    ];
    for (ca, client, says, named) in cases {
        let source = End { tls: Some((ca, Some(client))), ..plaintext("localhost:1") };
        let config = link(source, plaintext("localhost:1"));
        refused(folder.path(), &config, 78, &[says, &named.to_string_lossy(), "source.tls"])?;
    }
    Ok(())
}

fn usage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for wrong in [&["run"][..], &["check", "--jsn", "--config", "x"], &["chek"], &[]] {
        let done = Finished::run(folder.path(), wrong, Duration::from_secs(10))?;
        ensure!(done.code == 2 && done.stderr.contains("Usage:"), "{wrong:?}: {done:?}");
    }
    let help = Finished::run(folder.path(), &["--help"], Duration::from_secs(10))?;
    ensure!(help.code == 0 && help.stdout.contains("Exit codes:"), "{help:?}");
    // Every command that there is shows how it is used.
    let commands = help.stdout.lines().skip_while(|it| *it != "Commands:").skip(1).take_while(|it| !it.is_empty());
    let commands: Vec<_> = commands.filter_map(|it| it.split_whitespace().next()).filter(|it| *it != "help").collect();
    ensure!(commands.contains(&"run") && commands.contains(&"check"), "{commands:?}");
    for command in commands {
        let help = Finished::run(folder.path(), &[command, "--help"], Duration::from_secs(10))?;
        ensure!(help.code == 0 && help.stdout.contains(&format!("kafka-bridge {command}")), "{command}: {help:?}");
        ensure!(help.stdout.contains("Example"), "{command}: no example in\n{}", help.stdout);
    }
    let version = Command::new(binary()?).arg("--version").output()?;
    ensure!(String::from_utf8_lossy(&version.stdout).starts_with("kafka-bridge "), "{version:?}");
    Ok(())
}
