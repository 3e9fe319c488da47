//! `kafka-bridge pki inspect`, on what `mint.sh` makes and on what becomes of it in careless hands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol_tests::bridge::{Config, End};
use protocol_tests::command::Finished;
use protocol_tests::pki::CertificateFiles;
use serde_json::Value;
use tempfile::TempDir;

use super::{WANTED, minted};

const LIMIT: Duration = Duration::from_secs(60);

fn inspected(folder: &Path, arguments: &[&str]) -> Result<(i32, Value)> {
    let done = Finished::run(folder, &[&["pki", "inspect", "--json"], arguments].concat(), LIMIT)?;
    let report = serde_json::from_str(&done.stdout).with_context(|| format!("no report: {done:?}"))?;
    Ok((done.code, report))
}

/// The findings of the file of this name, as `level:name`.
fn findings(report: &Value, file: &str) -> Vec<String> {
    let files = report["files"].as_array().into_iter().flatten();
    let found = files.filter(|it| it["file"].as_str().is_some_and(|path| path.ends_with(file)));
    let each = found.flat_map(|it| it["findings"].as_array().into_iter().flatten());
    each.map(|it| format!("{}:{}", it["level"], it["name"]).replace('"', "")).collect()
}

pub(super) fn inspect_shows_what_was_minted_and_what_is_wrong() -> Result<()> {
    let folder = TempDir::new()?;
    let (out, work) = (folder.path().join("out"), folder.path());
    minted(&out, &[&WANTED[..], &["--broker", "target/kafka", "--client", "target/bridge"]].concat())?;
    let place = out.to_string_lossy();
    let shown = Finished::run(work, &["pki", "inspect", &place], LIMIT)?;
    ensure!(shown.code == 0 && shown.stdout.ends_with("\n16 files, nothing is wrong\n"), "{shown:?}");
    for part in [
        "  1  CN=kafka\n     issuer  CN=source authority\n     names   DNS:kafka, DNS:kafka.example.org, IP:10.0.0.1\n     for     server, client\n     key     EC P-256, signed by ECDSA with SHA-256",
        "  1  CN=source authority  (CA)",
        "  private key, EC P-256, of ",
        "396 days left",
    ] {
        ensure!(shown.stdout.contains(part), "{part} is not in\n{}", shown.stdout);
    }

    // A config whose ends both are right, and then each file is confused with another.
    let end = |zone: &str| {
        let file = |name: &str| out.join(zone).join(name);
        let client = CertificateFiles {
            chain: file("bridge.pem"),
            key: file("bridge.key"),
            keystore: file("bridge.keystore.pem"),
        };
        End {
            bootstrap: vec!["localhost:1".to_owned()],
            tls: Some((file("ca.pem"), Some(client))),
            extra: String::new(),
        }
    };
    let config = Config::new("inspected", end("source"), end("target"), &["orders"]).write(work, "bridge")?;
    let config = config.to_string_lossy();
    let (code, report) = inspected(work, &["--config", &config])?;
    ensure!(
        code == 0 && report["wrong"] == 0 && report["files"].as_array().is_some_and(|it| it.len() == 6),
        "{report:#}"
    );
    ensure!(report["files"][0]["config_keys"] == serde_json::json!(["source.tls.ca_file"]), "{report:#}");

    let source = out.join("source");
    let swap = |name: &str, from: &Path, expected: &[&str]| -> Result<()> {
        let (path, mode) = (source.join(name), fs::metadata(source.join(name))?.permissions());
        let own = fs::read(&path)?;
        fs::write(&path, fs::read(from)?)?;
        let (code, report) = inspected(work, &["--config", &config])?;
        let found = findings(&report, &format!("source/{name}"));
        ensure!(code == 1 && found == expected, "{name}: exit code {code}, {found:?}, {report:#}");
        fs::write(&path, own)?;
        fs::set_permissions(&path, mode)?;
        Ok(())
    };
    swap("bridge.key", &source.join("kafka.key"), &["wrong:key_mismatch"])?;
    let both = ["wrong:key_open_to_others", "wrong:no_certificate", "wrong:key_in_ca_file"];
    swap("ca.pem", &source.join("kafka.key"), &both)?;
    swap("bridge.pem", &out.join("target/bridge.pem"), &["note:untrusted"])?;
    fs::set_permissions(source.join("bridge.key"), fs::Permissions::from_mode(0o644))?;
    let (code, report) = inspected(work, &["--config", &config])?;
    let found = findings(&report, "source/bridge.key");
    ensure!(code == 1 && found == ["wrong:key_open_to_others"], "exit code {code}, {report:#}");

    // Of the other zone, soon over, and for another use; the folder alone tells.
    minted(&out, &["--renew", "--days", "20", "--server", "source/kafka"])?;
    let (code, report) = inspected(work, &["--role", "client", &source.join("kafka.pem").to_string_lossy()])?;
    ensure!(findings(&report, "kafka.pem") == ["wrong:expires_soon", "wrong:wrong_usage"], "{code} {report:#}");
    fs::copy(out.join("target/ca.pem"), source.join("ca.pem"))?;
    let (code, report) = inspected(work, &[&source.to_string_lossy()])?;
    ensure!(code == 1 && findings(&report, "bridge.pem") == ["wrong:untrusted"], "{code} {report:#}");

    for (arguments, expected, says) in [
        (&["pki", "inspect"][..], 2, "name files or folders"),
        (&["pki", "inspect", "--config", "missing.toml"], 78, "missing.toml"),
    ] {
        let done = Finished::run(work, arguments, LIMIT)?;
        ensure!(done.code == expected && done.stderr.contains(says), "{done:?}");
    }
    Ok(())
}
