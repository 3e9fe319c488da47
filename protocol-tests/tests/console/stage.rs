//! A link with events that are checked, some of which are none, and a topic that nobody checks, full of markup.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::broker::Settings;
use protocol_tests::bridge::{Bridge, Config};
use protocol_tests::browser::Browser;
use protocol_tests::embedded::EmbeddedCluster;
use protocol_tests::http;
use protocol_tests::orders;
use protocol_tests::ports;
use protocol_tests::raw::{Codec, NewRecord};
use protocol_tests::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

pub(super) const LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

pub(super) const ORDERS: &str = "orders";
/// As near to markup as Kafka's names come.
pub(super) const MARKUP: &str = "img-src-x.onerror_alert-1-";
pub(super) const HOSTILE: &str =
    "<img src=x onerror=\"window.harmed=1\"><script>window.harmed=1</script><b id=planted>bold</b>";
pub(super) const PARTITIONS: i32 = 3;
/// Of each partition of the orders; every tenth is cut off.
pub(super) const RECORDS: i64 = 60;
pub(super) const UNFIT: i64 = 10;
pub(super) const TIME_MS: i64 = 1_750_000_000_000;

pub(super) struct Stage {
    pub(super) source: EmbeddedCluster,
    pub(super) target: EmbeddedCluster,
    pub(super) bridge: Bridge,
    pub(super) port: u16,
    config: PathBuf,
    _registry: Registry,
    _folder: TempDir,
}

impl Stage {
    pub(super) fn start(shows_records: bool) -> Result<Stage> {
        let (source, target) =
            (EmbeddedCluster::start(Settings::nodes(2))?, EmbeddedCluster::start(Settings::nodes(2))?);
        let (folder, registry, port) = (tempfile::tempdir()?, Registry::plaintext()?, ports::free()?);
        write(&source, registry.register("orders-value", orders::SCHEMA)?)?;
        let mut config = Config::new("seen", source.end(), target.end(), &[ORDERS]);
        config.source.extra =
            registry.table("source").lines().skip(1).fold("registry = { ".to_owned(), |all, line| all + line) + " }\n";
        config.topics_extra = "value_schema = \"registry:{topic}-value\"\n".to_owned();
        config.delivery = "accept_weak = [\"target_min_insync_replicas\"]\nlanes = 4\n".to_owned();
        let records = if shows_records { "records = true\n" } else { "" };
        config.tables =
            format!("\n[[topics]]\ninclude = [\"*\"]\n\n[console]\nlisten = \"127.0.0.1:{port}\"\n{records}");
        let config = config.write(folder.path(), "bridge")?;
        let bridge = Bridge::run(&config)?;
        let stage = Stage { source, target, bridge, port, config, _registry: registry, _folder: folder };
        stage.until_quiet()?;
        Ok(stage)
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.bridge = Bridge::run(&self.config)?;
        Ok(())
    }

    pub(super) fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/#/{page}", self.port)
    }

    /// Everything is copied, and both ends were looked at since.
    fn until_quiet(&self) -> Result<()> {
        let wanted = RECORDS * i64::from(PARTITIONS) + 3;
        let start = Instant::now();
        loop {
            let link = self.api("/api/link").map(|it| it.1).unwrap_or_default();
            let rows = link["partitions"].as_array().cloned().unwrap_or_default();
            let is_quiet = |it: &Value| it["lag_records"] == 0 && it["target"]["last_stable"].as_i64() > Some(0);
            if link["totals"]["read"] == wanted && rows.iter().all(is_quiet) {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "not everything is copied: {link:#}\n{}", self.bridge.log());
            std::thread::sleep(POLL);
        }
    }

    /// Status and JSON.
    pub(super) fn api(&self, path: &str) -> Result<(u16, Value)> {
        let (status, body) = http::get(self.port, path)?;
        Ok((status, serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?))
    }
}

fn write(source: &EmbeddedCluster, schema_id: i32) -> Result<()> {
    let mut client = source.client();
    client.create_topic(ORDERS, PARTITIONS, 1, &[("retention.ms", "-1")])?;
    client.create_topic(MARKUP, 1, 1, &[("retention.ms", "-1")])?;
    let datums = orders::datums(&orders::schema()?, (RECORDS * i64::from(PARTITIONS)) as usize)?;
    for partition in 0..PARTITIONS {
        let record = |number: i64| {
            let mut value = [&[0][..], &schema_id.to_be_bytes()].concat();
            let datum = &datums[(RECORDS * i64::from(partition) + number) as usize];
            value.extend(if number % UNFIT == 3 { &datum[..40] } else { &datum[..] });
            let (key, timestamp) = (Some(format!("key-{number}").into_bytes()), TIME_MS + number * 1_000);
            NewRecord { timestamp, key, value: Some(value), ..NewRecord::default() }
        };
        for first in (0..RECORDS).step_by(15) {
            client.write(ORDERS, partition, Codec::Lz4, (first..first + 15).map(record).collect())?;
        }
    }
    let hostile = HOSTILE.as_bytes().to_vec();
    let json = br#"{"id": 9007199254740993, "html": "<script>window.harmed=1</script>"}"#.to_vec();
    let records = [Some(hostile.clone()), Some(json), Some(vec![0xff, 0xfe, 0])].map(|value| NewRecord {
        timestamp: TIME_MS,
        key: Some(hostile.clone()),
        value,
        headers: vec![(hostile.clone(), Some(hostile.clone()))],
    });
    client.write(MARKUP, 0, Codec::None, records.into())?;
    Ok(())
}

/// Of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Nothing on the page came out of a record, and it has complained of nothing.
pub(super) fn unharmed(browser: &mut Browser, at: &str) -> Result<()> {
    let harmed = browser
        .evaluate("window.harmed === 1 || document.querySelector('#planted, main img, main script') !== null")?;
    ensure!(harmed == Value::Bool(false), "{at}: what a record holds has become part of the page");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{at}: {complaints:#?}");
    Ok(())
}
