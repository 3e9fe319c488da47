//! What a running link writes: enough to know what runs and how it goes, and never a record or a key.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::bridge::binary;
use protocol_tests::command::Finished;
use protocol_tests::kafka::Spec;
use protocol_tests::pair::Pair;
use protocol_tests::process::Process;
use protocol_tests::raw::{Codec, NewRecord, RawClient};
use serde_json::Value;

use crate::{beside, real};

const LIMIT: Duration = Duration::from_secs(60);
/// A progress line is due each minute.
const LINE_LIMIT: Duration = Duration::from_secs(90);
/// In key, value and header of every record; long enough that nothing else can look like it.
const CONTENTS: [&str; 3] = ["key-Kx7Qz2Vw9", "value-Ub4Hs8Ty1", "header-Pm3Jd6Rc5"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        real("logging", "kafka_4_4_0_never_shows_contents_or_keys", &["4.4.0"], never_shows_contents),
        // It waits for the line of a minute.
        beside("logging", "kafka_4_4_0_lines_of_a_run", &["4.4.0"], lines_of_a_run),
    ]
}

fn pair() -> Result<Pair> {
    Pair::start(Spec::kraft("4.4.0").with_tls(), Spec::kraft("4.4.0").with_tls())
}

fn write(client: &mut RawClient, topic: &str, codec: Codec, filler: usize) -> Result<()> {
    let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let [key, value, header] = CONTENTS.map(|it| it.as_bytes().to_vec());
    let record = NewRecord {
        timestamp,
        key: Some(key),
        value: Some([value, vec![b'x'; filler]].concat()),
        headers: vec![(header.clone(), Some(header))],
    };
    client.write(topic, 0, codec, vec![record; 5])?;
    Ok(())
}

/// How bytes can end up in a log: as they are, in hexadecimal digits, as a list of numbers, in base 64.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let join = |digits: &dyn Fn(&u8) -> String, by: &str| bytes.iter().map(digits).collect::<Vec<_>>().join(by);
    let mut all = vec![
        String::from_utf8_lossy(bytes).into_owned(),
        join(&|it| format!("{it:02x}"), ""),
        join(&|it| format!("{it:02X}"), ""),
        join(&|it| it.to_string(), ", "),
        join(&|it| format!("0x{it:02x}"), ", "),
        join(&|it| format!("\\x{it:02x}"), ""),
    ];
    // By where the bytes begin, three times, without the ends that depend on what stands beside them.
    for skipped in 0..3 {
        let whole = &bytes[skipped..skipped + (bytes.len() - skipped) / 3 * 3];
        all.push(base64(whole));
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |three: &[u8], shift: u32| {
        let number = three.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        LETTERS[(number >> shift & 63) as usize] as char
    };
    bytes.chunks_exact(3).flat_map(|three| [18, 12, 6, 0].map(|shift| letter(three, shift))).collect()
}

fn shown(log: &str, secret: &[u8]) -> Option<String> {
    spellings(secret).into_iter().find(|it| log.contains(it))
}

fn never_shows_contents() -> Result<()> {
    // The search itself: it finds each spelling.
    ensure!(base64(b"value-Ub4Hs") == "dmFsdWUtVWI0", "base 64 is wrong: {}", base64(b"value-Ub4Hs"));
    for spelling in spellings(b"secret-bytes") {
        ensure!(shown(&format!("before {spelling} behind"), b"secret-bytes").is_some(), "{spelling} is not found");
    }
    let pair = pair()?;
    let (mut at_source, mut at_target) = (pair.source.client(), pair.target.client());
    for topic in ["contents", "too-large", "compacts"] {
        at_source.create_topic(topic, 1, 1, &[])?;
    }
    at_target.create_topic("too-large", 1, 1, &[("max.message.bytes", "1000")])?;
    for codec in Codec::ALL {
        write(&mut at_source, "contents", codec, 100)?;
    }
    write(&mut at_source, "too-large", Codec::None, 10_000)?;
    let mut config = pair.config("secretive", &["contents", "too-large", "compacts"]);
    config.delivery = "accept_weak = [\"target_min_insync_replicas\", \"target_max_message_bytes\"]\n".to_owned();
    for format in ["text", "json"] {
        config.tables = format!("\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n");
        let mut bridge = pair.run(&config, format)?;
        bridge.process().wait_for_log("too-large-0 stopped at offset", LIMIT)?;
        pair.until_equal(&["contents".to_owned()], LIMIT).with_context(|| bridge.process().log_tail(20))?;
        ensure!(bridge.terminate(LIMIT)? == 1, "an incident ends it with 1:\n{}", bridge.process().log_tail(20));
        let log = bridge.log();
        // Of the TLS library too: it speaks of what it sends.
        let is_trace = log.contains("TRACE") && log.contains("Using ciphersuite");
        ensure!(is_trace, "nothing of {} bytes is of level trace:\n{}", log.len(), bridge.process().log_tail(10));
        // Cut back, so that the second run copies again.
        at_target.delete_topic("contents")?;
        at_target.create_topic("contents", 1, 1, &[])?;
        let check = Finished::run(
            pair.folder(),
            &["check", "--config", &pair.folder().join(format!("{format}.toml")).to_string_lossy()],
            LIMIT,
        )?;
        for (name, text) in [("run", &log), ("check", &format!("{check:?}"))] {
            for secret in CONTENTS {
                let found = shown(text, secret.as_bytes());
                ensure!(found.is_none(), "{name} at level trace, as {format}, shows {secret} as {found:?}");
            }
            for cluster in [&pair.source, &pair.target] {
                let key = &cluster.pki().context("a cluster with TLS has certificates")?.client.key;
                for line in fs::read_to_string(key)?.lines().filter(|it| !it.starts_with('-')) {
                    ensure!(!text.contains(line), "{name} at level trace, as {format}, shows a line of a private key");
                }
            }
        }
        config.link += "-again";
    }
    Ok(())
}

/// The message of each line of a log in JSON, without its time.
fn messages(log: &str) -> Result<Vec<Value>> {
    let lines = log.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")));
    lines.collect()
}

fn lines_of_a_run() -> Result<()> {
    let pair = pair()?;
    pair.source.client().create_topic("orders", 2, 1, &[])?;
    write(&mut pair.source.client(), "orders", Codec::Lz4, 1_000)?;
    let mut config = pair.config("told", &["orders"]);
    config.delivery += "lanes = 2\n";

    // In a pipe: five lines at the start, then one a minute.
    let began = Instant::now();
    let mut bridge = pair.run(&config, "text")?;
    pair.until_equal(&["orders".to_owned()], LIMIT).with_context(|| bridge.log())?;
    bridge.process().wait_for_log("progress", LINE_LIMIT)?;
    ensure!(began.elapsed() > Duration::from_secs(55), "progress is told after {:?}", began.elapsed());
    let log = bridge.log();
    let start: Vec<_> = log.lines().skip_while(|it| !it.contains("kafka-bridge 0.")).take(5).collect();
    let (source, target) = (pair.source.bootstrap().join(", "), pair.target.bootstrap().join(", "));
    let expected = [
        ("link told, config ", "text.toml"),
        ("source: cluster ", &format!(" at {source} (mutual TLS)")),
        ("target: cluster ", &format!(" at {target} (mutual TLS), transaction protocol v2: the target has finalized")),
        ("plan: 1 topics, 2 partitions", ""),
        ("delivery: 2 lanes, commit every 10 ms or ", " bytes"),
    ];
    ensure!(start.len() == expected.len(), "{log}");
    for (line, (first, second)) in start.iter().zip(expected) {
        ensure!(
            line.contains(" INFO ") && line.contains(first) && line.contains(second),
            "{line}: not {first:?} {second:?}"
        );
    }
    let progress: Vec<_> = log.lines().filter(|it| it.contains("progress")).collect();
    ensure!(progress.len() == 1, "one line a minute: {progress:#?}");
    for figure in ["link=told", "records=5", "records_per_second=", "megabytes_per_second=", "incidents=0"] {
        ensure!(progress[0].contains(figure), "{figure} is missing: {}", progress[0]);
    }
    ensure!(!log.contains('\u{1b}') && !log.contains('\r'), "colours or a live line in a pipe:\n{log:?}");
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    ensure!(bridge.log().contains("copied 5 records"), "{}", bridge.log());

    // As JSON: every line is one.
    config.tables = "\n[log]\nformat = \"json\"\n".to_owned();
    let mut bridge = pair.run(&config, "json")?;
    bridge.process().wait_for_log("all lanes are taken", LIMIT)?;
    ensure!(bridge.terminate(LIMIT)? == 0, "{}", bridge.log());
    let lines = messages(&bridge.log())?;
    ensure!(lines.len() > 5, "{lines:#?}");
    for line in &lines {
        let keys = ["timestamp", "level", "message"].iter().all(|key| line[key].is_string());
        ensure!(keys, "{line:#}");
    }
    on_a_terminal(&pair, config)
}

/// `script` gives the bridge a terminal of its own.
fn on_a_terminal(pair: &Pair, mut config: protocol_tests::bridge::Config) -> Result<()> {
    let on_terminal = |config: &std::path::Path| -> Result<Process> {
        let command = format!("exec {} run --config {}", binary()?.display(), config.display());
        let log = config.with_extension("typescript");
        let mut script = Command::new("script");
        script.args(["-q", "-f", "-e", "-c", &command]).arg(&log);
        Process::start(&mut script, &config.with_extension("log"))
    };
    config.tables.clear();
    let file = config.write(pair.folder(), "terminal")?;
    let mut script = on_terminal(&file).context("script, of util-linux, gives a terminal")?;
    script.wait_for_log("told: 0 records, 0/s, 0.0 MB/s, 0 incidents", LIMIT)?;
    write(&mut pair.source.client(), "orders", Codec::Lz4, 1_000)?;
    script.wait_for_log("told: 5 records, ", LIMIT)?;
    end(&file)?;
    ensure!(script.wait(LIMIT)? == 0, "{}", script.log());
    let log = script.log();
    ensure!(log.matches("\r\u{1b}[Ktold: ").count() >= 2, "no live line:\n{log:?}");
    ensure!(!log.contains("progress"), "a line a minute beside the live one");
    // What is logged does not stand behind the live line.
    let drained = log.lines().find(|it| it.contains("draining")).context("the log says that it drains")?;
    let (before, _) = drained.rsplit_once("\u{1b}[K").context("the live line was not cleared")?;
    ensure!(!before.contains("INFO") || before.contains('\r'), "{drained:?}");

    config.tables = "\n[log]\nformat = \"json\"\n".to_owned();
    let file = config.write(pair.folder(), "terminal-json")?;
    let mut script = on_terminal(&file)?;
    script.wait_for_log("all lanes are taken", LIMIT)?;
    std::thread::sleep(Duration::from_secs(3));
    end(&file)?;
    ensure!(script.wait(LIMIT)? == 0, "{}", script.log());
    ensure!(!script.log().contains("records, 0/s"), "a live line among JSON:\n{:?}", script.log());
    Ok(())
}

/// SIGTERM to the bridge with this config: it is the child of `script`, and the only one.
fn end(config: &std::path::Path) -> Result<()> {
    let wanted = config.to_string_lossy().into_owned();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        let arguments: Vec<_> = line.split(|it| *it == 0).map(String::from_utf8_lossy).collect();
        let is_bridge = arguments.first().is_some_and(|it| it.ends_with("kafka-bridge"));
        if is_bridge && arguments.iter().any(|it| *it == wanted) {
            let id = folder.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
            ensure!(Command::new("kill").args(["-TERM", &id]).status()?.success(), "kill -TERM {id}");
            return Ok(());
        }
    }
    anyhow::bail!("no bridge with {wanted}")
}
