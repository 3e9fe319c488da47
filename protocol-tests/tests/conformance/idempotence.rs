//! Sequences and epochs of an idempotent producer.

use anyhow::Result;

use super::probe::{Probe, Who, batch};

const TOPIC: &str = "idempotent";

pub(super) fn ask(probe: &mut Probe) -> Result<()> {
    probe.create(TOPIC, 2, &[])?;
    let who = probe.note_init("a producer without id", 4, None, None)?;
    let send = |probe: &mut Probe, question: &str, who: Who, sequence: i32, count: usize| {
        probe.note_produce(question, 9, TOPIC, batch(who, sequence, false, count)?, None)
    };
    send(probe, "sequence 0", who, 0, 3)?;
    send(probe, "sequence 3", who, 3, 2)?;
    send(probe, "sequence 0 again", who, 0, 3)?;
    send(probe, "sequence 3 again", who, 3, 2)?;
    send(probe, "sequence 3 with another length", who, 3, 1)?;
    send(probe, "sequence 0 with another length", who, 0, 1)?;
    send(probe, "a gap", who, 9, 1)?;
    for sequence in 5..10 {
        send(probe, "and on", who, sequence, 1)?;
    }
    send(probe, "the fifth last again", who, 5, 1)?;
    send(probe, "the sixth last again", who, 3, 2)?;
    let next = Who { epoch: 1, ..who };
    send(probe, "a new epoch not at 0", next, 10, 1)?;
    send(probe, "a new epoch", next, 0, 1)?;
    send(probe, "the old epoch", who, 10, 1)?;
    send(probe, "a duplicate of the old epoch", who, 9, 1)?;
    let unknown = Who { id: who.id + 1_000, epoch: 0 };
    send(probe, "an unknown producer not at 0", unknown, 7, 1)?;
    send(probe, "and on", unknown, 8, 1)?;
    send(probe, "and not on", unknown, 10, 1)?;
    let wrapping = Who { id: who.id + 1_001, epoch: 0 };
    send(probe, "the last sequences", wrapping, i32::MAX - 1, 2)?;
    send(probe, "wrapped", wrapping, 0, 1)?;
    send(probe, "the last sequences again", wrapping, i32::MAX - 1, 2)?;
    let across = Who { id: who.id + 1_002, epoch: 0 };
    send(probe, "a batch across the end", across, i32::MAX, 3)?;
    send(probe, "behind it", across, 2, 1)?;
    let answer = probe.produce(9, TOPIC, 1, batch(who, 0, false, 1)?, None)?;
    probe.note("another partition has its own sequence", (answer.error_code, answer.base_offset));
    if probe.is_v2 {
        let fresh = Who { id: who.id + 1_003, epoch: 0 };
        probe.note_produce("v12, an unknown producer not at 0", 12, TOPIC, batch(fresh, 7, false, 1)?, None)?;
    }
    for (question, asked) in [
        ("an id without epoch", Who { id: 5, epoch: -1 }),
        ("an epoch without id", Who { id: -1, epoch: 5 }),
        ("a bump of a producer without transactional id", who),
    ] {
        let (code, _) = probe.init(4, None, Some(asked), 60_000)?;
        probe.note(question, code);
    }
    Ok(())
}
