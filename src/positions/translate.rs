//! The exact offset map: from the nearest anchor on, committed records are counted at both ends.

use super::{Link, PositionsError};
use crate::batch::{BatchError, RawBatch, UNCOMPRESSED_BYTES_MAX};
use crate::bridge::RunError;
use crate::cluster::{Cluster, Metadata, TopicConfigs};
use crate::ledger::{Anchor, History, Position, PositionKey};
use crate::reader::Stream;
use crate::topics::plan::TopicRules;
use crate::types::TopicPartition;
use crate::verify::{Digest, GONE, Letters, Mask, OfPartition, Replays, are_gone, replays_of};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use uuid::Uuid;

/// Of a compacted topic, where counting is no use: so many source records before the offset are looked for at the target.
const DIGESTS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Translation {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub target_topic: String,
    pub target_partition: i32,
    /// Whoever reads on from here reads the copy of what whoever reads on from `offset` reads.
    pub target_offset: i64,
}

/// Exact, whatever was re-encoded, aborted or compacted in between: nothing that comes behind the offset is left out.
pub async fn translate(
    link: &Link<'_>,
    partition: &TopicPartition,
    offset: i64,
) -> Result<Translation, PositionsError> {
    let mut walk = Walk::plan(link, partition, offset).await?;
    find_letters(link, [&mut walk]).await?;
    walk.translate().await
}

/// Reads the dead letters' topic once for all of them, and keeps only what lies on their ways. After the ledger: whatever it
/// tells of is found.
pub(super) async fn find_letters<'a: 'w, 'w>(
    link: &Link<'_>,
    walks: impl IntoIterator<Item = &'w mut Walk<'a>>,
) -> Result<(), PositionsError> {
    let walks: Vec<_> = walks.into_iter().filter(|it| it.may_have_letters).collect();
    let wanted: BTreeMap<_, _> =
        walks.iter().map(|it| (link.key(&it.source), it.anchor.source_offset..it.letters_to)).collect();
    if wanted.values().all(Range::is_empty) {
        return Ok(());
    }
    let is_wanted = |key: &PositionKey, offset| wanted.get(key).is_some_and(|it| it.contains(&offset));
    let letters = Letters::read(link.config, (&link.ends.target, &link.target), is_wanted).await?;
    // After the walks' ends at the target: whatever was replayed before them is told.
    let (topic, delivery) = (link.config.link.ledger_topic(), &link.config.delivery);
    let ledger = (topic.as_str(), delivery.lanes);
    let delivered = History::all_delivered(&link.ends.target, &link.target, ledger, delivery.patience()).await;
    let delivered = delivered.map_err(RunError::Ledger)?;
    for walk in walks {
        walk.replays = replays_of(&delivered, walk.position);
        walk.letters = letters.of(&link.key(&walk.source), walk.position, walk.history);
    }
    Ok(())
}

impl Link<'_> {
    pub(super) async fn is_compacted(&self, source: &TopicPartition, target: &TopicPartition) -> bool {
        let of = async |cluster: &Cluster, topic: &str| {
            let is_cleaned = |it: &TopicConfigs| it.get("cleanup.policy").is_some_and(|it| it.contains("compact"));
            cluster.topic_configs(topic).await.is_ok_and(|it| is_cleaned(&it))
        };
        of(&self.ends.source, &source.topic).await || of(&self.ends.target, &target.topic).await
    }
}

/// From the nearest anchor to the offset.
pub(super) struct Walk<'a> {
    link: &'a Link<'a>,
    history: &'a History,
    position: &'a Position,
    source: TopicPartition,
    target: TopicPartition,
    source_end: i64,
    target_end: i64,
    anchor: Anchor,
    offset: i64,
    next_offset: i64,
    /// Offsets that were left out by decision.
    gaps: Vec<(i64, i64)>,
    may_have_letters: bool,
    /// Dead letters of records before this one are looked for.
    letters_to: i64,
    /// Source records that went to the dead letters instead.
    letters: OfPartition,
    /// Target records that came from there.
    replays: Replays,
    /// Schemas' ids that are others in the copy.
    mask: Mask,
}

impl<'a> Walk<'a> {
    pub(super) async fn plan(
        link: &'a Link<'a>,
        partition: &TopicPartition,
        offset: i64,
    ) -> Result<Self, PositionsError> {
        let (history, position) = link.position(partition)?;
        let target = TopicPartition::new(position.target_topic.clone(), position.target_partition);
        let id = |metadata: &Metadata, topic| metadata.topics.get(topic).map(|it| it.topic_id);
        for (end, known, found) in [
            ("source", position.topic_id, id(&link.source, &partition.topic)),
            ("target", position.target_topic_id, id(&link.target, &target.topic)),
        ] {
            let is_other = |found: Uuid| !known.is_nil() && !found.is_nil() && found != known;
            if found.is_none_or(is_other) {
                let reason = format!("the {end}'s topic is not the one that was copied any more");
                return Err(PositionsError::Other { partition: partition.clone(), reason });
            }
        }
        if are_gone(link.config, &link.target, position) {
            // Else what went there would be counted as copied.
            return Err(PositionsError::Other { partition: partition.clone(), reason: GONE.to_owned() });
        }
        let at_source = link.ends.source.committed_range(&link.source, partition).await?;
        let at_target = link.ends.target.committed_range(&link.target, &target).await?;
        let anchors = history.anchors.get(&link.key(partition)).map_or(&[][..], Vec::as_slice);
        let anchors = anchors.iter().map(|it| it.anchor);
        let is_usable = |it: &Anchor| {
            (it.source_offset >= at_source.start || it.source_offset == offset) && it.target_offset >= at_target.start
        };
        let usable: Vec<_> = anchors.clone().filter(is_usable).collect();
        // Before everything that was copied, the first record is the next one.
        let before_all =
            anchors.clone().next().filter(|it| it.records == 0 && offset <= it.source_offset && is_usable(it));
        let anchor = match usable.iter().rfind(|it| it.source_offset <= offset).copied().or(before_all) {
            Some(anchor) => anchor,
            None => {
                let partition = partition.clone();
                return Err(match usable.first() {
                    Some(first) => PositionsError::Gone { partition, offset, first: first.source_offset },
                    None => PositionsError::NoAnchor { partition },
                });
            }
        };
        let rule = TopicRules::compile(link.config).matches(&partition.topic);
        let check = rule.and_then(|it| link.ends.checks.of(it.rule, &partition.topic));
        let gaps = history.decisions.iter().filter(|it| it.0.0 == link.key(partition));
        Ok(Self {
            link,
            history,
            position,
            source: partition.clone(),
            target,
            source_end: at_source.end,
            target_end: at_target.end,
            anchor,
            offset,
            next_offset: position.next_offset,
            gaps: gaps.map(|it| (it.0.1, it.1.next_offset)).collect(),
            may_have_letters: check.is_some() || position.dead_letters.is_some(),
            letters_to: offset,
            letters: OfPartition::new(),
            replays: Replays::new(),
            mask: Mask::of(check.as_ref()),
        })
    }

    /// With the dead letters that were found.
    pub(super) async fn translate(&self) -> Result<Translation, PositionsError> {
        self.is_beyond()?;
        let is_compacted = self.link.is_compacted(&self.source, &self.target).await;
        let target_offset = if is_compacted { self.by_digest().await? } else { self.by_count().await? };
        Ok(Translation {
            topic: self.source.topic.to_string(),
            partition: self.source.partition,
            offset: self.offset,
            target_topic: self.target.topic.to_string(),
            target_partition: self.target.partition,
            target_offset,
        })
    }

    /// Whether the record at the offset is a dead letter is asked too.
    pub(super) fn with_its_letter(mut self) -> Self {
        self.letters_to = self.offset.saturating_add(1);
        self
    }

    /// Where it stands, if it is one.
    pub(super) fn its_letter(&self) -> Option<(i32, i64)> {
        self.letters.get(&self.offset)?.first().map(|it| it.id)
    }

    pub(super) fn target(&self) -> (&TopicPartition, i64) {
        (&self.target, self.target_end)
    }

    pub(super) fn is_replay(&self, target_offset: i64) -> bool {
        self.replays.contains_key(&target_offset)
    }

    pub(super) fn mask(&self) -> Mask {
        self.mask
    }

    fn at_source(&self) -> Stream {
        let to = self.offset.min(self.source_end);
        Stream::open(self.link.ends.source.clone(), self.source.clone(), self.anchor.source_offset, to)
    }

    fn at_target(&self) -> Stream {
        Stream::open(self.link.ends.target.clone(), self.target.clone(), self.anchor.target_offset, self.target_end)
    }

    fn damaged(&self, error: BatchError) -> PositionsError {
        PositionsError::Other { partition: self.source.clone(), reason: error.to_string() }
    }

    /// One that was copied, of those before the offset. An error where it lies behind the copy.
    fn is_copied(&self, offset: i64) -> Result<bool, PositionsError> {
        if offset < self.anchor.source_offset || offset >= self.offset {
            return Ok(false);
        }
        if offset >= self.next_offset {
            let (partition, offset, next_offset) = (self.source.clone(), self.offset, self.next_offset);
            return Err(PositionsError::NotCopied { partition, offset, next_offset });
        }
        let is_left_out = self.gaps.iter().any(|(from, to)| (*from..*to).contains(&offset));
        Ok(!is_left_out && !self.letters.contains_key(&offset))
    }

    fn is_beyond(&self) -> Result<(), PositionsError> {
        if self.offset <= self.source_end {
            return Ok(());
        }
        let (offset, end) = (self.offset, self.source_end);
        let reason = format!("offset {offset} lies behind the source's last stable offset {end}");
        Err(PositionsError::Other { partition: self.source.clone(), reason })
    }

    async fn by_count(&self) -> Result<i64, PositionsError> {
        let (mut count, mut stream) = (0_i64, self.at_source());
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                count += self.count(&batch)?;
            }
        }
        let mut stream = self.at_target();
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                let header = batch.header();
                let has_replays = self.replays.range(header.base_offset..header.next_offset()).next().is_some();
                let is_whole = header.base_offset >= self.anchor.target_offset && !header.has_gaps() && !has_replays;
                if is_whole && count >= i64::from(header.record_count) {
                    count -= i64::from(header.record_count);
                    continue;
                }
                let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| self.damaged(error))?;
                for record in decoded.records() {
                    let offset = decoded.offset(&record.map_err(|error| self.damaged(error))?);
                    if offset < self.anchor.target_offset {
                        continue;
                    }
                    if count == 0 {
                        return Ok(offset);
                    }
                    // One that was replayed is nobody's copy. Where the reader begins it is not left out.
                    count -= i64::from(!self.replays.contains_key(&offset));
                }
            }
        }
        // Everything was copied; what comes next comes here.
        Ok(self.target_end)
    }

    fn count(&self, batch: &RawBatch) -> Result<i64, PositionsError> {
        let header = batch.header();
        let is_whole = header.base_offset >= self.anchor.source_offset
            && header.next_offset() <= self.offset.min(self.next_offset)
            && !header.has_gaps()
            && self.gaps.is_empty()
            && self.letters.range(header.base_offset..header.next_offset()).next().is_none();
        if is_whole {
            return Ok(i64::from(header.record_count));
        }
        let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| self.damaged(error))?;
        let mut count = 0;
        for record in decoded.records() {
            let offset = decoded.offset(&record.map_err(|error| self.damaged(error))?);
            count += i64::from(self.is_copied(offset)?);
        }
        Ok(count)
    }

    /// Behind the last record at the target that is one of those before the offset: what a cleaner has taken at one end alone
    /// does not count then. Records that the source has no more may be read again.
    async fn by_digest(&self) -> Result<i64, PositionsError> {
        let (mut order, mut stream) = (VecDeque::new(), self.at_source());
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| self.damaged(error))?;
                for record in decoded.records() {
                    let record = record.map_err(|error| self.damaged(error))?;
                    if self.is_copied(decoded.offset(&record))? {
                        order.push_back(Digest::masked(decoded.timestamp(&record), &record, self.mask));
                    }
                    if order.len() > DIGESTS_MAX {
                        order.pop_front();
                    }
                }
            }
        }
        let before: BTreeSet<Digest> = order.into_iter().collect();
        let (mut next, mut stream) = (None, self.at_target());
        while let Some(part) = stream.next().await {
            for batch in part?.batches {
                let decoded = batch.decode(UNCOMPRESSED_BYTES_MAX).map_err(|error| self.damaged(error))?;
                for record in decoded.records() {
                    let record = record.map_err(|error| self.damaged(error))?;
                    let offset = decoded.offset(&record);
                    if offset < self.anchor.target_offset {
                        continue;
                    }
                    let is_replay = self.replays.contains_key(&offset);
                    let digest = Digest::masked(decoded.timestamp(&record), &record, self.mask);
                    if !is_replay && before.contains(&digest) {
                        next = None;
                    } else if next.is_none() {
                        next = Some(offset);
                    }
                }
            }
        }
        Ok(next.unwrap_or(self.target_end))
    }
}
