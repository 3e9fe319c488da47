//! Offsets of a topic whose source has been cleaned since it was copied: the ends cannot be counted against each other, and
//! still nothing is left out.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::Bridge;
use protocol_tests::pair::{differences, until_none};
use protocol_tests::raw::Isolation;
use protocol_tests::workload::compacted;

use super::{LIMIT, Stage, positions};
use crate::trial;

const TOPIC: &str = "orders";

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("positions", "nothing_of_a_compacted_topic_is_left_out", translates)]
}

fn translates() -> Result<()> {
    let stage = Stage::new()?;
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    compacted::create(&mut source, TOPIC, 1, 1)?;
    compacted::append(&mut source, TOPIC, 0, 0)?;
    let file = stage.config(&[TOPIC]).write(stage.folder.path(), "bridge")?;
    let mut bridge = Bridge::run(&file)?;
    until_none(LIMIT, || differences(&mut source, &mut target, &[TOPIC.to_owned()])).with_context(|| bridge.log())?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let copied = target.read(TOPIC, 0, Isolation::ReadCommitted)?;
    stage.source.with(|cluster, now_ms| cluster.run_upkeep(now_ms));
    let left = source.read(TOPIC, 0, Isolation::ReadCommitted)?;
    ensure!(left.len() < copied.len(), "the cleaner took nothing: {} of {}", left.len(), copied.len());
    let end = source.offsets(TOPIC, 0)?.last_stable;
    for offset in (0..=end).step_by(11) {
        let offset_text = offset.to_string();
        let place = ["translate", "--topic", TOPIC, "--partition", "0", "--offset", &offset_text];
        let translated = positions(&file, &place, 0)?["target_offset"].as_i64().context("no offset")?;
        let read: BTreeSet<_> = copied.iter().filter(|it| it.offset >= translated).map(|it| &it.value).collect();
        let due = left.iter().filter(|it| it.offset >= offset);
        let lost: Vec<_> = due.filter(|it| !read.contains(&it.value)).map(|it| it.offset).collect();
        ensure!(lost.is_empty(), "offset {offset} became {translated}, from which {lost:?} are not read");
        // Not by reading everything again.
        ensure!(offset < end / 2 || translated > 0, "offset {offset} became {translated}");
    }
    Ok(())
}
