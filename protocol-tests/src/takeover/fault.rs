//! What befalls one of the bridges, and the proof that it did.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::bridge::Bridge;
use crate::proxy::{Direction, Proxy};

const STOP_LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillOneOfTwo,
    KillOneOfThree,
    Freeze,
    CutFromTarget,
    CutFromSource,
    Restart,
}

impl Fault {
    pub const ALL: [Fault; 6] = [
        Fault::KillOneOfTwo,
        Fault::KillOneOfThree,
        Fault::Freeze,
        Fault::CutFromTarget,
        Fault::CutFromSource,
        Fault::Restart,
    ];

    /// For the command line and for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Fault::KillOneOfTwo => "kill-one-of-two",
            Fault::KillOneOfThree => "kill-one-of-three",
            Fault::Freeze => "freeze",
            Fault::CutFromTarget => "cut-from-target",
            Fault::CutFromSource => "cut-from-source",
            Fault::Restart => "restart",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Fault::KillOneOfTwo => "`kill -9` of one of two bridges",
            Fault::KillOneOfThree => "`kill -9` of one of three",
            Fault::Freeze => "one of two frozen (SIGSTOP), later woken",
            Fault::CutFromTarget => "one of two cut off from the target",
            Fault::CutFromSource => "one of two cut off from the source",
            Fault::Restart => "planned restart of one of two (SIGTERM, and start)",
        }
    }

    pub fn bridges(self) -> usize {
        if self == Fault::KillOneOfThree { 3 } else { 2 }
    }

    /// Of the slowest run, with a session of six seconds.
    pub fn limit(self) -> Duration {
        match self {
            Fault::Restart => Duration::from_secs(1),
            _ => Duration::from_secs(8),
        }
    }
}

/// Two kinds in turn: packets that vanish leave a client waiting, refused connections tell it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Silent,
    Refusing,
}

impl Cut {
    pub(super) fn of_run(run: usize) -> Cut {
        if run.is_multiple_of(2) { Cut::Silent } else { Cut::Refusing }
    }

    pub(super) fn make(self, proxies: &[Proxy]) {
        for proxy in proxies {
            match self {
                Cut::Silent => proxy.stall(Direction::Both),
                Cut::Refusing => {
                    proxy.refuse(true);
                    proxy.cut_all();
                }
            }
        }
    }

    pub(super) fn heal(self, proxies: &[Proxy]) {
        for proxy in proxies {
            match self {
                Cut::Silent => proxy.resume(Direction::Both),
                Cut::Refusing => proxy.refuse(false),
            }
        }
    }

    /// What the proxies have kept from passing so far.
    pub(super) fn count(self, proxies: &[Proxy]) -> usize {
        let count = |proxy: &Proxy| match self {
            Cut::Silent => proxy.stalled(),
            Cut::Refusing => proxy.refused(),
        };
        proxies.iter().map(count).sum()
    }
}

pub(super) fn is_gone(process_id: u32) -> bool {
    !Path::new(&format!("/proc/{process_id}")).exists()
}

/// As Linux says: stopped by a signal, which a busy machine may deliver a moment later.
pub(super) fn is_stopped(bridge: &Bridge) -> Result<()> {
    let start = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", bridge.id()))?;
        // The name in parentheses may hold spaces.
        let state = stat.rsplit(')').next().and_then(|it| it.split_whitespace().next()).context("stat has no state")?;
        if state == "T" {
            return Ok(());
        }
        ensure!(start.elapsed() < STOP_LIMIT, "the bridge is not stopped, its state is {state}");
        thread::sleep(Duration::from_millis(1));
    }
}
