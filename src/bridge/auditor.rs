//! Compares the copy with the ledger and the source.

use super::model::{key, source};
use super::world::{PARTITIONS, World};
use crate::source::model::Fate;
use std::collections::BTreeSet;

impl World {
    /// What is committed and what the ledger says must agree, at every moment.
    pub(super) fn audit(&mut self) {
        let positions = self.target.positions();
        let history = self.target.history();
        let mut broken = Vec::new();
        for name in (0..PARTITIONS).map(source) {
            let log = &self.source.logs[&name];
            let copied = self.target.copied(&name);
            let position = positions.get(&key(&name));
            let next_offset = position.map_or(-1, |it| it.next_offset);
            let mut before = -1;
            for value in &copied {
                let written = &log.written[value];
                if !written.was_visible {
                    broken.push(("AbortedInvisible", format!("{name}: {value} at {}", written.offset)));
                }
                if written.offset <= before {
                    broken.push(("NoDuplicate", format!("{name}: {value} at {} behind {before}", written.offset)));
                }
                if written.offset >= next_offset {
                    let what = format!("{name}: {value} at {} is copied, position {next_offset}", written.offset);
                    broken.push(("PositionMatchesData", what));
                }
                before = written.offset;
            }
            if let Some(anchor) = position.and_then(|it| it.anchor) {
                let below = self.target.copied_before(&name, usize::try_from(anchor.target_offset).unwrap()).len();
                let offset = |index: usize| copied.get(index).map(|value| log.written[value].offset);
                let at = usize::try_from(anchor.records).unwrap();
                let is_exact = at == below
                    && offset(at).is_none_or(|it| it >= anchor.source_offset)
                    && at.checked_sub(1).and_then(offset).is_none_or(|it| it < anchor.source_offset);
                if !is_exact {
                    broken.push(("AnchorIsExact", format!("{name}: {anchor:?}, {below} records lie before it")));
                }
            }
            let chain: Vec<_> = history.iter().filter_map(|it| it.get(&key(&name))).collect();
            let torn = chain.windows(2).find(|it| it[0] != it[1] && it[0].next_offset != it[1].from);
            if let Some([before, after]) = torn {
                broken
                    .push(("PositionMatchesData", format!("{name}: {} then from {}", before.next_offset, after.from)));
            }
            let Some((first, position)) = chain.first().zip(position) else { continue };
            if position.records != copied.len() as u64 {
                let what = format!("{name}: {} of {} records", copied.len(), position.records);
                broken.push(("PositionMatchesData", what));
            }
            let copied: BTreeSet<_> = copied.into_iter().collect();
            for (value, it) in &log.written {
                let is_due = it.topic_id == position.topic_id
                    && it.is_visible
                    && matches!(it.fate, Fate::Kept | Fate::Deleted)
                    && (first.from..next_offset).contains(&it.offset);
                if is_due && !copied.contains(value) {
                    let what = format!("{name}: {value} at {} is not copied, position {next_offset}", it.offset);
                    broken.push(("NoLoss", what));
                }
            }
        }
        for (invariant, what) in broken {
            self.fail(invariant, what);
        }
        let wrong = self.processes.iter().flat_map(|it| &it.incidents).find(|(name, kind)| match kind.as_str() {
            "target_refused" => !self.refused.contains(*name),
            "retention" | "recreated" | "truncation" => false,
            _ => true,
        });
        if let Some((name, kind)) = wrong.map(|it| (it.0.clone(), it.1.clone())) {
            self.fail("IncidentIsTrue", format!("{name}: {kind}"));
        }
    }
}
