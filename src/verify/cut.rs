//! What is compared: for each partition the ranges of both ends that belong together, up to a moment.

use super::VerifyError;
use super::compare::Rules;
use super::entry::{Chain, Digest, Mask};
use super::found::Found;
use super::letters::{GONE, Letters, OfPartition, are_gone};
use super::replays::{Replays, replays_of};
use super::state::{Saved, State};
use crate::bridge::{Ends, RunError, topics_of};
use crate::cluster::{At, Cluster, Metadata};
use crate::config::{Config, LogAppendTime};
use crate::ledger::{Delivered, History, LetterKey, Milestone, Position, PositionKey};
use crate::topics::plan::{Plan, TopicRules, lane};
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Where to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    #[default]
    Earliest,
    /// Of the source; the comparison begins at a point of the offset map, so somewhat before it.
    Offset(i64),
    Time(SystemTime),
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the source; empty: all of the plan.
    pub topics: Vec<String>,
    pub from: From,
    /// Of the stretches between points of the offset map, so many in a hundred are compared, chosen at random.
    pub sample: Option<f64>,
    pub since_last: bool,
    pub record: bool,
    pub state: Option<PathBuf>,
}

/// What the proof that this one goes on from has since its first.
#[derive(Clone, Debug)]
pub(super) struct Proved {
    pub(super) source: Range<i64>,
    pub(super) target: Range<i64>,
    pub(super) records: u64,
    pub(super) dead_letters: u64,
}

/// One partition.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) key: PositionKey,
    pub(super) source: TopicPartition,
    pub(super) target: TopicPartition,
    pub(super) lane: u32,
    pub(super) topic_id: Uuid,
    pub(super) target_topic_id: Uuid,
    /// The first offset that the source still holds.
    pub(super) source_start: i64,
    pub(super) ranges: Vec<Rules>,
    pub(super) letters: Arc<OfPartition>,
    pub(super) replays: Arc<Replays>,
    pub(super) mask: Mask,
    /// What the ledger counts, where all of it is compared.
    pub(super) counted: Option<Counted>,
    /// Before them.
    pub(super) found: Found,
    /// Of a proof that this one goes on from.
    pub(super) chain: Option<Chain>,
    pub(super) proved: Option<Proved>,
    pub(super) notes: Vec<String>,
    /// Why nothing, or not all, can be compared.
    pub(super) stopped: Option<String>,
}

/// By the ledger, since the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) records: u64,
    pub(super) dead_letters: u64,
    pub(super) next_offset: i64,
}

impl Counted {
    fn of(position: &Position) -> Self {
        Self {
            records: position.records,
            dead_letters: position.dead_letters.as_ref().map_or(0, |it| it.records),
            next_offset: position.next_offset,
        }
    }
}

#[derive(Debug)]
pub(super) struct Cut {
    pub(super) time: SystemTime,
    pub(super) source_cluster_id: String,
    pub(super) target_cluster_id: String,
    pub(super) jobs: Vec<Job>,
    /// Partitions of the plan that the ledger does not know yet.
    pub(super) not_begun: usize,
}

impl Cut {
    pub(super) async fn take(
        config: &Config,
        ends: &Ends,
        options: &Options,
        state: &State,
    ) -> Result<Self, VerifyError> {
        let (source, target) = ends.connect().await?;
        let plan = Plan::build(&TopicRules::compile(config), &topics_of(&source)).map_err(RunError::Plan)?;
        for topic in &options.topics {
            if !plan.entries.contains_key(topic.as_str()) {
                return Err(VerifyError::NoTopic { topic: topic.clone() });
            }
        }
        let wanted = |topic: &TopicName| options.topics.is_empty() || options.topics.iter().any(|it| **it == **topic);
        let entries: Vec<_> = plan.entries.values().filter(|it| wanted(&it.source)).collect();
        let topic = config.link.ledger_topic();
        let histories = History::of_all_lanes(&ends.target, &target, &topic, config.delivery.lanes).await;
        let histories = histories.map_err(RunError::Ledger)?;
        let time = SystemTime::now();
        let mut known = Vec::new();
        let mut cut = Self {
            time,
            source_cluster_id: source.cluster_id.clone(),
            target_cluster_id: target.cluster_id.clone(),
            jobs: Vec::new(),
            not_begun: 0,
        };
        for entry in entries {
            let check = ends.checks.of(entry.rule, &entry.source);
            let (mask, is_checked) = (Mask::of(check.as_ref()), check.is_some());
            for number in 0..entry.partitions {
                let key = PositionKey {
                    cluster_id: source.cluster_id.as_str().into(),
                    topic: Arc::clone(&entry.source),
                    partition: number,
                };
                let lane = lane(&entry.source, number, config.delivery.lanes);
                let history = histories.get(&lane);
                match history.and_then(|it| Some((it, it.positions.get(&key)?.clone()))) {
                    Some((history, position)) => {
                        let may_have_letters = is_checked || position.dead_letters.is_some();
                        known.push(Known { key, lane, position, history, mask, may_have_letters });
                    }
                    None => cut.not_begun += 1,
                }
            }
        }
        let offsets = Offsets::ask(config, ends, options, &source, &target, &known).await?;
        let compacted = compacted(ends, &known).await;
        let letters = &letters(config, ends, &target, &known).await?;
        let delivered = &delivered(config, ends, &target, &known).await?;
        for Known { key, lane, position, history, mask, .. } in known {
            let (offsets, source, target) = (&offsets, &source, &target);
            let place = Place { options, config, history, offsets, source, target, letters, delivered, mask };
            let is_compacted = compacted.contains(&key.topic) || compacted.contains(&position.target_topic);
            cut.jobs.push(place.job(key, lane, &position, is_compacted, state));
        }
        Ok(cut)
    }
}

/// A partition that the link has begun.
struct Known<'a> {
    key: PositionKey,
    lane: u32,
    position: Position,
    history: &'a History,
    mask: Mask,
    may_have_letters: bool,
}

type ByPartition = BTreeMap<TopicPartition, i64>;

/// Topics of either end that a cleaner works on, as far as their settings are told; holes in batches tell it too.
async fn compacted(ends: &Ends, known: &[Known<'_>]) -> Vec<TopicName> {
    let mut compacted = Vec::new();
    let names = |of: fn(&Known<'_>) -> TopicName| {
        let mut names: Vec<TopicName> = known.iter().map(of).collect();
        names.dedup();
        names
    };
    let all = [
        (&ends.source, names(|it| Arc::clone(&it.key.topic))),
        (&ends.target, names(|it| Arc::clone(&it.position.target_topic))),
    ];
    for (cluster, names) in all {
        let Ok(told) = cluster.topics_configs(&names).await else { continue };
        let is_cleaned = |it: &crate::cluster::TopicConfigs| {
            it.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
        };
        compacted.extend(told.into_iter().filter(|it| it.1.as_ref().is_ok_and(is_cleaned)).map(|it| it.0));
    }
    compacted
}

/// After the ledger: what it tells of is found.
async fn letters(config: &Config, ends: &Ends, target: &Metadata, known: &[Known<'_>]) -> Result<Letters, VerifyError> {
    let wanted: BTreeSet<_> = known.iter().filter(|it| it.may_have_letters).map(|it| &it.key).collect();
    if wanted.is_empty() {
        return Ok(Letters::default());
    }
    Ok(Letters::read(config, (&ends.target, target), |key, _| wanted.contains(key)).await?)
}

/// After the target's ends: whatever was replayed before them is told.
async fn delivered(
    config: &Config,
    ends: &Ends,
    target: &Metadata,
    known: &[Known<'_>],
) -> Result<BTreeMap<LetterKey, Delivered>, VerifyError> {
    if !known.iter().any(|it| it.may_have_letters) {
        return Ok(BTreeMap::new());
    }
    let (topic, lanes) = (config.link.ledger_topic(), config.delivery.lanes);
    let patience = config.delivery.patience();
    let found = History::all_delivered(&ends.target, target, (&topic, lanes), patience).await;
    Ok(found.map_err(RunError::Ledger)?)
}

struct Offsets {
    source_start: ByPartition,
    source_end: ByPartition,
    target_start: ByPartition,
    target_end: ByPartition,
    /// Where the records of the wanted time begin.
    from: ByPartition,
}

impl Offsets {
    /// The ledger was read before: what it tells as copied lies below the ends that are found here.
    async fn ask(
        config: &Config,
        ends: &Ends,
        options: &Options,
        source: &Metadata,
        target: &Metadata,
        known: &[Known<'_>],
    ) -> Result<Self, VerifyError> {
        let sources: Vec<_> = known.iter().map(|it| it.key.topic_partition()).collect();
        let targets: Vec<_> = known
            .iter()
            .map(|it| TopicPartition::new(Arc::clone(&it.position.target_topic), it.position.target_partition))
            .collect();
        let there = |metadata: &Metadata, of: &[TopicPartition]| -> Vec<_> {
            of.iter().filter(|it| metadata.topics.contains_key(&it.topic)).cloned().collect()
        };
        let (sources, targets) = (there(source, &sources), there(target, &targets));
        let failed = |error| VerifyError::Run(RunError::Cluster(error));
        let target_end = ends.target.stable_ends(target, &targets, config.delivery.patience()).await.map_err(failed)?;
        let at = async |cluster: &Cluster, metadata: &Metadata, of: &[TopicPartition], at: At| {
            cluster.offsets_at(metadata, of, at).await.map_err(failed)
        };
        let from = match options.from {
            From::Time(time) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let ms = i64::try_from(since).unwrap_or(i64::MAX);
                at(&ends.source, source, &sources, At::Time(ms)).await?
            }
            From::Offset(offset) => sources.iter().map(|it| (it.clone(), offset)).collect(),
            From::Earliest => ByPartition::new(),
        };
        Ok(Self {
            source_start: at(&ends.source, source, &sources, At::Earliest).await?,
            source_end: at(&ends.source, source, &sources, At::LastStable).await?,
            target_start: at(&ends.target, target, &targets, At::Earliest).await?,
            target_end,
            from,
        })
    }
}

struct Place<'a> {
    options: &'a Options,
    config: &'a Config,
    history: &'a History,
    offsets: &'a Offsets,
    source: &'a Metadata,
    target: &'a Metadata,
    letters: &'a Letters,
    delivered: &'a BTreeMap<LetterKey, Delivered>,
    mask: Mask,
}

/// One is known, the other is another.
fn differ(one: Uuid, other: Uuid) -> bool {
    !one.is_nil() && !other.is_nil() && one != other
}

impl Place<'_> {
    fn job(&self, key: PositionKey, lane: u32, position: &Position, is_compacted: bool, state: &State) -> Job {
        let source = key.topic_partition();
        let target = TopicPartition::new(Arc::clone(&position.target_topic), position.target_partition);
        let mut job = Job {
            source: source.clone(),
            target: target.clone(),
            lane,
            topic_id: position.topic_id,
            target_topic_id: position.target_topic_id,
            source_start: 0,
            ranges: Vec::new(),
            letters: Arc::new(self.letters.of(&key, position, self.history)),
            replays: Arc::new(replays_of(self.delivered, position)),
            mask: self.mask,
            counted: None,
            found: Found::default(),
            chain: self.options.record.then(Chain::default),
            proved: None,
            notes: Vec::new(),
            stopped: None,
            key,
        };
        let all = |of: &ByPartition, name| of.get(name).copied();
        let offsets = self.offsets;
        let bounds = all(&offsets.source_start, &source).zip(all(&offsets.source_end, &source));
        let copied = all(&offsets.target_start, &target).zip(all(&offsets.target_end, &target));
        let Some(((source_start, source_end), (target_start, target_end))) = bounds.zip(copied) else {
            job.found.counts.unknown = position.records;
            job.stopped = Some("the topic is gone at one end".to_owned());
            return job;
        };
        job.source_start = source_start;
        let id =
            |metadata: &Metadata, name: &TopicName| metadata.topics.get(name).map_or(Uuid::nil(), |it| it.topic_id);
        let is_other = differ(position.topic_id, id(self.source, &source.topic));
        if is_other || differ(position.target_topic_id, id(self.target, &target.topic)) {
            let end = if is_other { "source" } else { "target" };
            job.found.counts.unknown = position.records;
            job.stopped = Some(format!("the {end}'s topic was deleted and created again"));
            return job;
        }
        if are_gone(self.config, self.target, position) {
            // Else each record that went there would be missing.
            job.found.counts.unknown = position.records;
            job.stopped = Some(GONE.to_owned());
            return job;
        }
        if source_end < position.next_offset {
            let lost = position.next_offset - source_end;
            job.stopped =
                Some(format!("the source ends at {source_end}, and {lost} offsets more were copied: it lost records"));
        }
        let rules = Rules {
            source: source_start..source_end,
            target: target_start..target_end,
            due_before: position.next_offset,
            gaps: self.gaps(&job, position),
            letters: Arc::clone(&job.letters),
            replays: Arc::clone(&job.replays),
            mask: self.mask,
            is_compacted,
            with_create_time: self.config.delivery.log_append_time == LogAppendTime::CreateTime,
            is_loose: false,
            is_part: false,
        };
        let is_saved = |it: &&Saved| {
            it.source_offset >= source_start
                && it.target_offset >= target_start
                && (it.topic_id, it.target_topic_id) == (position.topic_id, position.target_topic_id)
        };
        if let Some(saved) = state.partition(&job.key).filter(is_saved) {
            let source = saved.source_offset..source_end;
            job.found = saved.found.clone();
            job.chain = saved.chain.map(Chain).filter(|_| self.options.record);
            job.ranges.push(Rules { source, target: saved.target_offset..target_end, ..rules });
            return job;
        }
        let proof = self.history.proofs.get(&job.key).filter(|it| {
            self.options.since_last
                && it.topic_id == position.topic_id
                && it.target_topic_id == position.target_topic_id
        });
        if let Some(proof) = proof.filter(|it| it.source_to >= source_start && it.target_to >= target_start) {
            if let Ok(digest) = Digest::try_from(proof.sha256.clone()) {
                job.chain = self.options.record.then_some(Chain(digest));
            }
            job.proved = Some(Proved {
                source: proof.source_from..proof.source_to,
                target: proof.target_from..proof.target_to,
                records: proof.records,
                dead_letters: proof.dead_letters,
            });
            let source = proof.source_to..source_end;
            job.ranges.push(Rules { source, target: proof.target_to..target_end, ..rules });
            return job;
        }
        self.plan_from_anchors(&mut job, position, rules);
        job
    }

    /// Offsets that an operator let the partition go on past.
    fn gaps(&self, job: &Job, position: &Position) -> Vec<Range<i64>> {
        let of = self.history.decisions.iter().filter(|it| it.0.0 == job.key);
        of.filter(|it| it.1.topic_id == position.topic_id).map(|it| it.0.1..it.1.next_offset).collect()
    }

    fn plan_from_anchors(&self, job: &mut Job, position: &Position, rules: Rules) {
        let all = self.history.anchors.get(&job.key).map_or(&[][..], Vec::as_slice);
        let is_there = |it: &&Milestone| {
            it.anchor.source_offset >= rules.source.start && it.anchor.target_offset >= rules.target.start
        };
        let usable: Vec<_> = all.iter().filter(is_there).map(|it| it.anchor).collect();
        let wanted = self.offsets.from.get(&job.source).copied().filter(|it| *it >= 0);
        let is_by_time = matches!(self.options.from, From::Time(_));
        // Nothing of that time or later.
        let nothing = is_by_time && wanted.is_none();
        let wanted = if nothing { Some(i64::MAX) } else { wanted };
        let before = |it: &crate::ledger::Anchor| wanted.is_none_or(|wanted| it.source_offset <= wanted);
        let first = match wanted {
            None => usable.first(),
            Some(_) => usable.iter().rfind(|it| before(it)).or(usable.first()),
        };
        let Some(first) = first.copied() else {
            job.notes.push(
                "the ledger has no point of the offset map here: what lies before the first record that both \
                            ends have is not judged"
                    .to_owned(),
            );
            job.ranges.push(Rules { is_loose: true, ..rules });
            return;
        };
        let oldest = all.first().map_or(first, |it| it.anchor);
        if wanted.is_none() && first.records > oldest.records {
            let unknown = first.records - oldest.records;
            job.found.counts.unknown += unknown;
            let gone = if oldest.source_offset < rules.source.start { "source" } else { "target" };
            job.notes.push(format!(
                "{unknown} records before source offset {} are not compared: the {gone} has deleted them, or some of them",
                first.source_offset
            ));
        } else if wanted.is_none() && all.first().is_none_or(|it| it.anchor.records > 0) {
            job.found.counts.unknown += first.records;
        }
        let Some(percent) = self.options.sample else {
            let is_all = wanted.is_none() && first == oldest && job.found.counts.unknown == 0;
            // The ledger counts over the link's whole life, whatever a decision has left out, repeated, or begun anew.
            let is_decided = self.history.decisions.keys().any(|it| it.0 == job.key);
            job.counted = (is_all && first.records == 0 && !is_decided).then(|| Counted::of(position));
            let source = first.source_offset..rules.source.end;
            job.ranges.push(Rules { source, target: first.target_offset..rules.target.end, ..rules });
            return;
        };
        let from = usable.iter().position(|it| *it == first).unwrap_or(0);
        let points: Vec<_> = usable[from..].iter().filter(|it| it.source_offset < rules.source.end).collect();
        let drawn: Vec<bool> = points.iter().map(|_| fastrand::f64() * 100.0 < percent).collect();
        // A partition without a drawn stretch would be called clean, unseen.
        let instead = (!points.is_empty() && !drawn.contains(&true)).then(|| fastrand::usize(..points.len()));
        for (at, point) in points.iter().enumerate().filter(|(at, _)| drawn[*at] || instead == Some(*at)) {
            let (source, target) = (point.source_offset, point.target_offset);
            job.ranges.push(match points.get(at + 1) {
                Some(next) => Rules {
                    source: source..next.source_offset,
                    target: target..next.target_offset,
                    due_before: next.source_offset.min(position.next_offset),
                    is_part: true,
                    ..rules.clone()
                },
                None => Rules { source: source..rules.source.end, target: target..rules.target.end, ..rules.clone() },
            });
        }
    }
}
