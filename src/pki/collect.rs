//! Which files to look at, and what they hold.

use super::Finding;
use super::chain::Placed;
use super::key::{self, Key};
use crate::wire::{Certificate, PemError, PemFile};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Folders in folders: deeper is another tree than one of certificates, or a link that leads back.
const DEPTH_MAX: usize = 8;
/// A link has a dozen.
const FILES_MAX: usize = 1_000;

/// With one of these names a file is meant to be one of ours, whatever it holds.
const EXTENSIONS: [&str; 9] = ["pem", "crt", "cer", "cert", "der", "key", "p12", "pfx", "jks"];

#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) file: PathBuf,
    /// By itself, and not with its folder.
    pub(super) is_named: bool,
}

pub(super) fn files(paths: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() { walk(path, 0, &mut found) } else { found.push(Found { file: path.clone(), is_named: true }) }
    }
    found
}

/// What cannot be listed holds nothing for us; what begins with a point is a folder that a newer one is about to replace.
fn walk(folder: &Path, depth: usize, found: &mut Vec<Found>) {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    paths.retain(|it| it.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    for path in paths {
        if found.len() >= FILES_MAX {
            return;
        }
        if !path.is_dir() {
            found.push(Found { file: path, is_named: false });
        } else if depth < DEPTH_MAX {
            walk(&path, depth + 1, found);
        }
    }
}

/// A file as it was read.
pub(super) struct Looked {
    pub(super) contents: Result<PemFile, PemError>,
    /// None: no X.509.
    parsed: Vec<Option<Certificate>>,
    /// None: a key that TLS cannot use.
    pub(super) keys: Vec<Option<Key>>,
    mode: u32,
}

impl Looked {
    pub(super) fn at(file: &Path) -> Self {
        let contents = PemFile::read(file);
        let mode = fs::metadata(file).map_or(0, |it| it.permissions().mode());
        let (parsed, keys) = match &contents {
            Ok(held) => (
                held.certificates.iter().map(|it| Certificate::parse(it)).collect(),
                held.keys.iter().map(Key::read).collect(),
            ),
            Err(_) => (Vec::new(), Vec::new()),
        };
        Self { contents, parsed, keys, mode }
    }

    pub(super) fn is_of_no_interest(&self, file: &Path) -> bool {
        let is_ours = file.extension().is_some_and(|it| EXTENSIONS.iter().any(|ours| it.eq_ignore_ascii_case(ours)));
        !is_ours && self.parsed.is_empty() && self.keys.is_empty()
    }

    /// Those that can be read, with their places in the file.
    pub(super) fn certificates(&self) -> impl Iterator<Item = Placed<'_>> {
        let held = self.contents.iter().flat_map(|it| &it.certificates);
        let count = self.parsed.len();
        held.zip(&self.parsed).enumerate().filter_map(move |(index, (der, certificate))| {
            Some(Placed { number: index + 1, count, der, certificate: certificate.as_ref()? })
        })
    }

    /// The certificate that its holder shows. None: there are none.
    pub(super) fn leaf(&self) -> Option<Placed<'_>> {
        self.certificates().find(|it| !it.certificate.is_authority()).or_else(|| self.certificates().next())
    }

    /// All it holds are authorities, and no key to be one of them.
    pub(super) fn is_authority(&self) -> bool {
        self.keys.is_empty()
            && self.certificates().next().is_some()
            && self.certificates().all(|it| it.certificate.is_authority())
    }

    pub(super) fn first_key(&self) -> Option<&Key> {
        self.keys.first().and_then(Option::as_ref)
    }

    /// Whether `other` holds the key of this certificate.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let pair = self.leaf().zip(other.first_key());
        pair.is_some_and(|(leaf, key)| leaf.certificate.public_key() == key.public_key)
    }

    /// What is wrong with it whatever it is used for.
    pub(super) fn findings(&self, file: &Path, is_named: bool) -> Vec<Finding> {
        let held = match &self.contents {
            Ok(held) => held,
            Err(error) => return vec![unreadable(error)],
        };
        let mut findings = Vec::new();
        for (index, _) in self.parsed.iter().enumerate().filter(|(_, it)| it.is_none()) {
            let text = format!("certificate {} is no X.509 certificate: make it anew", index + 1);
            findings.push(Finding::wrong("unusable_certificate", text));
        }
        if held.has_encrypted_key {
            findings.push(Finding::wrong("encrypted_key", PemError::EncryptedKey.to_string()));
        }
        if self.keys.len() > 1 {
            findings.push(key::several(self.keys.len()));
        }
        if self.keys.iter().any(Option::is_none) {
            findings.push(key::unusable());
        }
        if !self.keys.is_empty() {
            findings.extend(key::readable(self.mode, &file.display().to_string()));
        }
        if self.parsed.is_empty() && self.keys.is_empty() && !held.has_encrypted_key {
            let text = "holds neither a certificate nor a private key";
            findings.push(if is_named { Finding::wrong("empty", text) } else { Finding::note("empty", text) });
        }
        findings
    }
}

fn unreadable(error: &PemError) -> Finding {
    let name = match error {
        PemError::Read(_) => "unreadable",
        PemError::EncryptedKey => "encrypted_key",
        _ => "not_pem",
    };
    Finding::wrong(name, error.to_string())
}
