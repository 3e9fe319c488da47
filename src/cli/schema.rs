//! Schemas and framings, as arguments name them.

use crate::avro::{Framing, Schema, SchemaText};
use crate::schemas::read_file;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// `references`: dependencies first.
pub(super) fn load(file: &Path, references: &[PathBuf]) -> anyhow::Result<(SchemaText, Schema)> {
    let references = references.iter().map(|it| read_file(it)).collect::<Result<_, _>>()?;
    let text = SchemaText { text: read_file(file)?, references };
    let schema = Schema::parse(&text).with_context(|| file.display().to_string())?;
    Ok((text, schema))
}

pub(super) fn framing(text: &str) -> Result<Framing, String> {
    let all = [Framing::Confluent, Framing::SingleObject, Framing::Raw];
    all.into_iter().find(|it| it.name() == text).ok_or_else(|| "one of confluent, single-object and raw".to_owned())
}
