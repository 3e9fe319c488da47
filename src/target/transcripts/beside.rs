//! Where somebody else writes to the same partitions, and transactions that leave the group alone.

use super::*;

fn lands(s: &mut Script, first: u64, promised: i64, expected: &str) {
    s.append(0, 1, &[&format!("{first} Produce(t-0 epoch {} seq 0)", 6 + first.div_ceil(4))]);
    let epoch = 6 + first.div_ceil(4);
    let input = Input::Commit {
        ledger_partition: ledger(),
        ledger_batch: batch(1, b"l"),
        offsets: Some(offsets(CommitOffset::Fixed(40))),
        promised: vec![(data(0), promised)],
    };
    let sent = [
        format!("{} Produce(link.ledger-3 epoch {epoch} seq 0)", first + 1),
        format!("{} TxnOffsetCommit(link.ledger-3 40)", first + 2),
    ];
    s.input(input, &[&sent[0]]);
    s.answer(first, stored(100), &[]);
    s.answer(first + 1, stored(55), &[&sent[1]]);
    let verdict = format!("{} EndTxn({expected} epoch {epoch})", first + 3);
    s.answer(first + 2, Answer::TxnOffsetCommit { error_code: 0 }, &[&verdict]);
}

/// Named before, it would race with the leaders that have their partitions added, and be told to wait for long.
#[test]
fn v2_the_group_is_named_when_every_partition_is_in_the_transaction() {
    let mut s = Script::ready(TransactionProtocol::V2);
    s.append(0, 1, &["1 Produce(t-0 epoch 7 seq 0)"]);
    s.append(0, 1, &[]);
    s.commit(CommitOffset::Fixed(40), &["2 Produce(link.ledger-3 epoch 7 seq 0)"]);
    s.answer(2, stored(55), &[]);
    s.answer(1, stored(100), &["3 Produce(t-0 epoch 7 seq 1)", "4 TxnOffsetCommit(link.ledger-3 40)"]);
    s.answer(4, Answer::TxnOffsetCommit { error_code: 0 }, &[]);
    s.answer(3, stored(101), &["5 EndTxn(true epoch 7)"]);
}

/// Committed, and found open one day, it would not be known by the place that the ledger names.
#[test]
fn what_landed_elsewhere_than_the_ledger_says_is_not_committed() {
    let mut s = Script::ready(TransactionProtocol::V2);
    lands(&mut s, 1, 90, "false");
    let told = "Aborted: somebody else wrote to the partition meanwhile for t-0";
    s.answer(4, end(0, Some(8)), &[told, "Ready(8)"]);
    lands(&mut s, 5, 100, "true");
}

#[test]
fn without_an_offset_the_group_is_not_asked() {
    for protocol in [TransactionProtocol::V1, TransactionProtocol::V2] {
        let mut s = Script::ready(protocol);
        let is_v1 = protocol == TransactionProtocol::V1;
        if is_v1 {
            s.append(0, 1, &["1 AddPartitionsToTxn[link.ledger-3, t-0]"]);
            s.answer(1, added(0), &["2 Produce(t-0 epoch 7 seq 0)"]);
        } else {
            s.append(0, 1, &["1 Produce(t-0 epoch 7 seq 0)"]);
        }
        assert_eq!(s.machine.landed(), None);
        let data_id = if is_v1 { 2 } else { 1 };
        s.answer(data_id, stored(100), &[]);
        assert_eq!(s.machine.landed(), Some(vec![(data(0), 100)]));
        let (ledger_batch, promised) = (batch(1, b"l"), Vec::new());
        let input = Input::Commit { ledger_partition: ledger(), ledger_batch, offsets: None, promised };
        s.input(input, &[&format!("{} Produce(link.ledger-3 epoch 7 seq 0)", data_id + 1)]);
        let verdict = format!("{} EndTxn(true epoch 7)", data_id + 2);
        s.answer(data_id + 1, stored(55), &[&verdict]);
        assert_eq!(s.machine.landed(), None);
    }
}
