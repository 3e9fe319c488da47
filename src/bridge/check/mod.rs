//! What a run would do, and what stands against it: everything is looked at, nothing is changed.

mod end;
mod positions;
pub mod report;
mod settings;
mod standing;

pub use standing::{Resume, Standing, standing};

use super::ends::Ends;
use super::error::RunError;
use super::planner::Planner;
use super::survey::{OwnTopic, Right, Survey};
use super::weakness::Finding;
use super::worker;
use crate::cluster::Metadata;
use crate::config::{Config, Weakness};
use crate::target::TransactionProtocol;
use crate::topics::Step;
use end::End;
use report::{
    Action, LedgerReport, Level, Note, PlanReport, ProtocolReport, Report, RightReport, TopicReport, UnmatchedReport,
};

/// Before it, no broker asks the coordinator whether a produced batch belongs to a transaction that is open (KIP-890).
const VERIFIES_SINCE: (u32, u32) = (3, 6);

/// The report, without its verdict, and why a run would not begin.
pub async fn check(config: &Config) -> (Report, Option<RunError>) {
    let mut report = Report {
        link: Some(config.link.as_str().to_owned()),
        config: config.file().display().to_string(),
        ..Report::default()
    };
    let ends = match Ends::new(config) {
        Ok(ends) => ends,
        Err(error) => return (report, Some(error)),
    };
    let (source, target) =
        tokio::join!(end::look(&ends.source, &config.source), end::look(&ends.target, &config.target.end));
    report.notes.extend(source.notes("source"));
    report.notes.extend(target.notes("target"));
    let refusal = match (&source.metadata, &target.metadata) {
        (Ok(at_source), Ok(at_target)) => {
            report.transaction_protocol = Some(protocol(config, &ends));
            report.notes.extend(of_target(config, &ends, &target).await);
            let planner = Planner::new(config, &ends);
            match Survey::take(config, &ends, planner.sync(), at_source, at_target).await {
                Ok(survey) => {
                    fill(&mut report, config, &ends, &survey, at_source, at_target).await;
                    survey.refusal(&config.delivery.accept_weak)
                }
                Err(error) => Some(error),
            }
        }
        (Err(error), _) | (_, Err(error)) => Some(RunError::Cluster(error.clone())),
    };
    report.source = Some(source.report);
    report.target = Some(target.report);
    report.notes.sort_by_key(|it| it.level);
    (report, refusal)
}

async fn fill(
    report: &mut Report,
    config: &Config,
    ends: &Ends,
    survey: &Survey,
    source: &Metadata,
    target: &Metadata,
) {
    let latest = settings::latest_timestamps(ends, source, &survey.prospects).await;
    report.notes.extend(settings::weaknesses(survey, &config.delivery.accept_weak));
    for prospect in &survey.prospects {
        let latest = latest.get(&prospect.entry.source).copied();
        let expires = |it: &Finding| it.weakness == Weakness::TargetRetention && it.topic == prospect.entry.target;
        report.notes.extend(settings::of_topic(prospect, latest, survey.findings.iter().any(expires)));
        if let Some(error) = prospect.refused.as_ref().filter(|it| !it.is_authorization()) {
            let topic = Some(&*prospect.entry.target);
            report.notes.push(Note::new(Level::Refused, "target_refuses_topic", topic, error.to_string()));
        }
    }
    if let Some(fault) = survey.ledger.fault.as_ref().filter(|it| !is_authorization(it)) {
        report.notes.push(Note::new(Level::Refused, "ledger", Some(&survey.ledger.name), fault.to_string()));
    }
    if let Some((own, fault)) = survey.dead_letters.as_ref().and_then(|it| Some((it, it.fault.as_ref()?)))
        && !is_authorization(fault)
    {
        report.notes.push(Note::new(Level::Refused, "dead_letters", Some(&own.name), fault.to_string()));
    }
    report.notes.extend(registries(ends).await);
    if let Some(shared) = &survey.shared {
        report.notes.push(Note::new(Level::Refused, "shared", None, shared.to_string()));
    }
    if survey.plan.entries.is_empty() {
        let text =
            "no topic of the source is copied: those that are wanted do not exist yet, or DESCRIBE is missing on them";
        report.notes.push(Note::new(Level::Warning, "nothing_to_copy", None, text));
    }
    report.missing_rights =
        survey.missing.iter().zip(&survey.commands).map(|(it, command)| right(it, command)).collect();
    report.plan = Some(plan(config, survey, target));
    let (positions, notes) = positions::look(config, ends, survey, source, target).await;
    report.positions = Some(positions);
    report.notes.extend(notes);
}

/// Those that the config's checks ask. A run begins without them, and waits as the config says.
async fn registries(ends: &Ends) -> Vec<Note> {
    if !ends.checks.needs_registry() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    let target = ends.schemas.target.as_ref().filter(|_| ends.checks.maps_ids());
    for registry in [ends.schemas.source.as_ref(), target].into_iter().flatten() {
        if let Err(error) = registry.subjects().await {
            notes.push(Note::new(Level::Stopped, "schema_registry", None, error.to_string()));
        }
    }
    notes
}

fn is_authorization(error: &RunError) -> bool {
    matches!(error, RunError::Cluster(error) if error.is_authorization())
}

fn protocol(config: &Config, ends: &Ends) -> ProtocolReport {
    let (protocol, reason) = worker::protocol(&ends.target, config.delivery.transaction_protocol);
    ProtocolReport { version: if protocol == TransactionProtocol::V2 { 2 } else { 1 }, reason }
}

/// What the target's brokers are, beside their topics.
async fn of_target(config: &Config, ends: &Ends, target: &End) -> Vec<Note> {
    let mut notes = Vec::new();
    let releases = target.report.brokers.iter().filter_map(|it| it.kafka.as_deref());
    let number = |release: &str| {
        let (major, minor) = release.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    if let Some(oldest) = releases.filter(|it| number(it).is_none_or(|it: (u32, u32)| it < VERIFIES_SINCE)).min() {
        let text = format!(
            "Kafka {oldest} takes batches without asking whether their transaction is open: one that a network holds back \
             for longer than its transaction lives can come out doubled. Kafka 3.6 and later verify it (KIP-890)"
        );
        notes.push(Note::new(Level::Warning, "target_does_not_verify", None, text));
    }
    let wanted = i64::from(config.delivery.transaction_timeout_ms);
    for (node, connection) in target.brokers.iter().filter_map(|(node, it)| Some((*node, it.as_ref().ok()?))) {
        // A right is missing for it as a rule, and without it nothing is worse than before.
        let Ok(configs) = ends.target.broker_configs(connection, node).await else { break };
        let largest = configs.get("transaction.max.timeout.ms").and_then(|it| it.parse::<i64>().ok());
        if let Some(largest) = largest.filter(|it| *it < wanted) {
            let text = format!(
                "broker {node} allows {largest} ms as transaction.max.timeout.ms, and delivery.transaction_timeout_ms is \
                 {wanted}: no lane could begin. Lower it, or raise the broker's"
            );
            notes.push(Note::new(Level::Stopped, "target_transaction_timeout", None, text));
            break;
        }
    }
    notes
}

fn right(right: &Right, command: &str) -> RightReport {
    RightReport {
        end: right.end,
        resource: right.resource.name(),
        name: right.name.clone(),
        operations: right.operations.iter().map(ToString::to_string).collect(),
        is_required: right.is_required,
        why: right.why,
        command: command.to_owned(),
    }
}

fn plan(config: &Config, survey: &Survey, target: &Metadata) -> PlanReport {
    let topics = survey.prospects.iter().map(|prospect| {
        let entry = &prospect.entry;
        let found = target.topics.get(&entry.target).map_or(0, |it| it.partitions.len());
        TopicReport {
            source: entry.source.to_string(),
            target: entry.target.to_string(),
            partitions: entry.partitions,
            pattern: entry.pattern.clone(),
            rule: entry.rule + 1,
            start: entry.start.to_string(),
            action: match &prospect.step {
                None => Action::None,
                Some(Step::Create(_)) => Action::Create,
                Some(Step::Grow { .. }) => Action::Grow,
            },
            target_partitions: i32::try_from(found).unwrap_or(i32::MAX),
            replication_factor: prospect.replication_factor,
            configs: match &prospect.step {
                Some(Step::Create(topic)) => topic.configs.clone(),
                _ => Default::default(),
            },
        }
    });
    let unmatched = survey.plan.unmatched.iter();
    PlanReport {
        topics: topics.collect(),
        unmatched_patterns: unmatched
            .map(|it| UnmatchedReport { pattern: it.pattern.clone(), rule: it.rule + 1 })
            .collect(),
        ledger: own(config, &survey.ledger),
        dead_letters: survey.dead_letters.as_ref().map(|it| own(config, it)),
    }
}

fn own(config: &Config, topic: &OwnTopic) -> LedgerReport {
    LedgerReport {
        topic: topic.name.to_string(),
        lanes: config.delivery.lanes.get(),
        action: if topic.create.is_some() { Action::Create } else { Action::None },
        replication_factor: topic.replication_factor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Weakness;

    const README: &str = include_str!("../../../README.md");

    /// Scripts look for them.
    #[test]
    fn the_readme_explains_every_name_of_a_note_and_every_key_of_the_report() {
        let sources =
            [include_str!("mod.rs"), include_str!("end.rs"), include_str!("positions.rs"), include_str!("settings.rs")];
        let named = regex::Regex::new(r#"Level::[A-Z]\w+,\s*"([a-z_]+)""#).unwrap();
        let names: Vec<&str> =
            sources.iter().flat_map(|it| named.captures_iter(it)).filter_map(|it| Some(it.get(1)?.as_str())).collect();
        assert!(names.len() > 10, "{names:?}");
        let weaknesses = Weakness::ALL.map(Weakness::name);
        for name in names.iter().chain(&weaknesses) {
            assert!(README.contains(&format!("`{name}`")) || README.contains(&format!("`\"{name}\"`")), "{name}");
        }
        let report = serde_json::to_value(Report::default()).unwrap();
        for key in report.as_object().unwrap().keys() {
            assert!(README.contains(&format!("`{key}`")), "{key}");
        }
    }
}
