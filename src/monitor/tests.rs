//! From a link's events to what is served of them.

use super::metrics;
use super::server::Server;
use super::state::{Budget, EndOffsets, INCIDENTS_MAX, InUse, Monitor, now_ms};
use crate::bridge::{Counts, Ends, Incident, IncidentKind, KnownPosition, LaneEvent, LinkEvent, PartCounts};
use crate::config::Config;
use crate::types::TopicPartition;
use prometheus_client::encoding::prometheus_text;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONFIG: &str = r#"
link = "orders"
[source]
bootstrap_servers = ["localhost:1"]
[target]
bootstrap_servers = ["localhost:1"]
[[topics]]
include = ["*"]
[delivery]
lanes = 2
[console]
listen = "127.0.0.1:8080"
hosts = ["console.example.org"]
"#;

fn config() -> Config {
    let parsed = Config::parse(Path::new("bridge.toml"), CONFIG, &|_| None);
    let mut config = parsed.unwrap_or_else(|error| panic!("{error}"));
    // Any that is free.
    if let Some(console) = &mut config.console {
        console.listen.port = 0;
    }
    config
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("orders", number)
}

fn tell(monitor: &Monitor, lane: u32, event: LaneEvent) {
    monitor.state().happened(&LinkEvent::Lane { lane, event: &event });
}

fn committed(number: i32, next_offset: i64, read: u64, dead_lettered: u64) -> LaneEvent {
    let part = PartCounts {
        partition: partition(number),
        target: TopicPartition::new("copy", number),
        next_offset,
        read,
        written: read - dead_lettered,
        dead_lettered,
        bytes_read: 1_000,
        bytes_written: 900,
        timestamp_ms: Some(1),
    };
    let letters = [("utf8".to_owned(), dead_lettered)].into_iter().filter(|it| it.1 > 0);
    LaneEvent::Committed(Counts {
        records: read - dead_lettered,
        bytes: 900,
        batches: 2,
        reencoded: BTreeMap::from([("dead_letter", 1)]),
        dead_lettered: letters.collect(),
        latency: Duration::from_millis(12),
        parts: vec![part],
    })
}

/// Two lanes, a partition in each.
fn working() -> Monitor {
    let monitor = Monitor::new(&config());
    let lanes = BTreeSet::from([0, 1]);
    monitor.state().happened(&LinkEvent::Assigned { lanes: &lanes, generation_id: 4, is_unfit: false });
    for lane in [0, 1] {
        let number = i32::try_from(lane).unwrap();
        let position = KnownPosition {
            partition: partition(number),
            target: TopicPartition::new("copy", number),
            next_offset: 100,
            records: 90,
            dead_letters: 10,
        };
        tell(&monitor, lane, LaneEvent::Taken { transaction: 7, positions: vec![position] });
    }
    tell(&monitor, 0, committed(0, 150, 50, 3));
    let now = now_ms();
    let found = EndOffsets { log_start: 5, last_stable: 170, high_watermark: 180 };
    let mut state = monitor.state();
    if let Some(row) = state.partitions.get_mut(&partition(0)) {
        row.looked_at(now, found);
        row.at_target = Some(found);
    }
    state.budget = Some(Budget { free_bytes: Box::new(|| 20), bytes_max: 100 });
    let day = Duration::from_secs(86_400);
    let not_after = UNIX_EPOCH + Duration::from_millis(now) + 90 * day;
    let subject = "CN=bridge".to_owned();
    state.certificates = vec![InUse { end: "source", whose: "bridge", subject, not_after }];
    drop(state);
    monitor
}

fn incident(number: i32) -> LaneEvent {
    let kind = IncidentKind::NoPosition { end_offset: 5 };
    let (partition, target) = (partition(number), TopicPartition::new("copy", number));
    LaneEvent::Incident(Incident { partition, target, next_offset: -1, time_ms: 1, kind })
}

#[test]
fn what_is_read_is_written_or_dead_lettered() {
    let monitor = working();
    tell(&monitor, 1, committed(1, 200, 100, 0));
    let snapshot = monitor.state().snapshot(now_ms());
    let totals = &snapshot.totals;
    assert_eq!((totals.read, totals.written, totals.dead_lettered), (150, 147, 3));
    assert_eq!((totals.committed, totals.batches, totals.bytes_written), (2, 4, 1_800));
    let first = &snapshot.partitions[0];
    assert_eq!((first.records, first.dead_letters, first.next_offset), (137, 13, 150));
    assert_eq!(first.lag_records, Some(20));
}

#[test]
fn lanes_that_are_given_up_are_told_of_by_others() {
    let monitor = working();
    monitor.state().happened(&LinkEvent::Assigned { lanes: &BTreeSet::from([1]), generation_id: 5, is_unfit: false });
    let snapshot = monitor.state().snapshot(now_ms());
    assert_eq!((snapshot.lanes.own, snapshot.partitions.len()), (vec![1], 1));
    tell(&monitor, 1, LaneEvent::Failed("why".to_owned()));
    let snapshot = monitor.state().snapshot(now_ms());
    assert_eq!(snapshot.partitions.len(), 1, "what it lags behind is still to be seen");
    assert!(!snapshot.ready.is_well);
}

#[test]
fn a_link_is_ready_when_it_works_its_lanes() {
    let monitor = working();
    assert_eq!(monitor.state().is_ready().problems, ["it has not begun: it connects to both clusters"]);
    monitor.state().phase = super::state::Phase::Running;
    assert!(monitor.state().is_ready().is_well && monitor.state().lives().is_well);
    tell(&monitor, 1, LaneEvent::Fenced);
    assert_eq!(monitor.state().is_ready().problems, ["lanes are not taken yet: [1]"]);
    monitor.state().happened(&LinkEvent::Draining);
    assert!(!monitor.state().is_ready().is_well && monitor.state().lives().is_well);
    let long_ago = std::time::Instant::now().checked_sub(Duration::from_secs(31));
    if let Some(long_ago) = long_ago {
        monitor.state().beat = long_ago;
        assert!(!monitor.state().lives().is_well);
    }
}

#[test]
fn incidents_are_bounded() {
    let monitor = working();
    (0..5_000).for_each(|it| tell(&monitor, 0, incident(it)));
    let state = monitor.state();
    assert_eq!((state.incidents.len(), state.incidents[INCIDENTS_MAX - 1].partition.partition), (INCIDENTS_MAX, 4_999));
}

/// After a change that is meant, run `KAFKA_BRIDGE_SNAPSHOT=write cargo test monitor::` and read the difference: dashboards and
/// alerts hang on these names.
#[test]
fn names_and_labels_of_the_metrics_are_the_reviewed_ones() {
    let monitor = working();
    tell(&monitor, 0, incident(0));
    let mut written = String::new();
    prometheus_text::encode(&mut written, &metrics::registry(&monitor)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let written = written.replace(version, "VERSION");
    // What depends on the clock.
    let ages = ["lag_seconds{", "retention_headroom_seconds{", "certificate_days_left{"];
    let line = |line: &str| match ages
        .iter()
        .any(|it| line.strip_prefix("kafka_bridge_").is_some_and(|line| line.starts_with(it)))
    {
        true => format!("{} N\n", line.rsplit_once(' ').map_or(line, |it| it.0)),
        false => format!("{line}\n"),
    };
    let written: String = written.lines().map(line).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/monitor/metrics.txt");
    if std::env::var_os("KAFKA_BRIDGE_SNAPSHOT").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(written, std::fs::read_to_string(path).unwrap());
}

/// A name that only one of the two knows is a dashboard that stays empty, or one that nobody finds.
#[test]
fn the_readme_names_every_metric_and_no_other() {
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
        words.filter(|it| it.starts_with("kafka_bridge_")).map(str::to_owned).collect()
    };
    let told = include_str!("metrics.txt").lines().filter_map(|it| it.strip_prefix("# TYPE ")?.split(' ').next());
    let told: BTreeSet<String> = told.map(str::to_owned).collect();
    assert_eq!(names(include_str!("../../README.md")), told);
}

#[test]
fn a_partition_stands_still_until_it_goes_on_and_may_stop_again() {
    let monitor = working();
    let standing = || monitor.state().snapshot(now_ms()).incidents.iter().map(|it| it.stands).collect::<Vec<_>>();
    tell(&monitor, 0, incident(0));
    assert_eq!(standing(), [true]);
    // An operator has let it go on.
    tell(&monitor, 0, committed(0, 200, 10, 0));
    assert_eq!(standing(), [false]);
    tell(&monitor, 0, incident(0));
    assert_eq!(standing(), [false, true]);
    // Another bridge works it, and tells of it; then it comes back.
    monitor.state().happened(&LinkEvent::Assigned { lanes: &BTreeSet::from([1]), generation_id: 5, is_unfit: false });
    assert_eq!(standing(), [false, false]);
    let lanes = BTreeSet::from([0, 1]);
    monitor.state().happened(&LinkEvent::Assigned { lanes: &lanes, generation_id: 6, is_unfit: false });
    let LaneEvent::Incident(incident) = incident(0) else { return };
    monitor.state().happened(&LinkEvent::IncidentAgain { lane: 0, incident: &incident });
    assert_eq!(standing(), [false, true]);
}

async fn answer(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn get(server: &Server, path: &str, host: &str) -> String {
    answer(server, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

async fn server(monitor: &Monitor) -> Server {
    let config = config();
    let ends = Ends::new(&config).unwrap();
    Server::start(&config, monitor.clone(), ends).await.unwrap().unwrap()
}

/// The last story: what, why, and which lanes.
fn story(monitor: &Monitor) -> serde_json::Value {
    let link = serde_json::to_value(monitor.state().snapshot(now_ms())).unwrap();
    let last = link["lanes"]["handovers"].as_array().unwrap().last().cloned().unwrap();
    serde_json::json!([last["change"], last["reason"], last["lanes"], last["detail"]])
}

#[test]
fn a_lane_that_comes_or_goes_is_told_with_the_reason() {
    use serde_json::json;
    let taken = || LaneEvent::Taken { transaction: 7, positions: Vec::new() };
    let assign = |monitor: &Monitor, lanes: &[u32], generation_id, is_unfit| {
        let lanes = lanes.iter().copied().collect();
        monitor.state().happened(&LinkEvent::Assigned { lanes: &lanes, generation_id, is_unfit });
    };
    let monitor = working();
    assert_eq!(story(&monitor), json!(["taken", "assigned", "0-1", "generation 4"]));
    assign(&monitor, &[1], 5, false);
    assert_eq!(story(&monitor), json!(["given_up", "reassigned", "0", "generation 5"]));
    // Its end, which comes behind the group's word, is no other story; nor is the news that a lane is still its own.
    tell(&monitor, 0, LaneEvent::Drained);
    tell(&monitor, 1, taken());
    assert_eq!(story(&monitor), json!(["given_up", "reassigned", "0", "generation 5"]));
    tell(&monitor, 1, LaneEvent::Fenced);
    assert_eq!(story(&monitor), json!(["given_up", "fenced", "1", null]));
    monitor.state().happened(&LinkEvent::TakenBack { lane: 1 });
    tell(&monitor, 1, taken());
    assert_eq!(story(&monitor), json!(["taken", "confirmed", "1", null]));
    assign(&monitor, &[], 6, true);
    assert_eq!(story(&monitor), json!(["given_up", "source_unreachable", "1", "generation 6"]));
    assign(&monitor, &[0, 1], 7, false);
    tell(&monitor, 0, taken());
    // The other was lost before it was taken.
    monitor.state().happened(&LinkEvent::Lost { reason: "why" });
    assert_eq!(story(&monitor), json!(["given_up", "session_lost", "0", "why"]));
    assign(&monitor, &[0], 8, false);
    tell(&monitor, 0, taken());
    tell(&monitor, 0, LaneEvent::Failed("broken".to_owned()));
    assert_eq!(story(&monitor), json!(["stopped", "failed", "0", "broken"]));

    let alone = Monitor::new(&config());
    assign(&alone, &[0, 1], -1, false);
    [0, 1].iter().for_each(|lane| tell(&alone, *lane, taken()));
    assert_eq!(story(&alone), json!(["taken", "started", "0-1", null]));
    let owner = crate::ledger::Owner {
        instance: uuid::Uuid::nil(),
        host: "h".into(),
        pid: 9,
        started_ms: 1,
        version: "0".into(),
    };
    tell(&alone, 0, LaneEvent::TakenOver(owner));
    assert_eq!(story(&alone), json!(["given_up", "taken_over", "0", "by process 9 on h"]));
    alone.state().happened(&LinkEvent::Draining);
    tell(&alone, 1, LaneEvent::Drained);
    assert_eq!(story(&alone), json!(["given_up", "ended", "1", null]));
}

#[tokio::test]
async fn health_metrics_and_the_link_are_served_to_those_who_name_the_host() {
    let monitor = working();
    let server = server(&monitor).await;
    let of = async |path: &str| get(&server, path, "console.example.org:443").await;
    assert!(of("/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = of("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("it has not begun"), "{ready}");
    assert!(
        of("/metrics")
            .await
            .contains("kafka_bridge_records_read_total{link=\"orders\",topic=\"orders\",partition=\"0\"} 50")
    );
    let link = of("/api/link").await;
    let body = link.split("\r\n\r\n").nth(1).unwrap();
    let link: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&link["link"], &link["partitions"][0]["written"]), (&"orders".into(), &47.into()));
    assert!(of("/nothing").await.starts_with("HTTP/1.1 404"));
    for host in ["evil.example.org", "localhost.evil.example.org", ""] {
        let refused = get(&server, "/api/link", host).await;
        assert!(refused.starts_with("HTTP/1.1 421") && !refused.contains("orders"), "{refused}");
    }
}

#[tokio::test]
async fn nothing_is_changed_and_every_answer_says_how_it_may_be_used() {
    let server = server(&working()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let request = format!("{method} /api/link HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let refused = answer(&server, &request).await;
        assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"), "{method}: {refused}");
    }
    for path in ["/healthz", "/metrics", "/nothing", "/api/link"] {
        let head = get(&server, path, "localhost").await.to_lowercase();
        for header in [
            "content-security-policy: default-src 'self'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "x-frame-options: deny",
        ] {
            assert!(head.contains(header), "{path} lacks {header}: {head}");
        }
    }
    // What is no HTTP, and heads without an end.
    assert!(answer(&server, "\u{16}\u{3}\u{1}garbage\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let refused = answer(&server, &endless).await;
    assert!(refused.starts_with("HTTP/1.1 431") || refused.is_empty(), "{refused}");
    assert!(get(&server, "/healthz", "localhost").await.starts_with("HTTP/1.1 200"), "it still answers");
}

#[tokio::test]
async fn a_stream_shows_the_link_as_it_changes_and_there_are_not_too_many() {
    let monitor = working();
    let server = server(&monitor).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut seen = String::new();
        until(&mut stream, &mut seen, "\"written\":47").await;
        assert!(seen.contains("text/event-stream") && seen.contains("event: link\ndata: {"), "{seen}");
        streams.push((stream, seen));
    }
    assert!(get(&server, "/api/events", "localhost").await.starts_with("HTTP/1.1 503"));
    tell(&monitor, 0, committed(0, 200, 50, 0));
    let (mut stream, mut seen) = streams.swap_remove(0);
    until(&mut stream, &mut seen, "\"written\":97").await;
}

async fn until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut buffer = vec![0; 64 << 10];
    while !seen.contains(wanted) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the stream has ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let monitor = working();
    let first = server(&monitor).await;
    let text = CONFIG.replace("127.0.0.1:8080", &first.address().to_string());
    let config = Config::parse(Path::new("bridge.toml"), &text, &|_| None).unwrap();
    let ends = Ends::new(&config).unwrap();
    let failed = Server::start(&config, monitor, ends).await;
    let error = failed.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(error.contains(&first.address().to_string()) && error.contains("choose another port"), "{error}");
}
