//! By keyboard alone, with a thousand partitions; with contents not allowed; and when the bridge goes and comes back.

use anyhow::{Context, Result, ensure};
use protocol_tests::browser::{Browser, pictures};
use protocol_tests::http;
use serde_json::Value;

use super::stage::{HOSTILE, Stage, unharmed};

/// In the place of the bridge's stream: what `window.invented` is.
const STREAM: &str = "window.EventSource = class extends EventTarget {
    static OPEN = 1;
    static CLOSED = 2;
    readyState = 1;
    constructor() {
        super();
        const tell = () => this.dispatchEvent(new MessageEvent('link', { data: JSON.stringify(window.invented) }));
        setInterval(() => window.invented && tell(), 200);
    }
    close() {}
};";

/// A link that no cluster could have: many partitions, names that Kafka would not take, and incidents.
fn invented() -> String {
    format!(
        "(async () => {{
            const link = await (await fetch('api/link')).json();
            const like = link.partitions[0];
            const of = (topic, partition) => ({{ ...like, topic, target_topic: topic, partition, target_partition: partition,
                lag_records: partition, lag_seconds: partition / 10, rates: [1, 5, partition] }});
            link.partitions = Array.from({{ length: 1000 }}, (_, it) => of(it % 2 ? 'odd' : 'even', it));
            link.partitions.push(of({HOSTILE:?}, 1000));
            link.ready = {{ is_well: false, problems: [{HOSTILE:?}] }};
            link.lanes.failed = {{ 3: {HOSTILE:?} }};
            link.lanes.handovers = [
                {{ time_ms: 1750000000000, change: 'taken', reason: 'assigned', text: 'the `group` gave them', detail: {HOSTILE:?}, lanes: '0-3,7' }},
                {{ time_ms: 1750000001000, change: 'given_up', reason: 'fenced', text: {HOSTILE:?}, detail: null, lanes: '7' }}];
            link.certificates = [['source', 400.9], ['target', 12.2], ['target', -1.5]].map(([end, days_left]) => ({{ end,
                whose: 'bridge', subject: {HOSTILE:?}, not_after_ms: 1750000000000 + days_left, days_left }}));
            link.totals.dead_letter_reasons = {{ [{HOSTILE:?}]: 7 }};
            link.incidents = ['retention', 'invalid'].map((kind, it) => ({{ id: `${{kind}}:odd-7:1200`, kind, topic: 'odd',
                partition: 7 + 2 * it, target: 'odd-7', next_offset: 1200, first_lost: 1200, last_lost: 1349,
                time_ms: 1750000000000, text: {HOSTILE:?}, stands: true, happened: 'the source deleted `records`',
                remedy: 'accept the gap', is_acceptable: it === 0 }}));
            window.invented = link;
        }})()"
    )
}

pub(super) fn trial() -> Result<()> {
    let mut stage = Stage::start(false)?;
    let mut browser = Browser::start()?;
    browser.look(1360, 820, false)?;
    browser.open(&stage.url("flow"))?;
    browser.until("ready", "document.getElementById('ready').innerText.includes('ready')")?;
    contents_stay(&stage, &mut browser)?;
    by_keyboard(&stage, &mut browser)?;
    comes_back(&mut stage, &mut browser)?;
    complains(&mut browser)
}

fn contents_stay(stage: &Stage, browser: &mut Browser) -> Result<()> {
    for path in ["/api/records?end=source&topic=orders", "/api/destination?topic=orders&partition=0&offset=0"] {
        let (status, told) = stage.api(path)?;
        ensure!(status == 403 && told["error"].to_string().contains("records = true"), "{path}: {status} {told}");
    }
    browser.evaluate("location.hash = '#/records'")?;
    browser.until("the key to set", "document.querySelector('main').innerText.includes('records = true')")?;
    let form = browser.evaluate("document.querySelector('form').checkVisibility()")?;
    ensure!(form == Value::Bool(false), "there is a form that can only be refused");
    unharmed(browser, "contents that stay")
}

fn by_keyboard(stage: &Stage, browser: &mut Browser) -> Result<()> {
    let stream = browser.before_all(STREAM)?;
    browser.open_anew(&stage.url("flow"))?;
    browser.until("a page", "document.querySelector('table.partitions') !== null")?;
    // The first Tab leads to the link that skips the head; it is seen then.
    browser.press("Tab")?;
    ensure!(browser.evaluate("document.activeElement.id")? == "skip", "the first thing is not the skip link");
    browser.press("Enter")?;
    ensure!(browser.evaluate("document.activeElement.id")? == "main", "the skip link leads elsewhere");
    browser.evaluate(&invented())?;
    browser.until(
        "a thousand",
        "document.getElementById('partitions-summary').innerText.startsWith('1,001 partitions')",
    )?;
    let rows = "document.querySelectorAll('table.partitions tbody tr').length";
    ensure!(browser.evaluate(rows)? == 50, "more rows than a page has");
    browser.press("Tab")?;
    ensure!(browser.evaluate("document.activeElement.id")? == "filter", "the filter does not come next");
    browser.write("odd-9")?;
    browser.until(
        "those that match",
        "document.getElementById('partitions-summary').innerText.startsWith('56 of 1,001')",
    )?;
    browser.picture(&pictures().join("thousand.png"))?;
    // Past the choice of what is shown, to the heads of the columns; the sixth is the lag.
    for _ in 0..7 {
        browser.press("Tab")?;
    }
    let focused =
        browser.evaluate("document.activeElement.innerText + getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(
        focused.as_str().is_some_and(|it| it.starts_with("Lag") && it.ends_with("solid")),
        "no visible focus: {focused}"
    );
    browser.press("Enter")?;
    let first = "document.querySelector('table.partitions tbody th').innerText.trim()";
    browser.until("the largest lag first", &format!("{first} === 'odd-999'"))?;
    let told = browser.evaluate("document.querySelector('th[aria-sort]').ariaSort")?;
    ensure!(told == "descending", "{told}");
    browser.press("Enter")?;
    browser.until("the smallest lag first", &format!("{first} === 'odd-9'"))?;
    for page in ["incidents", "clusters", "records", "flow"] {
        browser.evaluate(&format!("location.hash = '#/{page}'"))?;
        browser.until(page, &format!("document.querySelector('nav a[aria-current]').dataset.page === '{page}'"))?;
        if page == "incidents" {
            let told = browser.until(
                "incidents",
                "document.querySelectorAll('.incident').length === 3 && document.querySelector('main').innerText",
            )?;
            let told = told.as_str().unwrap_or_default();
            let accept = "kafka-bridge incidents accept retention:odd-7:1200 --reason \"…\" --config bridge.toml";
            for wanted in [accept, "It cannot be accepted", "source offsets 1,200 to 1,349, 150 offsets", "<img src=x"]
            {
                ensure!(told.contains(wanted), "no incident says {wanted:?}:\n{told}");
            }
            browser.picture(&pictures().join("incidents-invented.png"))?;
        }
        if page == "clusters" {
            let told = browser.until(
                "lanes that come and go",
                "document.querySelectorAll('table.handovers tbody tr').length === 2 && document.querySelector('main').innerText",
            )?;
            let told = told.as_str().unwrap_or_default();
            // The newest first; and the certificate that ends first.
            let at = |wanted: &str| told.find(wanted).with_context(|| format!("no {wanted:?}:\n{told}"));
            ensure!(
                at("given up")? < at("0–3, 7")? && at("it has ended")? < at("12 days")?,
                "in another order:\n{told}"
            );
            ensure!(at("12 days")? < at("400 days")? && told.contains("the group gave them"), "{told}");
            browser.picture(&pictures().join("clusters-invented.png"))?;
        }
    }
    unharmed(browser, "an invented link")?;
    browser.give_up(stream)
}

fn comes_back(stage: &mut Stage, browser: &mut Browser) -> Result<()> {
    browser.open_anew(&stage.url("flow"))?;
    browser.until("live", "document.getElementById('fresh').innerText.startsWith('live')")?;
    stage.bridge.kill();
    browser.until("stale", "document.getElementById('stale').innerText.includes('Stale since')")?;
    browser.picture(&pictures().join("stale.png"))?;
    // The browser itself complains that nobody answers.
    browser.complaints()?;
    ensure!(http::get(stage.port, "/healthz").is_err(), "somebody else listens there");
    stage.restart()?;
    browser.until(
        "live again",
        "document.getElementById('stale').hidden && document.getElementById('fresh').innerText.startsWith('live')",
    )?;
    browser.until(
        "all partitions",
        "document.getElementById('partitions-summary').innerText.startsWith('4 partitions')",
    )?;
    browser.complaints().map(|_| ())
}

/// A trial whose checks see nothing would find nothing.
fn complains(browser: &mut Browser) -> Result<()> {
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.harmed = 1' }))",
    )?;
    let complaints = browser.complaints()?.join("\n");
    ensure!(complaints.contains("Content Security Policy"), "an inline script is not complained of: {complaints}");
    ensure!(browser.evaluate("window.harmed === undefined")? == Value::Bool(true), "an inline script ran");
    browser.evaluate(
        "document.querySelector('main').append(Object.assign(document.createElement('b'), { id: 'planted' }))",
    )?;
    ensure!(unharmed(browser, "a page that was harmed").is_err(), "harm is not seen");
    Ok(())
}
