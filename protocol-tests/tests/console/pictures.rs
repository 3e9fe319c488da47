//! The README's pictures: the console of `kafka-bridge demo`, in a window of one size.
//!
//! After a change of the pages, `KAFKA_BRIDGE_SNAPSHOT=write cargo test protocol-tests::console::pictures` makes them anew; look at
//! them before they are checked in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol_tests::bridge::binary;
use protocol_tests::browser::{Browser, pictures};
use protocol_tests::ports;
use protocol_tests::process::Process;

use super::stage::{root, unharmed};

const SNAPSHOT: &str = "KAFKA_BRIDGE_SNAPSHOT";
const README: &str = include_str!("../../../README.md");
const FOLDER: &str = "src/monitor/console";
const WINDOW: (u32, u32) = (1360, 720);
/// Whoever reads the README loads all of them.
const BYTES_MAX: usize = 250_000;
const LIMIT: Duration = Duration::from_secs(90);
/// Repeats what the demo produces.
const SEED: &str = "11";

/// A page, and what it shows when the picture is taken.
const PAGES: [(&str, &str, &str); 4] = [
    // Rates of half a minute.
    ("flow", "flow", "document.querySelector('.spark-line')?.getAttribute('points').split(' ').length >= 15"),
    ("incidents", "incidents", "document.querySelectorAll('main table tbody tr').length >= 5"),
    (
        "clusters",
        "clusters",
        "document.querySelectorAll('details.topic').length >= 5 && document.querySelector('table.certificates')",
    ),
    (
        "records",
        "records?end=source&topic=orders&partition=0&offset=0",
        "document.querySelectorAll('table.records > tbody > tr').length >= 20",
    ),
];

pub(super) fn trial() -> Result<()> {
    let (folder, port) = (tempfile::tempdir()?, ports::free()?);
    let mut command = Command::new(binary()?);
    command.args(["demo", "--seed", SEED, "--console", &format!("127.0.0.1:{port}")]);
    let mut demo = Process::start(&mut command, &folder.path().join("log"))?;
    demo.wait_for_log("copied", LIMIT)?;
    let mut browser = Browser::start()?;
    browser.look(WINDOW.0, WINDOW.1, false)?;
    for (name, address, shown) in PAGES {
        browser.open_anew(&format!("http://127.0.0.1:{port}/#/{address}"))?;
        browser.until(
            name,
            &format!("document.querySelector('nav a[aria-current]')?.dataset.page === {name:?} && !!({shown})"),
        )?;
        let made = pictures().join(format!("readme-{name}.png"));
        browser.window(&made)?;
        same_size(&made, &root().join(FOLDER).join(format!("{name}.png")))?;
        ensure!(README.contains(&format!("({FOLDER}/{name}.png)")), "the README does not show {name}.png");
    }
    unharmed(&mut browser, "the demo")?;
    nothing_else()?;
    demo.signal("INT")?;
    ensure!(demo.wait(LIMIT)? == 0, "{}", demo.log());
    Ok(())
}

/// With the variable the picture that is checked in becomes this one.
fn same_size(made: &Path, known: &Path) -> Result<()> {
    fits(made)?;
    if std::env::var_os(SNAPSHOT).is_some() {
        fs::copy(made, known)?;
    }
    fits(known)
}

fn fits(path: &Path) -> Result<()> {
    let picture = fs::read(path).with_context(|| format!("{} is missing", path.display()))?;
    // A PNG's first chunk begins with both.
    let number = |at: usize| picture.get(at..at + 4).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
    let size = (number(16), number(20));
    ensure!(size == (Some(WINDOW.0), Some(WINDOW.1)), "{} is no picture of {WINDOW:?}: {size:?}", path.display());
    ensure!(picture.len() <= BYTES_MAX, "{} has {} bytes", path.display(), picture.len());
    Ok(())
}

/// A picture that no page makes would never be made anew.
fn nothing_else() -> Result<()> {
    for entry in fs::read_dir(root().join(FOLDER))? {
        let path: PathBuf = entry?.path();
        let name = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        let is_known = PAGES.iter().any(|it| it.0 == name);
        ensure!(path.extension().is_none_or(|it| it != "png") || is_known, "nothing makes {}", path.display());
    }
    Ok(())
}
