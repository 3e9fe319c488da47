//! KAFKA-17754: an EndTxn that was held up somewhere arrives when the next transaction is half written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial as Registered;
use protocol_tests::compare::Kind;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::proxy::Taken;
use protocol_tests::raw::Isolation;

use super::single::{END_TXN, INIT_PRODUCER_ID, PRODUCE, Single, pair};
use super::stage::LIMIT;
use crate::real;

const V1: &str = "transaction_protocol = \"v1\"";
/// What is held longer is given up, sent again on another connection, and committed there: a slow machine must have looked
/// by then.
const REQUEST_TIMEOUT_MS: u64 = 6_000;
/// Looked for so long, and not longer: the request must not be given up meanwhile.
const HELD_MAX: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 5;
const NO_BUMP: Option<&str> = Some("no_bump");

pub(super) fn trials() -> Vec<Registered> {
    vec![
        real("faults", "kafka_3_9_2_delayed_end_txn", &["3.9.2"], || {
            let pair = pair(Spec::kraft("3.9.2"), Spec::kraft("3.9.2"))?;
            delayed(patient(&pair, "hardened", None, "")?, true)?;
            delayed(patient(&pair, "naive", NO_BUMP, "")?, false)
        }),
        real("faults", "kafka_4_4_0_delayed_end_txn", &["4.4.0"], || {
            let pair = pair(Spec::kraft("4.4.0"), Spec::kraft("4.4.0"))?;
            delayed(patient(&pair, "hardened-v1", None, V1)?, true)?;
            delayed(patient(&pair, "naive-v1", NO_BUMP, V1)?, false)?;
            // On v2 the protocol itself bumps with every transaction: there is nothing to harden.
            delayed(patient(&pair, "v2", None, "")?, false)
        }),
    ]
}

fn patient<'a>(pair: &'a Pair, name: &str, bug: Option<&'static str>, delivery: &str) -> Result<Single<'a>> {
    Single::with_timeout(pair, name, bug, delivery, REQUEST_TIMEOUT_MS)
}

fn delayed(mut link: Single<'_>, bumps: bool) -> Result<()> {
    let ledger = link.ledger();
    link.write()?;
    let mut bridge = link.bridge()?;
    link.until_equal()?;

    // Transaction n: its EndTxn is held, the retry on another connection commits it.
    let inits = link.proxy().requests(INIT_PRODUCER_ID);
    let end_txn = link.hold(END_TXN, "")?;
    link.write()?;
    link.until_held(end_txn)?;
    link.until_equal()?;
    if bumps {
        let start = Instant::now();
        while link.proxy().requests(INIT_PRODUCER_ID) == inits {
            ensure!(start.elapsed() < LIMIT, "the epoch is not bumped");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    let (produce, committed) = half_written(&mut link, &ledger)?;
    let visible = |link: &Single<'_>| {
        Ok::<_, anyhow::Error>(link.pair.target.client().read(&link.topics[0], 0, Isolation::ReadCommitted)?.len())
    };
    let found = visible(&link)?;
    ensure!(found == committed, "{found} records are visible, {committed} are committed\n{}", bridge.log());
    link.proxy().release(end_txn)?;
    println!("{ledger}: {} records are visible, {committed} are committed", visible(&link)?);
    link.proxy().release(produce)?;

    link.write()?;
    let inits = link.proxy().requests(INIT_PRODUCER_ID) - inits;
    ensure!(bumps || inits == 0, "InitProducerId was sent {inits} times");
    link.judge(Kind::Doubled)?;
    ensure!(bridge.process().exit_code()?.is_none(), "the bridge ended:\n{}", bridge.log());
    Ok(())
}

/// A transaction whose data is written and whose position is held, and how many records were committed before it. A broker that
/// has not carried out the last verdict yet refuses data; sent again, it would wait behind the position that is held. Then
/// the transaction is let go, and the next one is taken.
fn half_written(link: &mut Single<'_>, ledger: &str) -> Result<(Taken, usize)> {
    for _ in 0..ATTEMPTS {
        link.pair.target.client().no_transaction_hangs(&link.topics)?;
        let committed = link.written();
        let produce = link.hold(PRODUCE, ledger)?;
        link.write_large()?;
        link.until_held(produce)?;
        if link.is_written(link.written(), HELD_MAX)? {
            return Ok((produce, committed));
        }
        link.proxy().release(produce)?;
        link.until_equal()?;
    }
    bail!("the data of no transaction came before its position")
}
