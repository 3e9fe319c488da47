//! Everything that a log can hold, over the version matrix.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::compare::passed_through;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::Isolation;
use protocol_tests::workload::Workload;

use crate::real;

const SEED: u64 = 20_261_124;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("copy", "kafka_3_9_2_zookeeper_to_4_4_0", &["3.9.2", "4.4.0"], || {
            copies(Spec::zookeeper("3.9.2").with_tls(), Spec::kraft("4.4.0").with_tls())
        }),
        real("copy", "kafka_3_9_2_to_3_9_2", &["3.9.2"], || {
            copies(Spec::zookeeper("3.9.2").with_tls(), Spec::zookeeper("3.9.2").with_tls())
        }),
        real("copy", "kafka_3_6_2_to_4_3_1", &["3.6.2", "4.3.1"], || {
            copies(Spec::kraft("3.6.2").with_tls(), Spec::kraft("4.3.1").with_tls())
        }),
        real("copy", "kafka_4_4_0_to_4_4_0_with_three_nodes", &["4.4.0"], || {
            copies(Spec::kraft("4.4.0").with_tls(), Spec::kraft("4.4.0").with_tls().nodes(3))
        }),
    ]
}

fn copies(source: Spec, target: Spec) -> Result<()> {
    let pair = Pair::start(source, target)?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    let written = Workload::new(SEED, "data").write(&mut at_source)?;
    let start = Instant::now();
    let mut bridge = pair.run(&pair.config("orders-dmz", &["data-*"]), "bridge")?;
    let copied = pair.until_equal(&written.topics, LIMIT);
    let took = start.elapsed();
    if let Err(error) = copied {
        return Err(error.context(bridge.log()));
    }
    ensure!(bridge.terminate(LIMIT)? == 0, "the bridge did not end well:\n{}", bridge.log());

    ensure!(at_target.hanging_transactions(&written.topics)?.is_empty(), "the bridge leaves no transaction open");
    for topic in &written.topics {
        let (mut untouched, mut all) = (0, 0);
        for index in 0..at_source.partition_count(topic)? {
            let ours = at_source.read(topic, index, Isolation::ReadCommitted)?;
            let theirs = at_target.read(topic, index, Isolation::ReadCommitted)?;
            let (same, of) = passed_through(&ours, &theirs);
            untouched += same;
            all += of;
        }
        println!("{topic}: {untouched} of {all} batches passed through");
    }
    // A second start finds everything done.
    let before: Vec<_> = at_target.quiet(&written.topics)?.into_iter().collect();
    let mut again = pair.run(&pair.config("orders-dmz", &["data-*"]), "again")?;
    again.process().wait_for_log("all lanes are taken", LIMIT)?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(again.terminate(LIMIT)? == 0, "the second run did not end well:\n{}", again.log());
    let after: Vec<_> = at_target.quiet(&written.topics)?.into_iter().collect();
    ensure!(before == after, "the second run wrote something");
    println!("copied {} records in {took:.1?}", written.visible_records);
    Ok(())
}
