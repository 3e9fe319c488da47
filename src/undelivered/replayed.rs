//! What came of letters that were to be replayed.

use super::list::ReplayedTo;
use crate::dead_letters::{Letter, LetterId, Why};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Of each outcome; all are counted. A row takes up to two thousand bytes.
const ROWS_MAX: u64 = 10_000;

/// How far it is, for whoever shows it; and that it is to end.
#[derive(Debug, Default)]
pub struct Progress {
    pub looked_at: AtomicU64,
    pub replayed: AtomicU64,
    pub transactions: AtomicU64,
    /// What is open is finished, and nothing more is begun.
    pub stop: AtomicBool,
}

impl Progress {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Replayed,
    /// Nothing is written, for that was asked for.
    WouldBeReplayed,
    /// Before.
    AlreadyReplayed,
    /// It does not pass the check as it is now.
    Invalid,
    /// It may pass, and nothing can be written where it belongs.
    Held,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayRow {
    pub id: LetterId,
    /// Of the source.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub outcome: Outcome,
    /// Its value is the corrected one.
    pub corrected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ReplayedTo>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The field; empty: the whole datum.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl ReplayRow {
    pub(super) fn of(id: LetterId, letter: &Letter, outcome: Outcome) -> Self {
        Self {
            id,
            topic: letter.source.topic.to_string(),
            partition: letter.source.partition,
            offset: letter.offset,
            outcome,
            corrected: false,
            to: None,
            reason: None,
            path: String::new(),
            error: String::new(),
        }
    }

    pub(super) fn invalid(self, why: Why) -> Self {
        Self {
            outcome: Outcome::Invalid,
            reason: Some(why.reason.into_owned()),
            path: why.path,
            error: why.error,
            ..self
        }
    }

    pub(super) fn held(self, reason: &str, error: String) -> Self {
        Self { outcome: Outcome::Held, reason: Some(reason.to_owned()), error, ..self }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayReport {
    pub link: String,
    /// At the target.
    pub dead_letter_topic: String,
    pub dry_run: bool,
    pub is_interrupted: bool,
    pub selected: u64,
    pub replayed: u64,
    pub would_be_replayed: u64,
    /// Of those that were or would be.
    pub corrected: u64,
    pub already_replayed: u64,
    pub invalid: u64,
    pub held: u64,
    /// Of those that are invalid or held.
    pub by_reason: BTreeMap<String, u64>,
    pub transactions: u64,
    /// That were asked for, and are no dead letters.
    pub missing: Vec<LetterId>,
    /// Not all of them, where there are many.
    pub letters: Vec<ReplayRow>,
}

impl ReplayReport {
    /// All that was asked for is, or would be, at the target.
    pub fn is_done(&self) -> bool {
        self.invalid + self.held == 0 && self.missing.is_empty() && !self.is_interrupted
    }

    pub(super) fn add(&mut self, row: ReplayRow) {
        let count = match row.outcome {
            Outcome::Replayed => &mut self.replayed,
            Outcome::WouldBeReplayed => &mut self.would_be_replayed,
            Outcome::AlreadyReplayed => &mut self.already_replayed,
            Outcome::Invalid => &mut self.invalid,
            Outcome::Held => &mut self.held,
        };
        *count += 1;
        let is_named = *count <= ROWS_MAX;
        if row.corrected && matches!(row.outcome, Outcome::Replayed | Outcome::WouldBeReplayed) {
            self.corrected += 1;
        }
        if let Some(reason) = &row.reason {
            *self.by_reason.entry(reason.clone()).or_default() += 1;
        }
        if is_named {
            self.letters.push(row);
        }
    }
}
