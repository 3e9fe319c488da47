//! The bytes that Java wrote: `golden/README.md` says how they were recorded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::Value;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A recorded message or batch.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What it is, in words.
    pub title: String,
    /// What Java says is in it.
    pub content: Value,
    pub bytes: Bytes,
}

/// A file of pairs of lines: `# content`, and `title hex`.
pub fn read(path: &Path) -> Result<Vec<Recorded>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines.len().is_multiple_of(2), "{} ends within a pair of lines", path.display());
    lines.chunks(2).map(|pair| parse(pair[0], pair[1]).with_context(|| pair[1].to_owned())).collect()
}

fn parse(content: &str, line: &str) -> Result<Recorded> {
    let content = content.strip_prefix("# ").context("no content above it")?;
    let (title, bytes) = line.rsplit_once(' ').context("no bytes")?;
    Ok(Recorded { title: title.to_owned(), content: serde_json::from_str(content)?, bytes: unhex(bytes)?.into() })
}

pub fn unhex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "half a byte");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}

pub fn batches() -> Result<Vec<Recorded>> {
    read(&folder().join("batches.txt"))
}

/// Each API's messages, by the name of its file.
pub fn messages() -> Result<Vec<(String, Vec<Recorded>)>> {
    let mut files = vec![];
    for entry in fs::read_dir(folder().join("messages"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a file without name")?.to_string_lossy().into_owned();
        files.push((name, read(&path)?));
    }
    files.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(files)
}
