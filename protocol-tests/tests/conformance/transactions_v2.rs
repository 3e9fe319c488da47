//! Transaction protocol v2 (KIP-890), where it is finalized.

use std::time::Duration;

use anyhow::Result;

use super::probe::{Probe, Who, batch};

const TOPIC: &str = "transactions-v2";
const ID: &str = "conformance-v2";

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.note("protocol v2", probe.is_v2);
    if !probe.is_v2 {
        return Ok(());
    }
    probe.create(TOPIC, 3, &[])?;
    probe.coordinator(1, ID)?;
    let who = probe.note_init("the first init", 5, Some(ID), None)?;
    probe.note_end("commit of nothing", 5, ID, who, true)?;
    let who = probe.note_end("abort of nothing", 5, ID, who, false)?;
    probe.note_produce("not at 0", 12, TOPIC, batch(who, 3, true, 1)?, Some(ID))?;
    let next = probe.note_end("abort of an attempt", 5, ID, who, false)?;
    probe.note_produce("the first batch adds its partition", 12, TOPIC, batch(next, 0, true, 2)?, Some(ID))?;
    probe.note_produce("a duplicate", 12, TOPIC, batch(next, 0, true, 2)?, Some(ID))?;
    probe.note_produce("the second", 12, TOPIC, batch(next, 2, true, 1)?, Some(ID))?;
    probe.note_ends("open", TOPIC, false)?;
    let old = next;
    let who = probe.note_end("commit", 5, ID, old, true)?;
    probe.note_ends("committed", TOPIC, true)?;
    probe.note_end("commit again", 5, ID, old, true)?;
    probe.note_end("the other verdict", 5, ID, old, false)?;
    probe.note_end("commit of nothing in the next epoch", 5, ID, who, true)?;
    probe.note_produce("the old epoch", 12, TOPIC, batch(old, 3, true, 1)?, Some(ID))?;
    probe.note_produce("the new epoch begins at 0", 12, TOPIC, batch(who, 0, true, 1)?, Some(ID))?;
    // A request of the transaction before, delayed (KAFKA-17754).
    probe.note_end("a delayed commit of the transaction before", 5, ID, old, true)?;
    probe.note_ends("still open", TOPIC, false)?;
    let after = probe.note_end("abort", 5, ID, who, false)?;
    probe.note_ends("aborted", TOPIC, true)?;
    probe.note_end("abort again", 5, ID, who, false)?;
    fences(probe, after)?;
    old_requests(probe)?;
    timeout(probe)
}

fn fences(probe: &mut Probe, old: Who) -> Result<()> {
    probe.note_produce("the next owner's", 12, TOPIC, batch(old, 0, true, 1)?, Some(ID))?;
    let new = probe.note_init("init while it is open", 5, Some(ID), None)?;
    probe.note_ends("aborted by init", TOPIC, true)?;
    probe.note_produce("a zombie's batch", 12, TOPIC, batch(old, 1, true, 1)?, Some(ID))?;
    probe.note_end("a zombie's commit", 5, ID, old, true)?;
    probe.note_init("a zombie's bump", 5, Some(ID), Some(old))?;
    let bumped = probe.note_init("a bump", 5, Some(ID), Some(new))?;
    probe.note_init("the same bump again", 5, Some(ID), Some(new))?;
    probe.note_produce("an unknown id", 12, TOPIC, batch(bumped, 0, true, 1)?, Some("nobody"))?;
    probe.note_produce("another producer", 12, TOPIC, batch(Who { id: 12_345, epoch: 0 }, 0, true, 1)?, Some(ID))
}

/// Requests of protocol v1 are still served.
fn old_requests(probe: &mut Probe) -> Result<()> {
    let id = "old-requests";
    let who = probe.note_init("init for old requests", 4, Some(id), None)?;
    let codes = probe.add_partitions(3, id, who, &[(TOPIC, 1)])?;
    probe.note("adding", codes);
    let answer = probe.produce(11, TOPIC, 1, batch(who, 0, true, 1)?, Some(id))?;
    probe.note("v11", (answer.error_code, answer.base_offset));
    let (code, _) = probe.end(4, id, who, true)?;
    probe.note("EndTxn v4", code);
    let codes = probe.add_partitions(3, id, who, &[(TOPIC, 1)])?;
    probe.note("the same epoch goes on", codes);
    let answer = probe.produce(11, TOPIC, 1, batch(who, 1, true, 1)?, Some(id))?;
    probe.note("and so does its sequence", (answer.error_code, answer.base_offset));
    probe.note_end("EndTxn v5 bumps", 5, id, who, true)?;
    Ok(())
}

fn timeout(probe: &mut Probe) -> Result<()> {
    let (_, who) = probe.init(5, Some("slow-v2"), None, 500)?;
    let answer = probe.produce(12, TOPIC, 2, batch(who, 0, true, 1)?, Some("slow-v2"))?;
    probe.note("a batch in a short transaction", (answer.error_code, answer.base_offset));
    std::thread::sleep(Duration::from_millis(1_500));
    let answer = probe.produce(12, TOPIC, 2, batch(who, 1, true, 1)?, Some("slow-v2"))?;
    probe.note("a batch after its timeout", (answer.error_code, answer.base_offset));
    let (code, _) = probe.end(5, "slow-v2", who, true)?;
    probe.note("a commit after its timeout", code);
    let (code, next) = probe.end(5, "slow-v2", who, false)?;
    probe.note("an abort after its timeout", (code, next.epoch - who.epoch));
    let (code, next) = probe.init(5, Some("slow-v2"), Some(who), 500)?;
    probe.note("a bump after its timeout", (code, next.epoch - who.epoch));
    Ok(())
}
