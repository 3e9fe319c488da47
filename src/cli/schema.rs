//! Schemas and framings, as arguments name them.

use crate::avro::{Framing, Schema, SchemaText};
use anyhow::Context;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More is no schema.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// `references`: dependencies first.
pub(super) fn load(file: &Path, references: &[PathBuf]) -> anyhow::Result<(SchemaText, Schema)> {
    let text = SchemaText {
        text: read(file)?,
        references: references.iter().map(|it| read(it)).collect::<anyhow::Result<_>>()?,
    };
    let schema = Schema::parse(&text).with_context(|| file.display().to_string())?;
    Ok((text, schema))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let opened = File::open(file).with_context(|| format!("{}: cannot read it", file.display()))?;
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.with_context(|| format!("{}: cannot read it", file.display()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        anyhow::bail!("{}: is larger than {FILE_BYTES_MAX} bytes: this is no schema", file.display());
    }
    Ok(text)
}

pub(super) fn framing(text: &str) -> Result<Framing, String> {
    let all = [Framing::Confluent, Framing::SingleObject, Framing::Raw];
    all.into_iter().find(|it| it.name() == text).ok_or_else(|| "one of confluent, single-object and raw".to_owned())
}
