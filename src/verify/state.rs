//! What a comparison can be gone on with after it was stopped: a file of JSON.

use super::VerifyError;
use super::compare::Point;
use super::cut::Job;
use super::entry::{Chain, Digest};
use super::found::Found;
use super::partition::Outcome;
use crate::ledger::PositionKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use uuid::Uuid;

const VERSION: u32 = 1;

/// One partition, up to two offsets that belong together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) source_offset: i64,
    pub(super) target_offset: i64,
    pub(super) topic_id: Uuid,
    pub(super) target_topic_id: Uuid,
    /// None: records were not hashed.
    pub(super) chain: Option<Digest>,
    pub(super) found: Found,
}

impl Saved {
    pub(super) fn new(job: &Job, found: &Found, to: Point, chain: Option<Chain>) -> Self {
        Self {
            source_offset: to.source_offset,
            target_offset: to.target_offset,
            topic_id: job.topic_id,
            target_topic_id: job.target_topic_id,
            chain: chain.map(|it| it.0),
            found: found.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct State {
    link: String,
    partitions: BTreeMap<PositionKey, Saved>,
}

#[derive(Serialize, Deserialize)]
struct File {
    v: u32,
    link: String,
    partitions: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: PositionKey,
    at: Saved,
}

fn not_kept(file: &Path, error: std::io::Error) -> VerifyError {
    VerifyError::StateNotKept { file: file.display().to_string(), problem: error.to_string() }
}

impl State {
    /// A file that is not there yet is the state of a comparison that has not begun.
    pub(super) fn load(file: Option<&Path>, link: &str) -> Result<Self, VerifyError> {
        let fresh = Self { link: link.to_owned(), partitions: BTreeMap::new() };
        let Some(file) = file else { return Ok(fresh) };
        let wrong = |problem: String| VerifyError::StateUnknown { file: file.display().to_string(), problem };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(fresh),
            Err(error) => return Err(not_kept(file, error)),
        };
        let read: File = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if (read.v, read.link.as_str()) != (VERSION, link) {
            return Err(wrong(format!("it is of link {}, version {}", read.link, read.v)));
        }
        let partitions = read.partitions.into_iter().map(|it| (it.key, it.at)).collect();
        Ok(Self { link: read.link, partitions })
    }

    /// Under another name first: a file that was cut off would be no state at all.
    pub(super) fn save(&self, file: &Path) -> Result<(), VerifyError> {
        let line = |(key, at): (&PositionKey, &Saved)| Line { key: key.clone(), at: at.clone() };
        let whole =
            File { v: VERSION, link: self.link.clone(), partitions: self.partitions.iter().map(line).collect() };
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        let written = serde_json::to_vec(&whole)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, file));
        written.map_err(|error| not_kept(file, error))
    }

    pub(super) fn partition(&self, key: &PositionKey) -> Option<&Saved> {
        self.partitions.get(key)
    }

    pub(super) fn put(&mut self, key: &PositionKey, saved: Saved) {
        self.partitions.insert(key.clone(), saved);
    }

    /// As far as it is known, for a comparison that is stopped.
    pub(super) fn outcomes(&self, jobs: &[Job]) -> Vec<(Job, Outcome)> {
        let outcome = |job: &Job| match self.partitions.get(&job.key) {
            Some(saved) => Outcome {
                found: saved.found.clone(),
                chain: saved.chain.map(Chain),
                source_to: saved.source_offset,
                target_to: saved.target_offset,
                stopped: job.stopped.clone(),
                ..Outcome::default()
            },
            None => Outcome { found: job.found.clone(), stopped: job.stopped.clone(), ..Outcome::default() },
        };
        jobs.iter().map(|job| (job.clone(), outcome(job))).collect()
    }
}
