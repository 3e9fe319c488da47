//! Each kind of request of a transaction, lost on its way, answered in vain, and late: on both protocols, one at a time.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::bridge::Bridge;
use protocol_tests::compare::Kind;
use protocol_tests::kafka::Spec;
use protocol_tests::proxy::Action;

use super::single::{END_TXN, INIT_PRODUCER_ID, PRODUCE, Single, finish, pair};
use super::stage::rounds;
use crate::real;

const ADD_PARTITIONS_TO_TXN: i16 = 24;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const TXN_OFFSET_COMMIT: i16 = 28;
/// As long as nothing is in doubt a bridge that shares nothing sends these with its first transaction alone.
const AT_START_V1: &[i16] = &[INIT_PRODUCER_ID, ADD_OFFSETS_TO_TXN, TXN_OFFSET_COMMIT];
const AT_START_V2: &[i16] = &[INIT_PRODUCER_ID, TXN_OFFSET_COMMIT];
const ON_V1: &[i16] = &[ADD_PARTITIONS_TO_TXN, PRODUCE, END_TXN];
const ON_V2: &[i16] = &[PRODUCE, END_TXN];
/// Where lanes are shared these are in each transaction, and carry the group's fence.
const SHARED: &str = "sharing = \"group\"";
const SHARED_V1: &[i16] = &[ADD_OFFSETS_TO_TXN, TXN_OFFSET_COMMIT];
const SHARED_V2: &[i16] = &[TXN_OFFSET_COMMIT];
const ACTIONS: [Action; 3] = [Action::DropRequest, Action::DropAnswer, Action::Hold];

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_3_9_2_each_request_lost", &["3.9.2"], || {
            let pair = pair(Spec::kraft("3.9.2"), Spec::kraft("3.9.2"))?;
            each_lost(Single::new(&pair, "v1", None, "")?, AT_START_V1, ON_V1)?;
            each_lost(Single::new(&pair, "v1-shared", None, SHARED)?, &[INIT_PRODUCER_ID], SHARED_V1)
        }),
        real("faults", "kafka_4_4_0_each_request_lost", &["4.4.0"], || {
            let pair = pair(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
            each_lost(Single::new(&pair, "v2", None, "")?, AT_START_V2, ON_V2)?;
            each_lost(Single::new(&pair, "v2-shared", None, SHARED)?, &[INIT_PRODUCER_ID], SHARED_V2)
        }),
    ]
}

fn each_lost(mut link: Single<'_>, at_start: &[i16], later: &[i16]) -> Result<()> {
    let mut bridge: Option<Bridge> = None;
    for _ in 0..rounds(1) {
        for action in ACTIONS {
            for api in at_start {
                if let Some(former) = bridge.take() {
                    finish(former)?;
                }
                let mut started = None;
                lose(&mut link, *api, action, |link| {
                    started = Some(link.bridge()?);
                    link.write()
                })?;
                bridge = started;
            }
            for api in later {
                lose(&mut link, *api, action, |link| link.write())
                    .with_context(|| bridge.as_ref().map(Bridge::log).unwrap_or_default())?;
            }
        }
    }
    link.judge(Kind::Missing)?;
    bridge.map_or(Ok(()), finish)?;
    link.pair.target.client().no_transaction_hangs(&link.topics)
}

/// One request meets its fate, and everything is copied all the same.
fn lose(
    link: &mut Single<'_>,
    api: i16,
    action: Action,
    provoke: impl FnOnce(&mut Single<'_>) -> Result<()>,
) -> Result<()> {
    let name = format!("API {api}, {action:?}");
    let lost = |link: &Single<'_>| link.proxy().requests_dropped() + link.proxy().answers_dropped();
    let before = lost(link);
    let taken = link.proxy().take_request(api, 1, action)?;
    provoke(link)?;
    if action == Action::Hold {
        link.until_held(taken).with_context(|| name.clone())?;
        link.until_copied().with_context(|| format!("{name}: while it is held"))?;
        // It arrives while the next transaction is on its way.
        link.write()?;
        link.proxy().release(taken).with_context(|| name.clone())?;
        link.write()?;
    }
    link.until_copied().with_context(|| name.clone())?;
    ensure!(action == Action::Hold || lost(link) == before + 1, "{name}: nothing was lost");
    Ok(())
}
