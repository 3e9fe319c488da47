//! A child process that writes to a log file, takes signals, and dies with the trial.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a waiting function looks again.
const POLL: Duration = Duration::from_millis(20);

/// A started program. Dropping it kills it.
pub struct Process {
    child: Child,
    /// Kills the child when this process is gone: a trial that is itself killed must not leave brokers behind.
    reaper: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process> {
        let file = File::options().create(true).append(true).open(log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            // Ctrl-C is for this process alone, which ends its children in their order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        // The pipe's other end lives in this process alone (it is close-on-exec), so its end of file means our death.
        let reaper = Command::new("sh")
            .args(["-c", "read -r line; kill -9 \"$0\"", &child.id().to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok();
        Ok(Process { child, reaper, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status()?;
        if !status.success() {
            bail!("kill -{name} {} failed: the process is gone", self.id());
        }
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.dismiss_reaper();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit code if it has ended; -1 when a signal ended it.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss_reaper();
        }
        Ok(status.map(|status| status.code().unwrap_or(-1)))
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            if start.elapsed() > limit {
                bail!("process {} still runs after {limit:?}; its log ends with:\n{}", self.id(), self.log_tail(30));
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last `lines` lines of the log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until the log contains `text`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.log().contains(text) {
                return Ok(());
            }
            let code = self.exit_code()?;
            if code.is_some() || start.elapsed() > limit {
                bail!("the log never said {text:?} (exit code {code:?}); it ends with:\n{}", self.log_tail(30));
            }
            std::thread::sleep(POLL);
        }
    }

    fn dismiss_reaper(&mut self) {
        if let Some(mut reaper) = self.reaper.take() {
            let _ = reaper.kill();
            let _ = reaper.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
