//! A headless Chromium, driven by its own DevTools protocol over two pipes: what a page shows, and what it complains of.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// Names another one.
const PROGRAM: &str = "KAFKA_BRIDGE_CHROMIUM";
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// A loaded machine starts a browser slowly.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// The program, or why there is none.
pub fn program() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(PROGRAM) {
        return Ok(path.into());
    }
    let folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let found = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |it| it.join(name))).find(|it| it.is_file());
    found.ok_or_else(|| format!("there is no {} here; install Debian's package, or name one by {PROGRAM}", PROGRAMS[0]))
}

/// Where pictures are left for whoever wants to see them.
pub fn pictures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    root.join("target/console-screenshots")
}

/// One page. Dropping it ends the browser.
pub struct Browser {
    _process: Process,
    to: File,
    from: Receiver<Value>,
    sent: u64,
    session: String,
    complaints: Vec<String>,
    _folder: TempDir,
}

impl Browser {
    pub fn start() -> Result<Browser> {
        Browser::start_with(&[])
    }

    /// One that takes this certificate's key for a server's, and no other that no public authority has signed.
    pub fn start_trusting(certificate: &Path) -> Result<Browser> {
        let script = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64";
        let hash = Command::new("sh").args(["-c", script]).arg(certificate).output()?;
        ensure!(hash.status.success() && hash.stderr.is_empty(), "{}: {hash:?}", certificate.display());
        let hash = String::from_utf8(hash.stdout)?;
        Browser::start_with(&[&format!("--ignore-certificate-errors-spki-list={}", hash.trim())])
    }

    fn start_with(options: &[&str]) -> Result<Browser> {
        let program = program().map_err(anyhow::Error::msg)?;
        let folder = tempfile::tempdir()?;
        let (input, output) = (folder.path().join("to"), folder.path().join("from"));
        ensure!(Command::new("mkfifo").args([&input, &output]).status()?.success(), "mkfifo failed");
        // The browser reads its descriptor 3 and writes to 4; opened for both, neither end waits for the other.
        let script = "exec \"$0\" \"$@\" 3<>\"$TO\" 4<>\"$FROM\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program).env("TO", &input).env("FROM", &output);
        // What it leaves behind when it is killed is gone with the folder.
        command.env("HOME", folder.path()).env("TMPDIR", folder.path());
        command.args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        command.args(["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]);
        command.args(options);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display())).arg("about:blank");
        let process = Process::start(&mut command, &folder.path().join("log"))?;
        let to = File::options().write(true).open(&input)?;
        let reader = BufReader::new(File::open(&output)?);
        let (sender, from) = channel();
        thread::spawn(move || {
            for message in reader.split(0) {
                let Ok(message) = message else { return };
                let parsed = serde_json::from_slice(&message).unwrap_or_default();
                if sender.send(parsed).is_err() {
                    return;
                }
            }
        });
        let session = String::new();
        let mut browser =
            Browser { _process: process, to, from, sent: 0, session, complaints: Vec::new(), _folder: folder };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach)?;
        attached["sessionId"].as_str().context("no session")?.clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}))?;
        }
        // Keys go to the page though no window has the focus.
        browser.ask("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }))?;
        Ok(browser)
    }

    /// A command of the protocol, and its answer.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let Some(answer) = self.next(LIMIT)? else { break };
            if answer["id"] == json!(self.sent) {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
        bail!("{method}: no answer within {LIMIT:?}")
    }

    /// None: nothing came.
    fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        let message = match self.from.recv_timeout(limit) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the browser is gone"),
        };
        let details = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(details["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if details["type"] == "error" || details["type"] == "warning" => {
                self.complaints.push(details["args"].to_string());
            }
            Some("Log.entryAdded")
                if details["entry"]["level"] == "error" || details["entry"]["level"] == "warning" =>
            {
                let entry = &details["entry"];
                self.complaints.push(format!("{}: {} ({})", entry["source"], entry["text"], entry["url"]));
            }
            _ => {}
        }
        Ok(Some(message))
    }

    /// What the page has complained of since this was asked last: errors, and what its security policy forbade.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        while self.next(POLL)?.is_some() {}
        Ok(std::mem::take(&mut self.complaints))
    }

    /// A page that only differs in its fragment is loaded anew too.
    pub fn open_anew(&mut self, url: &str) -> Result<()> {
        self.open("about:blank")?;
        self.open(url)
    }

    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.ask("Page.navigate", json!({ "url": url }))?;
        ensure!(opened["errorText"].is_null(), "{url}: {}", opened["errorText"]);
        Ok(())
    }

    /// Runs a script in each page before the page's own, until it is given up by the name that this gives.
    pub fn before_all(&mut self, script: &str) -> Result<Value> {
        self.ask("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
    }

    pub fn give_up(&mut self, script: Value) -> Result<()> {
        self.ask("Page.removeScriptToEvaluateOnNewDocument", script).map(|_| ())
    }

    /// Runs a script in the page; a promise is waited for.
    pub fn evaluate(&mut self, script: &str) -> Result<Value> {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", parameters)?;
        ensure!(answer["exceptionDetails"].is_null(), "{script}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until the script gives something that is true.
    pub fn until(&mut self, what: &str, script: &str) -> Result<Value> {
        let start = Instant::now();
        loop {
            let found = self.evaluate(script);
            let is_there = |it: &Value| !matches!(it, Value::Null | Value::Bool(false)) && *it != json!("");
            if let Ok(found) = &found
                && is_there(found)
            {
                return Ok(found.clone());
            }
            if start.elapsed() > LIMIT {
                let page = self.evaluate("document.body.innerText")?;
                bail!("{what}: never; {found:?}; the page shows:\n{}", page.as_str().unwrap_or_default());
            }
            thread::sleep(POLL);
        }
    }

    /// A key as a person presses it: `Tab`, `Enter`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => bail!("{other} is no key that is known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.ask("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Into whatever has the focus.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.ask("Input.insertText", json!({ "text": text })).map(|_| ())
    }

    pub fn look(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", features).map(|_| ())
    }

    /// A picture of the whole page.
    pub fn picture(&mut self, file: &Path) -> Result<()> {
        self.capture(true, file)
    }

    /// A picture of what the window shows of it.
    pub fn window(&mut self, file: &Path) -> Result<()> {
        self.capture(false, file)
    }

    fn capture(&mut self, is_whole: bool, file: &Path) -> Result<()> {
        let taken =
            self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": is_whole }))?;
        let encoded = taken["data"].as_str().context("no picture")?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(file, base64::engine::general_purpose::STANDARD.decode(encoded)?)?)
    }
}
