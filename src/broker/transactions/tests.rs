use super::*;
use crate::types::ProducerIdentity;
use kafka_protocol::ResponseError;

const TIMEOUT_MS: i32 = 60_000;

fn identity(producer_id: i64, producer_epoch: i16) -> ProducerIdentity {
    ProducerIdentity { producer_id, producer_epoch }
}

fn partitions() -> BTreeSet<TopicPartition> {
    [TopicPartition::new("t", 0)].into()
}

fn init(transaction: &mut Transaction, expected: Option<ProducerIdentity>) -> Result<ProducerIdentity, i16> {
    transaction.init(expected, TIMEOUT_MS, true, || 100).map_err(|it| it.code())
}

/// Producer 7 in its first epoch.
fn begun() -> Transaction {
    let mut transaction = Transaction::new(7, TIMEOUT_MS);
    assert_eq!(init(&mut transaction, None), Ok(identity(7, 0)));
    transaction
}

fn ongoing() -> Transaction {
    let mut transaction = begun();
    assert_eq!(transaction.add(identity(7, 0), &partitions(), 5), Ok(true));
    transaction
}

fn end(transaction: &mut Transaction, v2: bool, epoch: i16, commit: bool) -> Result<(i64, i16), i16> {
    let who = identity(7, epoch);
    let ended = if v2 { transaction.end_v2(who, commit, || 200) } else { transaction.end_v1(who, commit) };
    ended.map(|it| (it.identity.producer_id, it.identity.producer_epoch)).map_err(|it| it.code())
}

#[test]
fn v1_keeps_its_epoch_and_repeats_its_verdict() {
    let mut transaction = ongoing();
    assert_eq!(end(&mut transaction, false, 0, true), Ok((7, 0)));
    assert_eq!(end(&mut transaction, false, 0, true), Err(51));
    assert_eq!(end(&mut transaction, false, 1, true), Err(90), "the epoch is looked at before the markers");
    transaction.complete();
    assert_eq!(end(&mut transaction, false, 0, true), Ok((7, 0)));
    assert_eq!(end(&mut transaction, false, 0, false), Err(48));
    assert_eq!(end(&mut begun(), false, 0, false), Err(48), "v1 does not end what has not begun");
}

#[test]
fn a_delayed_end_of_v1_ends_the_next_transaction_and_one_of_v2_does_not() {
    let mut transaction = ongoing();
    end(&mut transaction, false, 0, true).unwrap();
    transaction.complete();
    transaction.add(identity(7, 0), &partitions(), 9).unwrap();
    assert_eq!(end(&mut transaction, false, 0, true), Ok((7, 0)), "KAFKA-17754");

    let mut transaction = ongoing();
    assert_eq!(end(&mut transaction, true, 0, true), Ok((7, 1)));
    transaction.complete();
    transaction.add(identity(7, 1), &partitions(), 9).unwrap();
    assert_eq!(end(&mut transaction, true, 0, true), Err(90));
}

#[test]
fn v2_recognises_a_retry_by_its_epoch() {
    let mut transaction = ongoing();
    assert_eq!(end(&mut transaction, true, 0, true), Ok((7, 1)));
    assert_eq!(end(&mut transaction, true, 0, true), Err(51));
    transaction.complete();
    assert_eq!(end(&mut transaction, true, 0, true), Ok((7, 1)));
    assert_eq!(end(&mut transaction, true, 0, false), Err(48));
    assert_eq!(end(&mut transaction, true, 1, true), Err(48), "nothing to commit");
    assert_eq!(end(&mut transaction, true, 1, false), Ok((7, 2)), "an abort of nothing bumps the epoch");
    assert_eq!(end(&mut begun(), true, 0, true), Err(48));
    assert_eq!(end(&mut begun(), true, 0, false), Ok((7, 1)));
}

#[test]
fn init_fences_what_is_open_and_hands_out_the_epoch_after() {
    for (server_bumps, last_epoch) in [(true, 0), (false, -1)] {
        let mut transaction = ongoing();
        let refused = transaction.init(None, TIMEOUT_MS, server_bumps, || 100);
        assert_eq!(refused, Err(ResponseError::ConcurrentTransactions));
        assert_eq!((transaction.state, transaction.identity), (State::PrepareAbort, identity(7, 1)));
        assert_eq!(transaction.last_epoch, last_epoch);
        assert_eq!(init(&mut transaction, None), Err(51));
        transaction.complete();
        assert_eq!(init(&mut transaction, None), Ok(identity(7, 2)));
        assert_eq!(transaction.add(identity(7, 0), &partitions(), 9), Err(ResponseError::ProducerFenced));
    }
}

#[test]
fn a_repeated_bump_is_the_same_bump() {
    let mut transaction = begun();
    assert_eq!(init(&mut transaction, Some(identity(7, 0))), Ok(identity(7, 1)));
    assert_eq!(init(&mut transaction, Some(identity(7, 0))), Ok(identity(7, 1)));
    assert_eq!(init(&mut transaction, Some(identity(7, 5))), Err(90));
    assert_eq!(init(&mut transaction, Some(identity(8, 1))), Err(90));
}

#[test]
fn exhausted_epochs_rotate_the_id_and_a_retry_still_finds_it() {
    let mut transaction = begun();
    transaction.identity.producer_epoch = i16::MAX - 1;
    assert_eq!(init(&mut transaction, Some(identity(7, i16::MAX - 1))), Ok(identity(100, 0)));
    assert_eq!(init(&mut transaction, Some(identity(7, i16::MAX - 1))), Ok(identity(100, 0)));

    let mut transaction = ongoing();
    transaction.identity.producer_epoch = i16::MAX - 1;
    assert_eq!(end(&mut transaction, true, i16::MAX - 1, true), Ok((200, 0)));
    assert_eq!(transaction.identity, identity(7, i16::MAX), "the markers carry the last epoch of all");
    transaction.complete();
    assert_eq!(end(&mut transaction, true, i16::MAX - 1, true), Ok((200, 0)));
}

#[test]
fn only_added_partitions_are_verified() {
    let mut transaction = ongoing();
    let (known, other) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    assert_eq!(transaction.verify(identity(7, 0), &known), Ok(()));
    assert_eq!(transaction.verify(identity(7, 0), &other), Err(ResponseError::TransactionAbortable));
    assert_eq!(transaction.verify(identity(7, 1), &known), Err(ResponseError::ProducerFenced));
    assert_eq!(transaction.verify(identity(6, 0), &known), Err(ResponseError::InvalidProducerIdMapping));
    end(&mut transaction, false, 0, true).unwrap();
    assert_eq!(transaction.verify(identity(7, 0), &known), Err(ResponseError::ConcurrentTransactions));
}

#[test]
fn a_timeout_counts_from_the_first_partition() {
    let transaction = ongoing();
    assert!(!transaction.has_timed_out(5 + i64::from(TIMEOUT_MS)));
    assert!(transaction.has_timed_out(6 + i64::from(TIMEOUT_MS)));
    assert!(!begun().has_timed_out(i64::MAX));
}
