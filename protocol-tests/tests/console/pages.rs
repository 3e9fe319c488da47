//! Each page, against what the bridge and the clusters say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol_tests::browser::{Browser, pictures};
use protocol_tests::raw::{Codec, Isolation, NewRecord};
use serde_json::{Value, json};

use super::groups;
use super::stage::{LIMIT, MARKUP, ORDERS, PARTITIONS, RECORDS, Stage, TIME_MS, UNFIT, unharmed};

const POLL: Duration = Duration::from_millis(200);
const DESKTOP: (u32, u32) = (1360, 820);
const PHONE: (u32, u32) = (390, 844);

/// Text of each cell.
const ROWS: &str = "[...document.querySelectorAll('table.partitions tbody tr')].map(row => [...row.children].map(it => it.innerText.trim()))";

pub(super) fn every_page() -> Result<()> {
    let stage = Stage::start(true)?;
    let mut browser = Browser::start()?;
    browser.look(DESKTOP.0, DESKTOP.1, false)?;
    browser.open(&stage.url("flow"))?;
    flow(&stage, &mut browser)?;
    incidents(&stage, &mut browser)?;
    clusters(&stage, &mut browser)?;
    groups::trial(&stage, &mut browser)?;
    records(&stage, &mut browser)?;
    followed(&stage)?;
    refused(&stage)?;
    for (page, heading) in [
        ("flow", "Partitions"),
        ("incidents", "Dead letters"),
        ("clusters", "Bridges"),
        ("records?end=source&topic=orders&count=100", "Records"),
    ] {
        let name = page.split('?').next().unwrap_or(page);
        for (size, is_dark, kind) in [(DESKTOP, false, "light"), (DESKTOP, true, "dark"), (PHONE, true, "phone")] {
            browser.look(size.0, size.1, is_dark)?;
            browser.open_anew(&stage.url(page))?;
            browser.until(name, &format!("document.querySelector('nav a[aria-current]').dataset.page === {name:?} && document.getElementById('fresh').innerText.startsWith('live') && document.body.innerText.includes({heading:?}) && document.querySelector('main table, main .scroll') !== null"))?;
            browser.picture(&pictures().join(format!("{name}-{kind}.png")))?;
            let wide =
                browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
            ensure!(wide.as_i64() <= Some(0), "{name}, {kind}: the page is {wide} px wider than the window");
        }
    }
    unharmed(&mut browser, "all pages")
}

fn flow(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.until("ready", "document.getElementById('ready').innerText.includes('ready')")?;
    let start = Instant::now();
    // The bridge looks at both ends every two seconds, the page shows it a second later.
    while let Err(error) = agrees(stage, browser) {
        ensure!(start.elapsed() < LIMIT, "{error:#}");
        std::thread::sleep(POLL);
    }
    let tiles = browser.evaluate("[...document.querySelectorAll('.tile')].map(it => it.innerText)")?.to_string();
    let unfit = i64::from(PARTITIONS) * RECORDS / UNFIT;
    let read = i64::from(PARTITIONS) * RECORDS + 3;
    for wanted in
        [format!("{read} = {} + {unfit}", read - unfit), "adds up".to_owned(), "nothing stands still".to_owned()]
    {
        ensure!(tiles.contains(&wanted), "no tile says {wanted:?}: {tiles}");
    }
    unharmed(browser, "flow")
}

/// The table, with what `/api/link` says.
fn agrees(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let rows = browser.until("all partitions", &format!("{ROWS}.length === 4 && {ROWS}"))?;
    let (_, link) = stage.api("/api/link")?;
    let rows = serde_json::from_value::<Vec<Vec<String>>>(rows)?.into_iter();
    let shown: BTreeMap<String, Vec<String>> =
        rows.map(|row| (row.first().cloned().unwrap_or_default(), row)).collect();
    for it in link["partitions"].as_array().context("no partitions")? {
        let name = format!("{}-{}", it["topic"].as_str().unwrap_or_default(), it["partition"]);
        let row = shown.get(&name).with_context(|| format!("{name} is not shown: {shown:?}"))?;
        let expected = [
            name,
            "● caught up".to_owned(),
            format!("{} of {}", it["next_offset"], it["source"]["last_stable"]),
            it["lane"].to_string(),
            it["target"]["last_stable"].to_string(),
            "0".to_owned(),
            "0 s".to_owned(),
            "no limit".to_owned(),
            format!("{} = {} + {}", it["read"], it["written"], it["dead_lettered"]),
        ];
        ensure!(row.starts_with(&expected), "{row:?} instead of {expected:?}");
    }
    Ok(())
}

fn incidents(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.open(&stage.url("incidents"))?;
    // The page before has a table too.
    let main = "document.querySelector('main').innerText";
    let shown = format!("{main}.includes('Earlier incidents') && document.querySelector('main table') && {main}");
    let text = browser.until("dead letters", &shown)?;
    let text = text.as_str().unwrap_or_default();
    for wanted in [
        "No partition stands still.",
        "truncated",
        "18 records since this bridge began",
        "dead-letters list --config bridge.toml --reason truncated",
    ] {
        ensure!(text.contains(wanted), "the page of incidents does not say {wanted:?}:\n{text}");
    }
    unharmed(browser, "incidents")
}

fn clusters(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.open(&stage.url("clusters"))?;
    browser.until("topics", "document.querySelectorAll('details.topic').length === 4")?;
    browser.evaluate("document.querySelectorAll('details.topic').forEach(it => { it.open = true; })")?;
    let text = browser.evaluate("document.querySelector('main').innerText")?;
    let text = text.as_str().unwrap_or_default();
    let (_, report) = stage.api("/api/clusters")?;
    for end in ["source", "target"] {
        let id = report[end]["cluster_id"].as_str().context("no cluster id")?;
        let brokers = report[end]["brokers"].as_array().context("no brokers")?;
        ensure!(text.contains(id) && brokers.len() == 2, "{end}: {text}");
        for broker in brokers {
            let address = broker["address"].as_str().unwrap_or_default();
            ensure!(
                text.contains(address) && broker["error"].is_null() && broker["kafka"].is_string(),
                "{broker}: {text}"
            );
        }
    }
    let topics = report["topics"].as_array().context("no topics")?;
    let kinds: Vec<_> = topics
        .iter()
        .map(|it| (it["target_topic"].as_str().unwrap_or_default(), it["kind"].as_str().unwrap_or_default()))
        .collect();
    let wanted =
        [(MARKUP, "copied"), (ORDERS, "copied"), ("seen.ledger", "ledger"), ("seen.dead-letters", "dead_letters")];
    ensure!(kinds == wanted, "{kinds:?}");
    for it in topics.iter().flat_map(|it| it["target"].as_array()).flatten() {
        ensure!(it["leader"].is_i64() && it["in_sync"] == it["replicas"], "{it}");
    }
    for wanted in ["one bridge works all lanes", MARKUP, "seen.ledger", "the link's dead letters"] {
        ensure!(text.contains(wanted), "the page of clusters does not say {wanted:?}:\n{text}");
    }
    in_use(stage, browser)?;
    unharmed(browser, "clusters")
}

/// Certificates with the days that are left, and how the lanes came to the bridge.
fn in_use(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let rows = |of: &str| {
        format!(
            "[...document.querySelectorAll('table.{of} tbody tr')].map(row => [...row.children].map(it => it.innerText.trim()))"
        )
    };
    let certificates = rows("certificates");
    // The bridge's and the broker's, at each end.
    let shown = browser.until("certificates", &format!("{certificates}.length === 4 && {certificates}"))?;
    let (_, link) = stage.api("/api/link")?;
    let shown: Vec<Vec<String>> = serde_json::from_value(shown)?;
    for it in link["certificates"].as_array().context("no certificates")? {
        let days = it["days_left"].as_f64().context("no days")?.floor();
        let is_it = |row: &&Vec<String>| it["subject"] == row[0].as_str() && it["end"] == row[1].as_str();
        let row = shown.iter().filter(is_it).find(|row| row[2].contains(it["whose"].as_str().unwrap_or_default()));
        let row = row.with_context(|| format!("{it} is not shown: {shown:?}"))?;
        ensure!(days > 0.0 && row[4].replace(',', "") == format!("● {days} days"), "{row:?} instead of {days} days");
    }
    let handovers: Vec<Vec<String>> = serde_json::from_value(browser.evaluate(&rows("handovers"))?)?;
    let told = &link["lanes"]["handovers"];
    ensure!(told.as_array().is_some_and(|it| it.len() == 1) && told[0]["lanes"] == "0-3", "{told:#}");
    let why = told[0]["text"].as_str().unwrap_or_default().replace('`', "");
    ensure!(
        handovers.len() == 1 && handovers[0][1..] == ["● taken".to_owned(), "0–3".to_owned(), why],
        "{handovers:?}"
    );
    Ok(())
}

fn records(stage: &Stage, browser: &mut Browser) -> Result<()> {
    browser.open(&stage.url("records?end=source&topic=orders&partition=0&offset=0"))?;
    browser.until("records", "document.querySelectorAll('table.records > tbody > tr').length === 20")?;
    let text = browser.evaluate("document.querySelector('table.records').innerText")?;
    for wanted in ["\"currency\": \"EUR\"", "avro, schema ", "key-0", "the bytes end within the value"] {
        ensure!(text.as_str().is_some_and(|it| it.contains(wanted)), "no record shows {wanted:?}: {text}");
    }
    // One that was copied, and one that is a dead letter.
    for (row, wanted) in [(0, "copied to orders-0@"), (3, "a dead letter: seen.dead-letters-")] {
        let row = format!("document.querySelectorAll('table.records > tbody > tr')[{row}]");
        browser.evaluate(&format!("{row}.querySelector('button').click()"))?;
        browser.until(
            wanted,
            &format!("{row}.querySelector('.outcome').innerText.replace(/\\s+/g, ' ').includes({wanted:?})"),
        )?;
    }
    browser.picture(&pictures().join("followed.png"))?;
    browser
        .evaluate("document.querySelectorAll('table.records > tbody > tr')[3].querySelector('.outcome a').click()")?;
    let letter = "document.querySelector('.letter')?.innerText.includes('from orders-0@3')";
    browser.until("the dead letter, and where it comes from", letter)?;
    browser.open(&stage.url(&format!("records?end=target&topic={MARKUP}")))?;
    browser.until("markup", "document.querySelectorAll('table.records > tbody > tr').length === 3")?;
    browser.evaluate("document.querySelectorAll('main details').forEach(it => { it.open = true; })")?;
    let text = browser.evaluate("document.querySelector('table.records').innerText")?;
    for wanted in ["<img src=x onerror=", "9007199254740993", "ff fe 00", "<script>window.harmed=1</script>"] {
        ensure!(text.as_str().is_some_and(|it| it.contains(wanted)), "no record shows {wanted:?}: {text}");
    }
    browser.picture(&pictures().join("markup.png"))?;
    unharmed(browser, "records")
}

/// Each record of a partition, held against both ends.
fn followed(stage: &Stage) -> Result<()> {
    let (mut source, mut target) = (stage.source.client(), stage.target.client());
    let values =
        |it: Vec<protocol_tests::raw::Rec>| it.into_iter().map(|it| (it.offset, it.value)).collect::<BTreeMap<_, _>>();
    let originals = values(source.read(ORDERS, 1, Isolation::ReadCommitted)?);
    let copies = values(target.read(ORDERS, 1, Isolation::ReadCommitted)?);
    // Every third: each takes a walk along the offset map.
    for (offset, value) in originals.iter().step_by(3) {
        let (status, told) = stage.api(&format!("/api/destination?topic=orders&partition=1&offset={offset}"))?;
        let found = &told["destination"];
        let is_unfit = offset % UNFIT == 3;
        ensure!(status == 200 && (found["outcome"] == "dead_letter") == is_unfit, "{offset}: {told}");
        if !is_unfit {
            let at = found["target_offset"].as_i64().context("no offset")?;
            ensure!(found["outcome"] == "copied" && copies.get(&at) == Some(value), "{offset}: {told}");
        }
    }
    let (status, told) = stage.api(&format!("/api/destination?topic=orders&partition=1&offset={RECORDS}"))?;
    ensure!(status == 502 && told["error"].to_string().contains("the source holds offsets 0 to 59"), "{told}");
    // One that was aborted; then one that is copied when the bridge has come to it.
    let mut producer = source.producer(Some("undecided"))?;
    let one =
        |value: &[u8]| vec![NewRecord { timestamp: TIME_MS, value: Some(value.to_vec()), ..NewRecord::default() }];
    let aborted = producer.send(&mut source, MARKUP, 0, Codec::None, one(b"aborted"))?;
    producer.abort(&mut source)?;
    let offset = source.write(MARKUP, 0, Codec::None, one(b"after it"))?;
    let outcome = |offset: i64| -> Result<Value> {
        let (_, told) = stage.api(&format!("/api/destination?topic={MARKUP}&partition=0&offset={offset}"))?;
        Ok(told["destination"].clone())
    };
    let start = Instant::now();
    loop {
        let last = outcome(offset)?;
        if last["outcome"] == "copied" {
            break;
        }
        // Before its transaction is decided it is not there at all.
        ensure!(last.is_null() || last["outcome"] == "not_copied", "{offset}: {last}");
        ensure!(start.elapsed() < LIMIT, "{offset}: {last}");
        std::thread::sleep(POLL);
    }
    let told = outcome(aborted)?;
    ensure!(told["outcome"] == "no_record", "{aborted}: {told}");
    Ok(())
}

/// What is asked for must be of the link, and within bounds.
fn refused(stage: &Stage) -> Result<()> {
    for (query, wanted, why) in [
        ("end=target&topic=seen.ledger", 404, "no topic of this link"),
        ("end=source&topic=seen.dead-letters", 404, "no topic of this link"),
        ("end=nowhere&topic=orders", 400, "say source or target"),
        ("end=source&topic=orders&partition=9", 400, "none numbered 9"),
        ("end=source&topic=orders&offset=1", 400, "of which partition"),
        ("end=source&topic=orders&partition=0&offset=-1", 400, "below 0"),
        ("end=source", 400, "topic"),
    ] {
        let (status, told) = stage.api(&format!("/api/records?{query}"))?;
        ensure!(status == wanted && told["error"].to_string().contains(why), "{query}: {status} {told}");
    }
    let count = |told: &Value| told["records"].as_array().map_or(0, Vec::len);
    let (_, many) = stage.api("/api/records?end=source&topic=orders&count=5000")?;
    ensure!(count(&many) == 100, "{} records at once", count(&many));
    let (_, beyond) = stage.api("/api/records?end=source&topic=orders&partition=0&offset=9999")?;
    ensure!(count(&beyond) == 0 && beyond["ranges"][0]["last_stable"] == json!(RECORDS), "{beyond}");
    let (_, timed) =
        stage.api(&format!("/api/records?end=source&topic=orders&partition=2&time_ms={}&count=1", TIME_MS + 30_000))?;
    ensure!(timed["records"][0]["offset"] == 30, "{timed}");
    Ok(())
}
