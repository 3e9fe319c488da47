//! Who copies: each as a process of its own, with the best settings that are known for it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use protocol_tests::bridge::Bridge;
use protocol_tests::process::Process;
use protocol_tests::registry::Registry;

use crate::mirror;
use crate::stage::Stage;

const END_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Copier {
    Bridge,
    /// A bridge that holds each event against its schema, where events are copied.
    Checked,
    MirrorMaker,
    /// No copier: a consumer and a producer that know nothing of each other, as fast as both brokers let them.
    Ceiling,
}

/// One that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) copier: Copier,
    /// Further lines of a bridge's `[delivery]`, `;` between them.
    pub(crate) delivery: String,
}

impl Contender {
    pub(crate) fn plain(copier: Copier) -> Contender {
        Contender { copier, delivery: String::new() }
    }

    /// Each bridge once with each of the deliveries.
    pub(crate) fn all(copiers: &[Copier], deliveries: &[String]) -> Vec<Contender> {
        let of = |copier: &Copier| -> Vec<Contender> {
            let deliveries = if copier.is_bridge() { deliveries } else { &[String::new()] };
            deliveries.iter().map(|it| Contender { copier: *copier, delivery: it.clone() }).collect()
        };
        copiers.iter().flat_map(of).collect()
    }

    /// `schemas`: of the topic's values.
    pub(crate) fn begin(&self, stage: &Stage, run: &str, topic: &str, schemas: Option<&Registry>) -> Result<Working> {
        match self.copier {
            Copier::Bridge | Copier::Checked => {
                let mut config = stage.pair.config(run, &[topic]);
                config.delivery += &self.delivery.replace(';', "\n");
                config.topics_extra = format!("rename = \"{run}.{{topic}}\"\n");
                if self.copier == Copier::Checked {
                    let registry = schemas.context("nothing here has a schema")?;
                    config.topics_extra += "value_schema = \"registry:{topic}-value\"\n";
                    config.tables += &registry.table("source");
                }
                Ok(Working::Bridge(stage.pair.run(&config, run)?))
            }
            Copier::MirrorMaker => Ok(Working::MirrorMaker(mirror::start(stage, run, topic)?)),
            Copier::Ceiling => bail!("the ceiling is no process"),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.delivery.as_str() {
            "" => write!(f, "{:<8}", self.copier.name()),
            delivery => write!(f, "{:<8} [{delivery}]", self.copier.name()),
        }
    }
}

/// One that works.
pub(crate) enum Working {
    Bridge(Bridge),
    MirrorMaker(Process),
}

impl Copier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Copier::Bridge => "bridge",
            Copier::Checked => "checked",
            Copier::MirrorMaker => "mirror",
            Copier::Ceiling => "ceiling",
        }
    }

    /// The topic that it copies into.
    pub(crate) fn into(self, run: &str, topic: &str) -> String {
        format!("{run}.{topic}")
    }

    pub(crate) fn is_bridge(self) -> bool {
        matches!(self, Copier::Bridge | Copier::Checked)
    }

    /// One that is a process, and copies whatever there is.
    pub(crate) fn is_for_all(self) -> bool {
        matches!(self, Copier::Bridge | Copier::MirrorMaker)
    }
}

impl Working {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Working::Bridge(bridge) => bridge.id(),
            Working::MirrorMaker(process) => process.id(),
        }
    }

    pub(crate) fn log(&self) -> String {
        match self {
            Working::Bridge(bridge) => bridge.log(),
            Working::MirrorMaker(process) => process.log(),
        }
    }

    pub(crate) fn is_alive(&mut self) -> Result<()> {
        let process = match self {
            Working::Bridge(bridge) => bridge.process(),
            Working::MirrorMaker(process) => process,
        };
        ensure!(process.exit_code()?.is_none(), "it has ended:\n{}", process.log_tail(30));
        Ok(())
    }

    /// Gives its log.
    pub(crate) fn end(mut self) -> Result<String> {
        match &mut self {
            Working::Bridge(bridge) => {
                let code = bridge.terminate(END_LIMIT)?;
                ensure!(code == 0, "the bridge did not end well:\n{}", bridge.log());
            }
            Working::MirrorMaker(process) => {
                process.signal("TERM")?;
                process.wait(END_LIMIT)?;
            }
        }
        Ok(self.log())
    }
}
