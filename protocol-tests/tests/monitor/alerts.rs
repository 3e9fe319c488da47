//! The README's sample of alert rules, as Prometheus itself takes it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Failed, Trial};

use crate::{is_required, name, trial};

const README: &str = include_str!("../../../README.md");
const CASE: &str = "the_readmes_alert_rules_are_taken_by_promtool";

pub(super) fn trials() -> Vec<Trial> {
    let is_installed = Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success());
    let reason = "promtool is not installed";
    vec![match (is_installed, is_required()) {
        (true, _) => trial("monitor", CASE, rules),
        (false, true) => Trial::test(name("monitor", CASE), move || Err(Failed::from(reason))),
        (false, false) => Trial::test(name("monitor", CASE), || Ok(())).with_kind(reason).with_ignored_flag(true),
    }]
}

fn rules() -> Result<()> {
    let rules = README.split("```yaml\n").nth(1).and_then(|it| it.split("```").next()).context("no rules")?;
    let alerts = rules.matches("- alert:").count();
    let said = checked(rules)?;
    ensure!(said.0 && said.1.contains(&format!("{alerts} rules found")), "{}", said.1);
    // That it can say no.
    let said = checked(&rules.replacen("expr: ", "expr: sum by (", 1))?;
    ensure!(!said.0, "a rule that cannot be read was taken: {}", said.1);
    Ok(())
}

/// Whether it takes them, and what it says.
fn checked(rules: &str) -> Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, rules)?;
    let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
