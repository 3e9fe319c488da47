//! The report for people: a paragraph for each part, names in columns, the verdict at the end.

use super::super::printable;
use super::count;
use crate::bridge::check::report::{
    Action, CertificateReport, EndReport, Note, PlanReport, PositionsReport, Report, RightReport, TopicReport,
};
use std::fmt::Write as _;

/// Partitions that are listed one by one; a link may have thousands, and `--json` has them all.
const PARTITIONS_MAX: usize = 40;
/// Topics that one note names.
const SUBJECTS_MAX: usize = 10;
/// Where the text of a paragraph begins.
const INDENT: usize = 11;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, "link", &format!("{} ({})", report.link.as_deref().unwrap_or("?"), report.config));
    for (name, end) in [("source", &report.source), ("target", &report.target)] {
        if let Some(found) = end {
            text.push('\n');
            one_end(&mut text, name, found);
        }
    }
    if let Some(protocol) = &report.transaction_protocol {
        line(&mut text, "", &format!("transaction protocol v{}: {}", protocol.version, protocol.reason));
    }
    if let Some(it) = &report.plan {
        text.push('\n');
        plan(&mut text, it);
    }
    if let Some(it) = &report.positions {
        text.push('\n');
        positions(&mut text, it);
    }
    if report.plan.is_some() {
        text.push('\n');
        rights(&mut text, &report.missing_rights);
    }
    if !report.notes.is_empty() {
        text.push('\n');
        notes(&mut text, &report.notes);
    }
    text.push('\n');
    line(&mut text, "verdict", &report.verdict.text);
    text
}

/// What came from a broker may hold what a terminal takes for commands.
fn line(text: &mut String, name: &str, what: &str) {
    for (index, what) in what.lines().enumerate() {
        let name = if index == 0 { name } else { "" };
        // Writing into a String does not fail.
        let _ = writeln!(text, "{}", format!("{name:<INDENT$}{}", printable(what)).trim_end());
    }
}

fn table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(text, "", &format!("  {}", cells.collect::<Vec<_>>().join("  ")));
    }
}

fn one_end(text: &mut String, name: &str, end: &EndReport) {
    match (&end.cluster_id, &end.error) {
        (Some(id), _) => {
            let reached = end.brokers.iter().filter(|it| it.error.is_none()).count();
            let of = count(end.brokers.len(), "broker");
            line(text, name, &format!("cluster {id}, {reached} of {of} reached"));
        }
        (None, error) => {
            let error = error.as_deref().unwrap_or("it was not asked");
            line(text, name, error.strip_prefix(&format!("{name}: ")).unwrap_or(error));
        }
    }
    let rows = end.brokers.iter().map(|broker| {
        let release = broker.kafka.as_ref().map_or("not reached".to_owned(), |it| format!("Kafka {it}"));
        vec![format!("broker {}", broker.node), broker.address.clone(), release]
    });
    table(text, &rows.collect::<Vec<_>>());
    let security = &end.security;
    let kind = match security.kind {
        "mutual_tls" => "mutual TLS",
        "tls" => "TLS, without a client certificate",
        other => other,
    };
    line(text, "", &format!("{kind}{}", security.version.map(|it| format!(" ({it})")).unwrap_or_default()));
    let told = |it: &CertificateReport| vec![it.subject.clone(), format!("until {}", it.not_after)];
    let rows = [("ours", &security.client_certificate), ("the broker's", &security.broker_certificate)];
    let rows = rows.iter().filter_map(|(whose, it)| {
        let mut row = vec![format!("{whose}:")];
        row.extend(told(it.as_ref()?));
        Some(row)
    });
    table(text, &rows.collect::<Vec<_>>());
}

fn plan(text: &mut String, plan: &PlanReport) {
    let partitions: i32 = plan.topics.iter().map(|it| it.partitions).sum();
    let (topics, partitions) = (count(plan.topics.len(), "topic"), count(partitions, "partition"));
    line(text, "plan", &format!("{topics}, {partitions}, {}", count(plan.ledger.lanes, "lane")));
    let rows = plan.topics.iter().map(|topic| {
        let name = if topic.source == topic.target {
            topic.source.clone()
        } else {
            format!("{} to {}", topic.source, topic.target)
        };
        vec![name, count(topic.partitions, "partition"), format!("by {:?}", topic.pattern), action(topic)]
    });
    table(text, &rows.collect::<Vec<_>>());
    for (what, own) in [("ledger", Some(&plan.ledger)), ("dead letters", plan.dead_letters.as_ref())] {
        let Some(own) = own else { continue };
        let state = match own.action {
            Action::Create => {
                format!("to be created with {}{}", count(own.lanes, "partition"), replicas(own.replication_factor))
            }
            _ => "is there".to_owned(),
        };
        line(text, "", &format!("  {what} {}: {state}", own.topic));
    }
    for unmatched in &plan.unmatched_patterns {
        let (pattern, rule) = (&unmatched.pattern, unmatched.rule);
        line(text, "", &format!("  {pattern:?} of [[topics]] number {rule} matches no topic yet"));
    }
}

fn replicas(factor: Option<i16>) -> String {
    factor.map(|it| format!(", {}", count(it, "replica"))).unwrap_or_default()
}

fn action(topic: &TopicReport) -> String {
    match topic.action {
        Action::None => "is there".to_owned(),
        Action::Grow => format!("to grow from {}", topic.target_partitions),
        Action::Create => {
            let configs: Vec<_> = topic.configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let with = if configs.is_empty() { String::new() } else { format!("; {}", configs.join(", ")) };
            format!("to be created{}{with}", replicas(topic.replication_factor))
        }
    }
}

fn positions(text: &mut String, positions: &PositionsReport) {
    let (known, all) = (positions.known, count(positions.partitions.len(), "partition"));
    let lag = count(positions.lag, "record");
    line(text, "positions", &format!("{known} of {all} have one, {lag} to be copied"));
    if let Some(owner) = &positions.owner {
        let (host, pid, started) = (&owner.host, owner.pid, &owner.started);
        line(
            text,
            "",
            &format!("  last copied by host {host}, pid {pid}, started {started}; a run takes over from it"),
        );
    }
    let mut behind: Vec<_> = positions.partitions.iter().filter(|it| it.lag != Some(0)).collect();
    behind.sort_by_key(|it| std::cmp::Reverse(it.lag.unwrap_or(i64::MAX)));
    let number = |it: Option<i64>| it.map_or("?".to_owned(), |it| it.to_string());
    let rows = behind.iter().take(PARTITIONS_MAX).map(|it| {
        let next = it.next_offset.map_or("no position".to_owned(), |it| format!("next {it}"));
        vec![
            format!("{}-{}", it.topic, it.partition),
            next,
            format!("end {}", number(it.end_offset)),
            format!("lag {}", number(it.lag)),
        ]
    });
    table(text, &rows.collect::<Vec<_>>());
    if behind.len() > PARTITIONS_MAX {
        line(text, "", &format!("  and {} more, all in --json", behind.len() - PARTITIONS_MAX));
    }
}

fn rights(text: &mut String, missing: &[RightReport]) {
    if missing.is_empty() {
        return line(text, "rights", "all that are needed are there");
    }
    line(text, "rights", &format!("{} missing", count(missing.len(), "grant")));
    let rows = missing.iter().map(|it| {
        let why = if it.is_required { it.why.to_owned() } else { format!("useful: {}", it.why) };
        vec![it.end.to_owned(), format!("{} {}", it.resource, it.name), it.operations.join(", "), why]
    });
    table(text, &rows.collect::<Vec<_>>());
    line(text, "", "An administrator grants them by (the principal is another where brokers map names):");
    missing.iter().for_each(|it| line(text, "", &format!("  {}", it.command)));
}

/// What is true of many topics stands there once.
fn notes(text: &mut String, notes: &[Note]) {
    let mut grouped: Vec<(&Note, Vec<&str>)> = Vec::new();
    for note in notes {
        let same = grouped.iter_mut().find(|(it, _)| (it.level, &it.text) == (note.level, &note.text));
        match same {
            Some((_, subjects)) => subjects.extend(note.subject.as_deref()),
            None => grouped.push((note, note.subject.as_deref().into_iter().collect())),
        }
    }
    let mut name = "notes";
    for (note, subjects) in grouped {
        let more = subjects.len().saturating_sub(SUBJECTS_MAX);
        let mut of = subjects.iter().take(SUBJECTS_MAX).copied().collect::<Vec<_>>().join(", ");
        if more > 0 {
            of += &format!(" and {more} more");
        }
        let of = if of.is_empty() { of } else { format!("{of}: ") };
        line(text, name, &format!("{}: {of}{} [{}]", note.level.name(), note.text, note.name));
        name = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::check::report::{
        BrokerReport, LedgerReport, Level, PartitionReport, ProtocolReport, SecurityReport, UnmatchedReport, Verdict,
    };
    use std::collections::BTreeMap;

    fn end(id: &str) -> EndReport {
        let certificate = |subject: &str| {
            Some(CertificateReport { subject: subject.to_owned(), not_after: "2027-01-31".to_owned(), days_left: 99 })
        };
        let broker = |node, error: Option<&str>| BrokerReport {
            node,
            address: format!("{id}-{node}:9093"),
            kafka: error.is_none().then(|| "3.9".to_owned()),
            error: error.map(str::to_owned),
        };
        EndReport {
            cluster_id: Some(id.to_owned()),
            brokers: vec![broker(1, None), broker(12, Some("refused"))],
            security: SecurityReport {
                kind: "mutual_tls",
                version: Some("TLSv1_3"),
                client_certificate: certificate("CN=bridge"),
                broker_certificate: certificate("CN=kafka"),
            },
            ..EndReport::default()
        }
    }

    fn topic(source: &str, target: &str, action: Action) -> TopicReport {
        TopicReport {
            source: source.to_owned(),
            target: target.to_owned(),
            partitions: 4,
            pattern: "*".to_owned(),
            rule: 1,
            start: "earliest".to_owned(),
            action,
            target_partitions: 2,
            replication_factor: Some(3),
            configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        }
    }

    /// One of everything, and a note whose text tries to move the cursor.
    #[test]
    fn a_report_is_aligned_and_ends_with_its_verdict() {
        let note = |level, subject: &str, text: &str| Note {
            level,
            name: "a_name",
            subject: Some(subject.to_owned()),
            text: text.to_owned(),
        };
        let partition = |partition, next_offset, lag| PartitionReport {
            topic: "a".to_owned(),
            partition,
            lane: 0,
            next_offset,
            log_start_offset: Some(0),
            end_offset: Some(100),
            lag: Some(lag),
        };
        let right = RightReport {
            end: "target",
            resource: "topic",
            name: "b".to_owned(),
            operations: vec!["WRITE".to_owned()],
            is_required: true,
            why: "why",
            command: "kafka-acls.sh --topic b".to_owned(),
        };
        let unmatched = UnmatchedReport { pattern: "later".to_owned(), rule: 2 };
        let report = Report {
            link: Some("l".to_owned()),
            config: "bridge.toml".to_owned(),
            verdict: Verdict { text: "run would not begin".to_owned(), ..Verdict::default() },
            source: Some(end("s")),
            target: Some(EndReport { error: Some("target: no way".to_owned()), ..EndReport::default() }),
            transaction_protocol: Some(ProtocolReport { version: 2, reason: "because" }),
            missing_rights: vec![right],
            plan: Some(PlanReport {
                topics: vec![topic("a", "a", Action::Create), topic("longer", "b", Action::Grow)],
                unmatched_patterns: vec![unmatched],
                ledger: LedgerReport {
                    topic: "l.ledger".to_owned(),
                    lanes: 16,
                    action: Action::None,
                    replication_factor: None,
                },
                dead_letters: Some(LedgerReport {
                    topic: "l.dead-letters".to_owned(),
                    lanes: 16,
                    action: Action::Create,
                    replication_factor: Some(3),
                }),
            }),
            positions: Some(PositionsReport {
                known: 2,
                lag: 101,
                owner: None,
                partitions: vec![partition(0, Some(99), 1), partition(1, None, 100), partition(2, Some(100), 0)],
            }),
            notes: vec![
                note(Level::Refused, "a", "it is weak\u{1b}[2J"),
                note(Level::Refused, "b", "it is weak\u{1b}[2J"),
                note(Level::Info, "c", "one line\nand another"),
            ],
            ..Report::default()
        };
        assert_eq!(render(&report), EXPECTED);
    }

    const EXPECTED: &str = "\
link       l (bridge.toml)

source     cluster s, 1 of 2 brokers reached
             broker 1   s-1:9093   Kafka 3.9
             broker 12  s-12:9093  not reached
           mutual TLS (TLSv1_3)
             ours:          CN=bridge  until 2027-01-31
             the broker's:  CN=kafka   until 2027-01-31

target     no way
           transaction protocol v2: because

plan       2 topics, 8 partitions, 16 lanes
             a            4 partitions  by \"*\"  to be created, 3 replicas; cleanup.policy=compact
             longer to b  4 partitions  by \"*\"  to grow from 2
             ledger l.ledger: is there
             dead letters l.dead-letters: to be created with 16 partitions, 3 replicas
             \"later\" of [[topics]] number 2 matches no topic yet

positions  2 of 3 partitions have one, 101 records to be copied
             a-1  no position  end 100  lag 100
             a-0  next 99      end 100  lag 1

rights     1 grant missing
             target  topic b  WRITE  why
           An administrator grants them by (the principal is another where brokers map names):
             kafka-acls.sh --topic b

notes      refused: a, b: it is weak\u{fffd}[2J [a_name]
           info: c: one line
           and another [a_name]

verdict    run would not begin
";
}
