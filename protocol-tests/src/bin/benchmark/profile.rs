//! Where a bridge's CPU time goes, by the kernel's own profiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Off the round number, so as not to beat with anything that has one.
const SAMPLES_PER_SECOND: &str = "1999";
/// What is less is not worth a look.
const PERCENT_MIN: &str = "0.5";

pub(crate) struct Profile {
    recording: Child,
    data: PathBuf,
}

impl Profile {
    /// Of a process, until it ends.
    pub(crate) fn of(process: u32, folder: &Path, name: &str) -> Result<Profile> {
        fs::create_dir_all(folder)?;
        let data = folder.join(format!("{name}.data"));
        let recording = Command::new("perf")
            .args(["record", "--quiet", "-F", SAMPLES_PER_SECOND, "-p", &process.to_string(), "-o"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("`perf` cannot be run: install it (Debian: linux-perf), or leave --profile out")?;
        Ok(Profile { recording, data })
    }

    /// Once the process has ended: writes what took how much, by function, beside the samples.
    pub(crate) fn end(mut self) -> Result<()> {
        ensure!(self.recording.wait()?.success(), "perf could not look at the process");
        let report = Command::new("perf")
            .args([
                "report",
                "--stdio",
                "--no-children",
                "-F",
                "overhead,dso,symbol",
                "--percent-limit",
                PERCENT_MIN,
                "-i",
            ])
            .arg(&self.data)
            .output()?;
        ensure!(report.status.success(), "perf cannot read its samples: {}", String::from_utf8_lossy(&report.stderr));
        let text = self.data.with_extension("txt");
        fs::write(&text, report.stdout)?;
        println!("  where its CPU time went: {}", text.display());
        Ok(())
    }
}
