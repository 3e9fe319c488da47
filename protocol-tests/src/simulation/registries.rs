//! The schema registries of both ends: servers without a socket, which the bridges reach through the simulation's network.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use kafka_bridge::demo::registry::{Fault, RegistryServer, Settings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::datums::{FOREIGN, NEWER, OLDER, OTHER};
use super::network::{End, Network, REGISTRY, REGISTRY_NAME, Route, Trouble};
use super::schedule::{RegistryFault, Validation};
use super::world::{Action, World};

const DUPLEX_BYTES: usize = 1 << 16;

pub(super) struct Registries {
    source: Arc<RegistryServer>,
    target: Arc<RegistryServer>,
    /// Of the topics that are checked.
    subjects: Vec<String>,
    pub(super) is_evolved: bool,
}

pub(super) fn url() -> String {
    format!("http://{REGISTRY_NAME}:8081")
}

fn server(end: End, network: &Network) -> Arc<RegistryServer> {
    let server = Arc::new(RegistryServer::unbound(format!("{REGISTRY_NAME}:8081"), Settings::default()));
    network.serve_registry(end, Arc::clone(&server));
    server
}

/// For whoever writes: no fault is in the way.
async fn register(server: &RegistryServer, subject: &str, schema: &str) -> Result<()> {
    let (mut ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
    server.attach(theirs);
    let body = json!({ "schema": schema }).to_string();
    let request = format!(
        "POST /subjects/{subject}/versions HTTP/1.1\r\nhost: {REGISTRY_NAME}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    ours.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{subject} is not registered: {answer}");
    Ok(())
}

impl Registries {
    /// With all schemas but the newer one, in an order that gives them their ids.
    pub(super) async fn start(validation: &Validation, network: &Network) -> Result<Registries> {
        let (source, target) = (server(End::Source, network), server(End::Target, network));
        let subjects: Vec<_> = validation.topics.iter().map(|it| format!("t{it}-value")).collect();
        register(&source, "other", OTHER).await?;
        for subject in &subjects {
            register(&source, subject, OLDER).await?;
        }
        for text in FOREIGN.into_iter().chain([OLDER]) {
            register(&target, "foreign", text).await?;
        }
        Ok(Registries { source, target, subjects, is_evolved: false })
    }

    /// The newer schema comes.
    pub(super) async fn evolve(&mut self) -> Result<()> {
        for subject in &self.subjects {
            register(&self.source, subject, NEWER).await?;
        }
        self.is_evolved = true;
        Ok(())
    }

    pub(super) fn mend(&self, end: End) {
        self.of(end).mend();
    }

    fn of(&self, end: End) -> &RegistryServer {
        if end == End::Source { &self.source } else { &self.target }
    }
}

impl World {
    pub(super) fn fail_registry(&mut self, end: End, fault: RegistryFault, ms: u64) {
        let Some(registries) = &self.registries else { return };
        let planted = match fault {
            RegistryFault::Refused => Err(Trouble::Refuse),
            RegistryFault::Stalled(direction) => Err(Trouble::Stall(direction)),
            RegistryFault::BreaksOff { after_bytes } => Err(Trouble::BreakOff(after_bytes)),
            RegistryFault::Closes => Ok(Fault::Down),
            RegistryFault::Slow { late_ms } => Ok(Fault::Slow(Duration::from_millis(late_ms))),
            RegistryFault::Status(status) => Ok(Fault::Status(status, i64::from(status) * 100 + 1)),
            RegistryFault::Garbage => Ok(Fault::Body(b"<html>".to_vec())),
        };
        match planted {
            Ok(fault) => {
                // What the bridge asks there, and nobody else.
                let path = if end == End::Source { "/schemas/ids" } else { "/subjects" };
                registries.of(end).fail(path, fault);
                self.later(ms, Action::Mend(end));
            }
            Err(trouble) => self.trouble(Route { host: None, end: Some(end), node: Some(REGISTRY) }, trouble, ms),
        }
    }
}
