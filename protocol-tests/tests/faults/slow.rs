//! A way to the target that carries less within a transaction's timeout than a transaction holds.

use std::time::Duration;

use anyhow::ensure;
use libtest_mimic::Trial as Registered;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::raw::{Codec, NewRecord};

use super::stage::{LIMIT, target};
use crate::real;

const TOPIC: &str = "slow";
const BYTES_PER_SECOND: u64 = 1 << 20;
/// The bridge gives a transaction up after the difference: on this way after 3 MiB.
const TIMEOUTS: &str = "request_timeout_ms = 1000\ntransaction_timeout_ms = 4000\n";
/// Until more is there than one transaction takes; then the first one is full.
const INTERVAL: &str = "commit_interval_ms = 1000\n";
const BATCHES: usize = 160;
/// A request of the one partition holds one; five are on their way at once, for less than the request timeout.
const BATCH_BYTES: usize = 64 << 10;
const TOO_SLOW: &str = "the transaction did not finish within its timeout";

pub(super) fn trials() -> Vec<Registered> {
    vec![real("faults", "kafka_4_4_0_slow_way", &["4.4.0"], || {
        let pair = Pair::start_behind_proxies(Spec::kraft("4.4.0"), target(Spec::kraft("4.4.0")))?;
        let mut source = pair.source.client();
        source.create_topic(TOPIC, 1, 1, &[("retention.ms", "-1")])?;
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..BATCHES {
            let value = std::iter::repeat_with(|| random.u8(..)).take(BATCH_BYTES).collect();
            source.write(TOPIC, 0, Codec::None, vec![NewRecord { value: Some(value), ..NewRecord::default() }])?;
        }
        let proxy = &pair.target_proxies[0];
        proxy.slow_down(BYTES_PER_SECOND);
        let mut config = pair.config("slow", &[TOPIC]);
        config.delivery += &[TIMEOUTS, INTERVAL].concat();
        let mut bridge = pair.run(&config, "slow")?;
        pair.until_equal(&[TOPIC.to_owned()], LIMIT)?;
        ensure!(bridge.terminate(Duration::from_secs(30))? == 0, "{}", bridge.log());
        // As large as at first each of them would have been aborted.
        ensure!(bridge.log().contains(TOO_SLOW), "the way was not slow:\n{}", bridge.log());
        Ok(())
    })]
}
