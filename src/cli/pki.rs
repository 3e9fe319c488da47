//! `kafka-bridge pki`

use super::exit::{Exit, Usage};
use super::output::answer;
use super::printable;
use crate::config::Config;
use crate::pki::{self, CertificateReport, FileReport, Level, Report, Role, TlsTable};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

pub(super) const HELP: &str = "Examples:\n  kafka-bridge pki inspect --config bridge.toml\n  \
kafka-bridge pki inspect pki/out";
const INSPECT_HELP: &str = "A private key is held against the certificate in its own file, the one of its name, or any that it fits; a chain must lead \
to a CA file in its folder, or else to any that is named. Files of the config are held against each other as it uses them. \
Exits with 1 where something is wrong.\n\nExamples:\n  kafka-bridge pki inspect --config bridge.toml\n  \
kafka-bridge pki inspect pki/out\n  kafka-bridge pki inspect --role server kafka-1.pem kafka-1.key ca.pem";

#[derive(Args)]
pub(super) struct PkiArguments {
    #[command(subcommand)]
    command: PkiCommand,
}

#[derive(Subcommand)]
enum PkiCommand {
    /// Show certificates, keys and CA files, and what is wrong with them. Connects to nothing.
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArguments),
}

#[derive(Args)]
struct InspectArguments {
    /// PEM files, and folders that hold some.
    #[arg(value_name = "FILE or FOLDER")]
    paths: Vec<PathBuf>,
    /// The link's configuration: every file that its tls tables name.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What the certificates among the files are to be; those of the config are a client's.
    #[arg(long, value_enum)]
    role: Option<RoleArgument>,
    /// For scripts: the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleArgument {
    Client,
    Server,
}

pub(super) fn pki(arguments: &PkiArguments) -> anyhow::Result<Exit> {
    let PkiCommand::Inspect(arguments) = &arguments.command;
    if arguments.paths.is_empty() && arguments.config.is_none() {
        return Err(Usage("pki inspect: name files or folders, or --config bridge.toml").into());
    }
    let tables = match &arguments.config {
        Some(file) => TlsTable::all(&Config::load(file)?),
        None => Vec::new(),
    };
    let role = match arguments.role {
        Some(RoleArgument::Client) => Role::Client,
        Some(RoleArgument::Server) => Role::Server,
        None => Role::Either,
    };
    let report = pki::inspect(&tables, &arguments.paths, role, SystemTime::now());
    answer(&report, arguments.json, text)?;
    Ok(if report.wrong == 0 { Exit::Done } else { Exit::Failed })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for file in &report.files {
        // Writing into a String does not fail.
        let _ = file_text(&mut text, file);
    }
    let files = match report.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let found = match report.wrong {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        count => format!("{count} things are wrong"),
    };
    let _ = writeln!(text, "{files}, {found}");
    // Names come from certificates, which anybody can make.
    text.lines().map(|line| printable(line) + "\n").collect()
}

fn file_text(text: &mut String, report: &FileReport) -> std::fmt::Result {
    let keys =
        if report.config_keys.is_empty() { String::new() } else { format!("   {}", report.config_keys.join(", ")) };
    writeln!(text, "{}{keys}", report.file.display())?;
    for (index, certificate) in report.certificates.iter().enumerate() {
        certificate_text(text, index + 1, certificate)?;
    }
    for kind in &report.private_keys {
        let of = report.key_of.as_ref().map(|it| format!(", of {}", it.display())).unwrap_or_default();
        writeln!(text, "  private key, {kind}{of}")?;
    }
    for finding in &report.findings {
        let level = match finding.level {
            Level::Wrong => "wrong",
            Level::Note => "note ",
        };
        writeln!(text, "  {level}  {}: {}", finding.name, finding.text)?;
    }
    writeln!(text)
}

fn certificate_text(text: &mut String, number: usize, certificate: &CertificateReport) -> std::fmt::Result {
    let ca = if certificate.is_ca { "  (CA)" } else { "" };
    writeln!(text, "  {number}  {}{ca}", certificate.subject)?;
    if certificate.issuer != certificate.subject {
        writeln!(text, "     issuer  {}", certificate.issuer)?;
    }
    if !certificate.names.is_empty() {
        writeln!(text, "     names   {}", certificate.names.join(", "))?;
    }
    if let Some(usages) = &certificate.usages {
        writeln!(text, "     for     {}", usages.join(", "))?;
    }
    writeln!(text, "     key     {}, signed by {}", certificate.key, certificate.signature)?;
    let left = match certificate.days_left {
        days @ ..0 => format!("expired {} days ago", -days),
        days => format!("{days} days left"),
    };
    writeln!(text, "     valid   {} to {}, {left}", certificate.not_before, certificate.not_after)
}
