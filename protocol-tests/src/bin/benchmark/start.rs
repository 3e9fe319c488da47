//! From the start of the process to the first committed record, and to the first one when there is a position already.

use std::time::Duration;

use anyhow::Result;
use protocol_tests::raw::Codec;

use crate::batches::Batches;
use crate::copier::Contender;
use crate::stage::{Stage, committed, create, median, until};

const TOPIC: &str = "start";
const PARTITIONS: i32 = 4;
const POLL: Duration = Duration::from_millis(2);
/// Markers of the copy before are written, and nothing of it comes any more.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn measure(stage: &mut Stage, contenders: &[Contender], rounds: usize) -> Result<()> {
    println!("\nstart: from the start of the process to the first committed record, {PARTITIONS} partitions");
    let batch = Batches::json(Codec::Lz4, 1)?.encoded.remove(0);
    let mut source = stage.pair.source.client();
    create(&mut source, TOPIC, PARTITIONS)?;
    source.produce(TOPIC, 0, batch.clone(), None)?;
    for contender in contenders.iter().filter(|it| it.copier.is_for_all()) {
        let copier = contender.copier;
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let run = stage.name_of_run(copier.name());
            for times in [&mut fresh, &mut again] {
                let (into, mut target) = (copier.into(&run, TOPIC), stage.pair.target.client());
                let before = committed(&mut target, &into, PARTITIONS)?;
                source.produce(TOPIC, 0, batch.clone(), None)?;
                let mut working = None;
                let took = until(POLL, || {
                    if working.is_none() {
                        working = Some(contender.begin(stage, &run, TOPIC, None)?);
                    }
                    Ok(committed(&mut target, &into, PARTITIONS)? > before)
                })?;
                times.push(took.as_secs_f64() * 1e3);
                std::thread::sleep(SETTLE);
                if let Some(working) = working {
                    working.end()?;
                }
            }
        }
        println!("  {contender} fresh {:.0} ms, with a position {:.0} ms", median(fresh)?, median(again)?);
    }
    Ok(())
}
