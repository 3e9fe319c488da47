//! Every phase of a lane with every event: a changed line is a changed transition. Behind a dash stands what changes nothing.

use super::lane::{Event, Input, Output, Phase};
use super::model::ledger;
use super::process::{Process, owner};
use super::rig::Rig;
use crate::ledger::LaneLedger;
use crate::target::{self, Failure, TransactionProtocol, TxnRequest};
use std::fmt::Write as _;
use std::time::Duration;

const PHASES: [&str; 11] = [
    "Idle",
    "Taking",
    "Replaying",
    "Copying, nothing to do",
    "Copying, settling",
    "Copying, producing",
    "Copying, committing",
    "Copying, aborting",
    "Asking",
    "Waiting",
    "Ended",
];

const EVENTS: [&str; 17] = [
    "take",
    "answer is good",
    "answer 10 MESSAGE_TOO_LARGE",
    "answer 29 TOPIC_AUTHORIZATION_FAILED",
    "answer 48 INVALID_TXN_STATE",
    "answer 53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "answer 90 PRODUCER_FENCED",
    "no answer",
    "ledger of nobody",
    "ledger of a newer bridge",
    "owner is nobody",
    "owner is a newer bridge",
    "ledger is broken",
    "protocol changes",
    "routes vanish",
    "time passes",
    "drain",
];

fn has_sent(process: &Process, is: impl Fn(&TxnRequest) -> bool) -> bool {
    process.sending.iter().any(|it| is(&it.request))
}

fn is_idle(process: &Process) -> bool {
    process.lane.phase == Phase::Copying && process.lane.in_flight.is_none() && process.lane.transactor.is_idle()
}

/// A request of the phase is under way, where it has one.
fn in_phase(phase: &str) -> Rig {
    let is_data = |it: &TxnRequest| matches!(it, TxnRequest::Produce { partition, .. } if &*partition.topic == "copy");
    let mut rig = if phase == "Idle" { Rig::new(2) } else { Rig::start(2) };
    match phase {
        "Replaying" => rig.run(|it| it.lane.phase == Phase::Replaying),
        "Copying, nothing to do" => {
            rig.run(|it| it.copied() == 2 && is_idle(it));
            rig.now += Duration::from_secs(1);
        }
        "Copying, settling" => rig.run(|it| it.copied() == 0 && it.lane.transactor.state_name() == "Settling"),
        "Copying, producing" => rig.run(|it| has_sent(it, is_data)),
        "Copying, committing" => {
            rig.run(|it| has_sent(it, is_data));
            rig.run(|it| has_sent(it, |it| matches!(it, TxnRequest::EndTxn { .. })));
        }
        "Copying, aborting" => {
            rig.run(|it| has_sent(it, is_data));
            rig.front(is_data);
            rig.refuse(48);
            rig.run(|it| has_sent(it, |it| matches!(it, TxnRequest::EndTxn { commit: false, .. })));
        }
        "Asking" | "Waiting" => {
            rig.run(|it| has_sent(it, is_data));
            rig.refuse(90);
            if phase == "Waiting" {
                rig.question();
            }
        }
        "Ended" => rig.give(Input::Broken("for this test".into())),
        _ => {}
    }
    if phase == "Copying, producing" {
        rig.front(is_data);
    }
    assert!(phase.starts_with(&word(rig.process.lane.phase)), "{phase} {:?}", rig.process.lane.phase);
    rig
}

fn word(phase: Phase) -> String {
    let text = format!("{phase:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// None: the event cannot happen.
fn event(rig: &mut Rig, event: &str) -> Option<()> {
    let input = match event {
        "take" => Input::Take,
        _ if event.starts_with("answer") || event == "no answer" => {
            let it = rig.process.sending.first()?;
            let answer = match event.split(' ').nth(1) {
                Some("answer") => Err(Failure::Disconnected),
                Some("is") => Ok(rig.target.apply(&it.request.clone())),
                code => Ok(target::model::with_code(&it.request, code?.parse().unwrap())),
            };
            let id = rig.process.sending.remove(0).id;
            Input::Target(target::Input::Answered { id, answer })
        }
        "ledger of nobody" => Input::Ledger(LaneLedger::new(ledger())),
        "ledger of a newer bridge" => {
            let mut read = LaneLedger::new(ledger());
            read.take(owner(2));
            Input::Ledger(read)
        }
        "owner is nobody" => Input::Owner(None),
        "owner is a newer bridge" => Input::Owner(Some(owner(2))),
        "ledger is broken" => Input::Broken("for this test".into()),
        "protocol changes" => Input::Target(target::Input::SetProtocol(TransactionProtocol::V1)),
        "routes vanish" => Input::Routes([].into()),
        "drain" => Input::Drain,
        _ => {
            rig.now += Duration::from_secs(1);
            Input::Timeout
        }
    };
    rig.process.lane.handle(rig.now, input);
    Some(())
}

fn told(output: &Output) -> Option<String> {
    Some(match output {
        // Answers of the source are the fetch machine's own matter.
        Output::Source(_) => return None,
        Output::Target(target::Output::Send { request, .. }) => match request {
            TxnRequest::Produce { partition, .. } => format!("Produce {}", partition.topic),
            request => request.api().to_string(),
        },
        Output::Target(_) => return None,
        Output::ReturnBudget { bytes } => format!("return {bytes}"),
        Output::ReadLedger => "read the ledger".to_owned(),
        Output::WhoOwns => "ask who owns it".to_owned(),
        Output::Decisions => "look for decisions".to_owned(),
        Output::TargetEnd { .. } => "ask for the target's end".to_owned(),
        Output::FindSchema(..) => "ask for a schema".to_owned(),
        Output::Event(event) => match event {
            Event::Taken { .. } => "TAKEN",
            Event::Committed(_) => "COMMITTED",
            Event::Aborted(_) => "ABORTED",
            Event::OutcomeUnknown(_) => "OUTCOME UNKNOWN",
            Event::Unsettled(_) => "UNSETTLED",
            Event::Mended { .. } => "MENDED",
            Event::Undecided(_) => "UNDECIDED",
            Event::Incident(_) => "INCIDENT",
            Event::TakenOver(_) => "TAKEN OVER",
            Event::Failed(_) => "FAILED",
            Event::Fenced => "FENCED",
            Event::Drained => "DRAINED",
        }
        .to_owned(),
    })
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test bridge::transitions` and read the difference.
#[test]
fn transitions_are_the_reviewed_ones() {
    let mut table = String::new();
    for phase in PHASES {
        writeln!(table, "{phase}").unwrap();
        let mut ignored = Vec::new();
        for name in EVENTS {
            let mut rig = in_phase(phase);
            let state = |rig: &Rig| (word(rig.process.lane.phase), rig.process.lane.transactor.state_name());
            let before = state(&rig);
            if event(&mut rig, name).is_none() {
                continue;
            }
            let mut words = Vec::new();
            while let Some(output) = rig.process.lane.poll_output() {
                words.extend(told(&output));
            }
            if words.is_empty() && state(&rig) == before {
                ignored.push(name);
                continue;
            }
            let (after, machine) = state(&rig);
            let line = format!("  {name:<48}{after:<10}{machine:<11}{}", words.join(", "));
            writeln!(table, "{}", line.trim_end()).unwrap();
        }
        for names in ignored.chunks(4) {
            writeln!(table, "  - {}", names.join("; ")).unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bridge/transitions.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(path).unwrap());
}
