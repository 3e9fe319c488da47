//! The codecs, the ledger's values, and the config.

use std::path::Path;

use kafka_bridge::batch::{BatchBuilder, Compression, compress, decompress, split};
use kafka_bridge::config::Config;
use kafka_bridge::ledger::{Change, Position as LedgerPosition, PositionKey, Replay};
use kafka_bridge::types::TopicPartition;
use protocol_tests::golden;

use crate::targets::{Taken, Verdict, ensure};

const LEDGER_LINES_MAX: usize = 100;

/// Packed bodies of one codec, among them what Java packed.
pub(crate) fn packed(compression: Compression) -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = golden::batches()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|it| split(it.bytes).next()?.ok())
        .filter(|it| it.header().compression() == compression)
        .map(|it| it.body().to_vec())
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    for length in [0, 1, 100, 70_000] {
        let noise: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        corpus.extend(compress(compression, &noise[..length.min(2_000)]));
        corpus.extend(compress(compression, &vec![b'a'; length]));
        corpus.extend(compress(compression, &noise.iter().map(|it| b'a' + it % 4).collect::<Vec<_>>()));
    }
    corpus
}

pub(crate) fn unpack(compression: Compression, input: &[u8]) -> Verdict {
    let limit = 1 + usize::from(input.first().copied().unwrap_or(0)) * 1_000;
    let Ok(unpacked) = decompress(compression, input, limit) else { return Ok(Taken::No) };
    ensure(unpacked.len() <= limit, || format!("{} bytes, and {limit} are allowed", unpacked.len()))?;
    let again = compress(compression, &unpacked).map_err(|error| error.to_string())?;
    let again = decompress(compression, &again, limit).map_err(|error| error.to_string())?;
    ensure(again == unpacked, || "packed again, it unpacks to something else".to_owned())?;
    Ok(Taken::Yes)
}

/// Lines of a ledger: key, a tab, value. What was read is written again by the next transaction, and read the same.
pub(crate) fn ledger(input: &[u8]) -> Verdict {
    let mut builder = BatchBuilder::new(Compression::None);
    for line in input.split(|it| *it == b'\n').take(LEDGER_LINES_MAX) {
        let mut parts = line.splitn(2, |it| *it == b'\t');
        builder.push(1, parts.next().filter(|it| !it.is_empty()), parts.next(), &[]);
    }
    let batch = builder.build().map_err(|error| error.to_string())?;
    let mut replay = Replay::new(TopicPartition::new("link.ledger", 0));
    if let Err(error) = replay.feed(&batch) {
        let _ = error.to_string();
        return Ok(Taken::No);
    }
    let mut lane = replay.finish();
    // Its next transaction has the last number, which no reader takes.
    if lane.transaction() == u64::MAX - 1 {
        return Ok(Taken::No);
    }
    let unchanged = |it: (&PositionKey, &LedgerPosition)| Change {
        key: it.0.clone(),
        position: LedgerPosition { records: 0, ..it.1.clone() },
    };
    let changes = lane.positions().iter().map(unchanged).collect();
    let Ok(pending) = lane.begin(3, changes, 9) else { return Ok(Taken::No) };
    let mut again = Replay::new(TopicPartition::new("link.ledger", 0));
    again.feed(&pending.batch).map_err(|error| error.to_string())?;
    lane.committed(pending, &[]);
    let again = again.finish();
    ensure(again.positions() == lane.positions() && again.owner() == lane.owner(), || {
        format!("written again it is {:?}, and was {:?}", again.positions(), lane.positions())
    })?;
    Ok(Taken::Yes)
}

pub(crate) fn ledger_corpus() -> Vec<Vec<u8>> {
    let position = "{\"source\":\"c\",\"topic\":\"t\",\"partition\":1}\t{\"v\":1,\"next_offset\":7,\"leader_epoch\":-1,\
         \"topic_id\":\"00000000-0000-0000-0000-000000000001\",\"from\":3,\"records\":4,\"target_topic\":\"t\",\
         \"target_partition\":1,\"transaction\":5,\"time_ms\":6}";
    let owner = "{\"owner\":3}\t{\"v\":1,\"instance\":\"00000000-0000-0000-0000-000000000002\",\"host\":\"h\",\"pid\":1,\
         \"started_ms\":2,\"version\":\"0\"}";
    let tombstone = "{\"source\":\"c\",\"topic\":\"t\",\"partition\":1}";
    // The ends of the numbers: no bridge writes them, and whoever may write to the ledger can.
    let last = position.replace(":5,", &format!(":{},", u64::MAX)).replace(":4,", &format!(":{},", u64::MAX));
    let far = position.replace(":7,", &format!(":{},", i64::MAX)).replace(":3,", &format!(":{},", i64::MIN));
    let all = [
        position,
        owner,
        tombstone,
        &last,
        &far,
        &position.replace("\"v\":1", "\"v\":2"),
        &[owner, position, tombstone].join("\n"),
    ];
    all.iter().map(|it| it.as_bytes().to_vec()).collect()
}

pub(crate) const JSON: [&str; 12] =
    ["{", "}", "[", "\"", "null", "true", "1e999", "-1", "18446744073709551615", "\\ud800", "\"v\":1,", "\t"];

/// Any text: a config, or problems that can be shown. What takes effect can be written as a config that says the same.
pub(crate) fn config(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let environment = |name: &str| name.starts_with('A').then(|| "value ${B} \"".to_owned());
    let file = Path::new("/tmp/bridge.toml");
    match Config::parse(file, &text, &environment) {
        Ok(config) => {
            let shown = config.to_string();
            let again = Config::parse(file, &shown, &|_| None);
            let again = again.map_err(|error| format!("what takes effect is no config: {error}\n{shown}"))?;
            ensure(again.to_string() == shown, || format!("what takes effect reads as\n{again}\nand was\n{shown}"))?;
            Ok(Taken::Yes)
        }
        Err(error) => {
            ensure(!error.problems().is_empty(), || "refused without a reason".to_owned())?;
            let _ = error.to_string();
            Ok(Taken::No)
        }
    }
}

pub(crate) fn config_corpus() -> Vec<Vec<u8>> {
    let least = "link = \"l\"\n[source]\nbootstrap_servers = [\"a:9092\"]\n[target]\nbootstrap_servers = [\"b:9092\"]\n\
                 [[topics]]\ninclude = [\"t*\"]\n";
    let more = format!(
        "{least}exclude = [\"tx\"]\nrename = {{ prefix = \"p.\" }}\nstart = \"earliest\"\n\
         [delivery]\nlanes = 3\ncommit_interval_ms = 10\n[log]\nlevel = \"${{A}}\"\n"
    );
    vec![least.as_bytes().to_vec(), more.into_bytes()]
}

/// Of TOML, and of the config.
pub(crate) const TOML: [&str; 22] = [
    "[",
    "]",
    "[[",
    "\"",
    "'''",
    "=",
    "\n",
    "#",
    "${A}",
    "$${",
    "${",
    "link",
    "[source.tls]\n",
    "ca_file = \"x\"\n",
    "*",
    "**",
    "-1",
    "99999999999999999999",
    "true",
    "1979-05-27",
    "[delivery]\n",
    "\u{feff}",
];
