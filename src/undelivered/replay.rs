//! Brings dead letters to where they belong: each is held against its check as it is now, and what passes is written.

use super::corrections::Corrections;
use super::deliver::{LaneReplay, Ready};
use super::list::{Filter, ReplayedTo};
use super::replayed::{Outcome, Progress, ReplayReport, ReplayRow};
use super::{UndeliveredError, delivered, key, partition};
use crate::batch::{DecodedBatch, Payload, RecordView, UNCOMPRESSED_BYTES_MAX};
use crate::bridge::{Reviewed, Reviewer};
use crate::cluster::TopicConfigs;
use crate::dead_letters::{Letter, LetterId};
use crate::positions::Link;
use crate::reader::{ReadError, Stream};
use crate::topics::plan::{TopicRules, lane};
use crate::types::{TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// Of one transaction, and that wait for it: their records in the ledger have to find room in one batch.
const LETTERS_MAX: usize = 500;
const BYTES_MAX: usize = 4 << 20;
/// A broker's `message.max.bytes`, unless told otherwise.
const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;

/// Which letters, and how.
#[derive(Debug, Default)]
pub struct Order {
    pub filter: Filter,
    /// None: all that the filter takes.
    pub ids: Option<BTreeSet<LetterId>>,
    pub corrections: Option<Corrections>,
    /// A compacted topic keeps the last record of a key, which a letter is then.
    pub into_compacted: bool,
    /// Nothing is written, and no schema registered.
    pub is_dry: bool,
}

/// Nothing is written twice, whatever was replayed before, is replayed elsewhere at this moment, or was ended in the middle.
pub async fn replay(link: &Link<'_>, order: &Order, progress: &Progress) -> Result<ReplayReport, UndeliveredError> {
    if order.corrections.is_some() && !order.is_dry {
        // A line that is wrong is told before anything is written.
        Replaying::new(link, order, progress, true).run().await?;
        progress.looked_at.store(0, Ordering::Relaxed);
    }
    Replaying::new(link, order, progress, order.is_dry).run().await
}

struct Replaying<'a> {
    link: &'a Link<'a>,
    order: &'a Order,
    progress: &'a Progress,
    is_dry: bool,
    rules: TopicRules,
    reviewer: Reviewer,
    /// Of the target; None: they cannot be read.
    configs: BTreeMap<TopicName, Option<TopicConfigs>>,
    lanes: BTreeMap<u32, LaneReplay>,
    waiting: BTreeMap<u32, Vec<Ready>>,
    waiting_letters: usize,
    waiting_bytes: usize,
    seen: BTreeSet<LetterId>,
    report: ReplayReport,
}

impl<'a> Replaying<'a> {
    fn new(link: &'a Link<'a>, order: &'a Order, progress: &'a Progress, is_dry: bool) -> Self {
        let report = ReplayReport {
            link: link.config().link.as_str().to_owned(),
            dead_letter_topic: link.config().dead_letter_topic(),
            dry_run: is_dry,
            ..ReplayReport::default()
        };
        Self {
            link,
            order,
            progress,
            is_dry,
            rules: TopicRules::compile(link.config()),
            reviewer: Reviewer::new(link.ends().schemas.clone(), !is_dry),
            configs: BTreeMap::new(),
            lanes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_letters: 0,
            waiting_bytes: 0,
            seen: BTreeSet::new(),
            report,
        }
    }

    async fn run(mut self) -> Result<ReplayReport, UndeliveredError> {
        let (_, target) = self.link.metadata();
        let topic = target.topics.get(self.report.dead_letter_topic.as_str());
        let numbers: Vec<i32> = topic.into_iter().flat_map(|it| it.partitions.keys().copied()).collect();
        for number in numbers {
            let from = partition(self.link, number);
            let range = self.link.ends().target.committed_range(target, &from).await?;
            let range = self.narrowed(number, range);
            if !range.is_empty() {
                self.read(number, &from, range).await?;
            }
        }
        self.report.is_interrupted = self.progress.is_stopped();
        if !self.report.is_interrupted {
            self.flush().await?;
            let asked = self.order.ids.iter().flatten().copied();
            self.report.missing = asked.filter(|it| !self.seen.contains(it)).collect();
        }
        Ok(self.report)
    }

    /// Of letters that are named, no others are read than those between them.
    fn narrowed(&self, number: i32, range: Range<i64>) -> Range<i64> {
        let Some(ids) = &self.order.ids else { return range };
        let of = ids.iter().filter(|it| it.partition == number).map(|it| it.offset);
        match (of.clone().min(), of.max()) {
            (Some(first), Some(last)) => range.start.max(first)..range.end.min(last + 1),
            _ => range.start..range.start,
        }
    }

    async fn read(&mut self, number: i32, from: &TopicPartition, range: Range<i64>) -> Result<(), UndeliveredError> {
        let cluster = self.link.ends().target.clone();
        let mut stream = Stream::open(cluster, from.clone(), range.start, range.end);
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                let offset = batch.header().base_offset;
                let damaged = |error| ReadError::Batch { partition: from.clone(), offset, error };
                let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(damaged)?;
                for record in decoded.records() {
                    let record = record.map_err(damaged)?;
                    let id = LetterId { partition: number, offset: decoded.offset(&record) };
                    if self.progress.is_stopped() {
                        return Ok(());
                    }
                    if range.contains(&id.offset) {
                        self.look(id, &decoded, &record).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        id: LetterId,
        batch: &DecodedBatch,
        record: &RecordView<'_>,
    ) -> Result<(), UndeliveredError> {
        let is_named = self.order.ids.as_ref().is_none_or(|it| it.contains(&id));
        let Some(letter) = Letter::read(record).filter(|it| is_named && self.order.filter.takes(it)) else {
            return Ok(());
        };
        self.progress.looked_at.fetch_add(1, Ordering::Relaxed);
        self.report.selected += 1;
        if is_named && self.order.ids.is_some() {
            self.seen.insert(id);
        }
        if let Some(it) = delivered(self.link, &letter, id) {
            let row = ReplayRow::of(id, &letter, Outcome::AlreadyReplayed);
            self.report.add(ReplayRow { corrected: it.corrected, to: Some(ReplayedTo::of(it)), ..row });
            return Ok(());
        }
        match self.judge(id, letter, batch.timestamp(record), record).await? {
            Err(row) => self.report.add(row),
            Ok(ready) if self.is_dry => {
                let row = ReplayRow::of(id, &ready.letter, Outcome::WouldBeReplayed);
                self.report.add(ReplayRow { corrected: ready.corrected, ..row });
            }
            Ok(ready) => {
                let bytes = ready.bytes();
                if self.waiting_letters >= LETTERS_MAX
                    || (self.waiting_letters > 0 && self.waiting_bytes + bytes > BYTES_MAX)
                {
                    self.flush().await?;
                }
                self.waiting_letters += 1;
                self.waiting_bytes += bytes;
                let source = &ready.letter.source;
                let lane = lane(&source.topic, source.partition, self.link.config().delivery.lanes);
                self.waiting.entry(lane).or_default().push(ready);
            }
        }
        Ok(())
    }

    /// What is to be written; `Err`: why nothing is.
    async fn judge(
        &mut self,
        id: LetterId,
        letter: Letter,
        timestamp: i64,
        record: &RecordView<'_>,
    ) -> Result<Result<Ready, ReplayRow>, UndeliveredError> {
        let row = |letter: &Letter| ReplayRow::of(id, letter, Outcome::Held);
        let Some(original) = Letter::original(record) else {
            return Ok(Err(row(&letter).held("no_record", "what it holds is no record".to_owned())));
        };
        let rule = self.rules.matches(&letter.source.topic);
        let Some(rule) = rule else {
            let error = format!("no [[topics]] takes {} any more: add one that does", letter.source.topic);
            return Ok(Err(row(&letter).held("not_in_plan", error)));
        };
        let check = self.link.ends().checks.of(rule.rule, &letter.source.topic);
        let (target, target_topic_id) = match self.place(&letter) {
            Ok(place) => place,
            Err((reason, error)) => return Ok(Err(row(&letter).held(reason, error))),
        };
        if let Some(error) = self.compacted(&target.topic).await.filter(|_| !self.order.into_compacted) {
            return Ok(Err(row(&letter).held("compacted", error)));
        }
        let corrected = match (&self.order.corrections, original.view()) {
            (Some(it), Some(view)) => {
                let value = it.of(self.link, check.as_ref(), (id, &letter, view.value)).await?;
                value.map(|value| Payload::of(&view, view.key, Some(&value), &[]))
            }
            _ => None,
        };
        let is_corrected = corrected.is_some();
        let payload = corrected.unwrap_or(original);
        let Some(view) = payload.view() else {
            return Ok(Err(row(&letter).held("no_record", "it is longer than a record can be".to_owned())));
        };
        let reviewed = self.reviewer.review(check.as_ref(), &letter, timestamp, &view).await?;
        let payload = match reviewed {
            Reviewed::Passes(payload) => payload,
            Reviewed::Fails(why) => {
                return Ok(Err(ReplayRow { corrected: is_corrected, ..row(&letter).invalid(why) }));
            }
        };
        let key = key(&letter, id);
        let ready = Ready { key, letter, target, target_topic_id, timestamp, payload, corrected: is_corrected };
        let (bytes, bytes_max) = (ready.bytes(), self.message_bytes_max(&ready.target.topic).await);
        if bytes > bytes_max {
            let topic = &ready.target.topic;
            let error = format!("it takes {bytes} bytes, and max.message.bytes of {topic} is {bytes_max}: raise it");
            return Ok(Err(row(&ready.letter).held("too_large", error)));
        }
        Ok(Ok(ready))
    }

    /// Where the partition's records are copied to, by the ledger.
    fn place(&self, letter: &Letter) -> Result<(TopicPartition, Uuid), (&'static str, String)> {
        let (source, (_, target)) = (&letter.source, self.link.metadata());
        let lane = lane(&source.topic, source.partition, self.link.config().delivery.lanes);
        let key = key(letter, LetterId { partition: 0, offset: 0 }).of;
        let history = self.link.histories().get(&lane);
        let Some(position) = history.and_then(|it| it.positions.get(&key)) else {
            let error = format!("the ledger has no position of {source} of cluster {}", letter.cluster_id);
            return Err(("no_position", error));
        };
        let topic = &position.target_topic;
        let found = target.topics.get(topic).filter(|it| it.partitions.contains_key(&position.target_partition));
        match found {
            Some(it) if position.target_topic_id.is_nil() || it.topic_id == position.target_topic_id => {
                Ok((TopicPartition::new(topic.clone(), position.target_partition), it.topic_id))
            }
            _ => {
                let error = format!("{topic} at the target is not the topic any more that the link copies to");
                Err(("target_recreated", error))
            }
        }
    }

    async fn configs(&mut self, topic: &TopicName) -> Option<&TopicConfigs> {
        if !self.configs.contains_key(topic) {
            let found = self.link.ends().target.topic_configs(topic).await.ok();
            self.configs.insert(topic.clone(), found);
        }
        self.configs.get(topic).and_then(Option::as_ref)
    }

    async fn compacted(&mut self, topic: &TopicName) -> Option<String> {
        let policy = self.configs(topic).await?.get("cleanup.policy").filter(|it| it.contains("compact"))?;
        Some(format!(
            "{topic} has cleanup.policy={policy}: the letter would take the place of newer records of its key. With \
             --into-compacted it is replayed all the same"
        ))
    }

    async fn message_bytes_max(&mut self, topic: &TopicName) -> usize {
        let configs = self.configs(topic).await;
        let told = configs.and_then(|it| it.get("max.message.bytes")?.parse().ok());
        told.unwrap_or(MESSAGE_BYTES_DEFAULT)
    }

    /// Everything that waits, a transaction for each lane.
    async fn flush(&mut self) -> Result<(), UndeliveredError> {
        (self.waiting_letters, self.waiting_bytes) = (0, 0);
        for (number, letters) in std::mem::take(&mut self.waiting) {
            if !self.lanes.contains_key(&number) {
                let lane = LaneReplay::take(self.link, number).await?;
                self.lanes.insert(number, lane);
            }
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            // By another process, since the ledger was read.
            let before: BTreeSet<_> =
                letters.iter().filter(|it| lane.delivered(&it.key).is_some()).map(|it| it.key.clone()).collect();
            let all: Vec<&Ready> = letters.iter().collect();
            let transactions = lane.deliver(self.link, &all).await?;
            self.report.transactions += transactions;
            self.progress.transactions.fetch_add(transactions, Ordering::Relaxed);
            for it in &letters {
                let Some(delivered) = lane.delivered(&it.key) else { continue };
                let is_old = before.contains(&it.key);
                let outcome = if is_old { Outcome::AlreadyReplayed } else { Outcome::Replayed };
                self.progress.replayed.fetch_add(u64::from(!is_old), Ordering::Relaxed);
                let row = ReplayRow::of(it.key.letter, &it.letter, outcome);
                let (corrected, to) = (delivered.corrected, Some(ReplayedTo::of(delivered)));
                self.report.add(ReplayRow { corrected, to, ..row });
            }
        }
        Ok(())
    }
}
