//! The console as a person comes to it: by a browser, through the proxy, with a login. What the page shows is held against what
//! the bridge says in the same place, while records flow.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::browser::Browser;

/// The bridge tells its state every second, the page shows it a moment later.
pub const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);
const SIZE: (u32, u32) = (1360, 820);

/// Name, position and sum of each row.
const ROWS: &str = "[...document.querySelectorAll('table.partitions tbody tr')].map(it =>
    [it.querySelector('th .strong').innerText, it.children[2].innerText, it.children[8].innerText])";
const LINK: &str = "fetch('/api/link').then(it => it.json())";
/// A page that was loaded anew has it no more.
const MARK: &str = "window.opened = true";

pub struct Visit<'a> {
    /// `https://localhost:8443`
    pub origin: &'a str,
    /// Of the server; the browser takes no other.
    pub certificate: &'a Path,
    pub name: &'a str,
    pub password: &'a str,
    /// Where the picture of the page goes.
    pub picture: &'a Path,
    /// In which the page is to move.
    pub limit: Duration,
}

/// What a partition's row says, and what the bridge says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    next_offset: i64,
    read: i64,
    written: i64,
    dead_lettered: i64,
}

type Table = BTreeMap<String, Counts>;

impl Visit<'_> {
    /// Says what was seen.
    pub fn pay(&self) -> Result<String> {
        let turned_away = |browser: &mut Browser, why: &str| -> Result<()> {
            let told = browser.open(self.origin).err().map(|it| it.to_string());
            ensure!(told.as_ref().is_some_and(|it| it.contains(why)), "not turned away by {why}: {told:?}");
            Ok(())
        };
        turned_away(&mut Browser::start()?, "ERR_CERT_AUTHORITY_INVALID")?;
        let mut browser = Browser::start_trusting(self.certificate)?;
        browser.look(SIZE.0, SIZE.1, false)?;
        turned_away(&mut browser, "ERR_INVALID_AUTH_CREDENTIALS")?;
        // A person types it once; from then on the browser knows it.
        let (scheme, host) = self.origin.split_once("://").context("an origin has a scheme")?;
        browser.open(&format!("{scheme}://{}:{}@{host}/healthz", escaped(self.name), escaped(self.password)))?;
        // Without a login the browser itself complained.
        browser.complaints()?;
        browser.open_anew(&format!("{}/#/flow", self.origin))?;
        browser.until("rows", &format!("{ROWS}.length > 0"))?;
        browser.evaluate(MARK)?;

        let first = follows(&mut browser)?;
        let start = Instant::now();
        let mut later = follows(&mut browser)?;
        while read(&later) <= read(&first) {
            ensure!(start.elapsed() < self.limit, "the page stands still at {later:?}");
            thread::sleep(POLL);
            later = follows(&mut browser)?;
        }
        let is_one =
            browser.evaluate(&format!("{} && document.visibilityState === 'visible'", MARK.replace(" = ", " === ")))?;
        ensure!(is_one == Value::Bool(true), "the page was loaded anew");
        browser.picture(self.picture)?;
        let complaints = browser.complaints()?;
        ensure!(complaints.is_empty(), "the page complains: {complaints:#?}");
        Ok(format!("{} partitions, {} records read, then {}", later.len(), read(&first), read(&later)))
    }
}

/// Waits until the page has come to what the bridge said before, and looks that it is not beyond what the bridge says after it.
fn follows(browser: &mut Browser) -> Result<Table> {
    let start = Instant::now();
    let has_come = |it: &Counts, to: &Counts| it.read >= to.read && it.next_offset >= to.next_offset;
    let (_, mut before) = seen(browser)?;
    loop {
        let (rows, after) = seen(browser)?;
        let beyond = rows.iter().find(|(name, it)| !has_come(&after[*name], it));
        ensure!(beyond.is_none(), "the page shows {beyond:?}, the bridge says {after:?}");
        let untrue = rows.iter().find(|(_, it)| it.read != it.written + it.dead_lettered);
        ensure!(untrue.is_none(), "the page shows {untrue:?}");
        if rows.keys().ne(before.keys()) {
            // Lanes have moved.
            before = after;
        } else if rows.iter().all(|(name, it)| has_come(it, &before[name])) {
            return Ok(rows);
        }
        ensure!(start.elapsed() < LIMIT, "the page shows {rows:?}, the bridge said {before:?} before");
        thread::sleep(POLL);
    }
}

/// What the page shows, and what its bridge says then: of several, another may answer than the one whose events come here, and
/// each tells of the partitions that it works.
fn seen(browser: &mut Browser) -> Result<(Table, Table)> {
    let start = Instant::now();
    loop {
        let (rows, link) = (shown(browser)?, told(browser)?);
        if rows.keys().eq(link.keys()) {
            return Ok((rows, link));
        }
        ensure!(start.elapsed() < LIMIT, "the page shows {rows:?}, no bridge says the same: {link:?}");
        thread::sleep(POLL / 5);
    }
}

fn read(table: &Table) -> i64 {
    table.values().map(|it| it.read).sum()
}

fn shown(browser: &mut Browser) -> Result<Table> {
    let rows: Vec<(String, String, String)> = serde_json::from_value(browser.evaluate(ROWS)?)?;
    rows.into_iter()
        .map(|(name, position, sum)| {
            let (position, sum) = (numbers(&position), numbers(&sum));
            ensure!(position.len() == 2 && sum.len() == 3, "{name}: {position:?}, {sum:?}");
            Ok((name, Counts { next_offset: position[0], read: sum[0], written: sum[1], dead_lettered: sum[2] }))
        })
        .collect()
}

/// Of `1,200 of 1,234`: both.
fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace().filter_map(|it| it.replace(',', "").parse().ok()).collect()
}

fn told(browser: &mut Browser) -> Result<Table> {
    let link = browser.evaluate(LINK)?;
    let rows = link["partitions"].as_array().with_context(|| format!("no partitions: {link}"))?;
    rows.iter()
        .map(|it| {
            let number = |key: &str| it[key].as_i64().with_context(|| format!("{key}: {it}"));
            let name = format!("{}-{}", it["topic"].as_str().unwrap_or_default(), it["partition"]);
            let counts = Counts {
                next_offset: number("next_offset")?,
                read: number("read")?,
                written: number("written")?,
                dead_lettered: number("dead_lettered")?,
            };
            Ok((name, counts))
        })
        .collect()
}

/// For the part of an address before its host.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|it| if it.is_ascii_alphanumeric() { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}
