//! `kafka-bridge check`

mod text;

use super::exit::{self, Exit};
use super::output::answer;
use crate::bridge::RunError;
use crate::bridge::check::report::{ConfigProblem, Level, Report, Verdict};
use crate::bridge::check::{self};
use crate::cluster::ClusterError;
use crate::config::Config;
use std::path::Path;

pub(super) fn check(file: &Path, json: bool) -> anyhow::Result<Exit> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) if json => {
            let verdict = verdict(Exit::Config, "the config is wrong".to_owned());
            let config_errors = ConfigProblem::all(&error);
            let config = file.display().to_string();
            answer(&Report { config, verdict, config_errors, ..Report::default() }, json, text::render)?;
            return Ok(Exit::Config);
        }
        Err(error) => return Err(error.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut report, refusal) = runtime.block_on(check::check(&config));
    runtime.shutdown_background();
    let (code, text) = judge(&report, refusal.as_ref());
    report.verdict = Verdict { would_run: refusal.is_none(), ..verdict(code, text) };
    answer(&report, json, text::render)?;
    Ok(code)
}

fn verdict(code: Exit, text: String) -> Verdict {
    Verdict { exit_code: code as u8, would_run: false, text }
}

/// The code, and what a run would do.
fn judge(report: &Report, refusal: Option<&RunError>) -> (Exit, String) {
    if let Some(refusal) = refusal {
        return (exit::of_run(refusal), format!("run would not begin: {}", reason(refusal)));
    }
    let stopped = report.notes.iter().filter(|it| it.level == Level::Stopped).count();
    let plan = report.plan.as_ref();
    let topics = plan.map_or(0, |it| it.topics.len());
    let partitions: i32 = plan.map_or(0, |it| it.topics.iter().map(|topic| topic.partitions).sum());
    let copies = format!("run would copy {} of {}", count(topics, "topic"), count(partitions, "partition"));
    if report.notes.iter().any(|it| it.name == "unreachable_broker") {
        return (Exit::Unavailable, format!("{copies}, but not all brokers can be reached"));
    }
    match stopped {
        0 => (Exit::Done, copies),
        _ => (Exit::Failed, format!("{copies}, and stand still in {}", count(stopped, "place"))),
    }
}

/// In a line: what else there is to say stands in the report.
fn reason(refusal: &RunError) -> String {
    match refusal {
        RunError::Rights(missing) => format!("{} missing", count(missing.rights.len(), "right")),
        RunError::Weak(findings) => {
            format!("{} of the target not accepted", count(findings.len(), "weakness"))
        }
        RunError::Cluster(ClusterError::Unreachable { end, .. }) => format!("the {end} cannot be reached"),
        other => other.to_string(),
    }
}

fn count(number: impl TryInto<u64>, noun: &str) -> String {
    match number.try_into() {
        Ok(1) => format!("1 {noun}"),
        Ok(number) if noun.ends_with('s') => format!("{number} {noun}es"),
        Ok(number) => format!("{number} {noun}s"),
        Err(_) => format!("no {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::check::report::Note;

    fn with(notes: &[(Level, &'static str)]) -> Report {
        let note =
            |(level, name): &(Level, &'static str)| Note { level: *level, name, subject: None, text: String::new() };
        Report { notes: notes.iter().map(note).collect(), ..Report::default() }
    }

    #[test]
    fn the_gravest_decides() {
        assert_eq!(judge(&with(&[]), None).0, Exit::Done);
        assert_eq!(judge(&with(&[(Level::Warning, "w"), (Level::Accepted, "a")]), None).0, Exit::Done);
        assert_eq!(judge(&with(&[(Level::Stopped, "no_position")]), None).0, Exit::Failed);
        let unreachable = [(Level::Stopped, "no_position"), (Level::Stopped, "unreachable_broker")];
        assert_eq!(judge(&with(&unreachable), None).0, Exit::Unavailable);
        let weak = RunError::Weak(Vec::new());
        assert_eq!(judge(&with(&unreachable), Some(&weak)).0, Exit::Config);
    }

    #[test]
    fn numbers_have_their_plural() {
        assert_eq!((count(1, "weakness"), count(2, "weakness")), ("1 weakness".into(), "2 weaknesses".into()));
    }
}
