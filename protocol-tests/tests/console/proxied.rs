//! Behind the proxy that ships: nginx, TLS and a login between the browser and the bridge.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol_tests::browser::pictures;
use protocol_tests::raw::{Codec, NewRecord};
use protocol_tests::visit::{LIMIT, Visit};

use super::stage::{MARKUP, Stage};
use crate::nginx::stage::{PASSWORD, Proxy};

/// Often enough that the page, which shows a state a second, moves with each.
const PAUSE: Duration = Duration::from_millis(100);

/// In which a page that moves would have moved.
const STILL: Duration = Duration::from_secs(3);

pub(super) fn trial() -> Result<()> {
    let stage = Stage::start(false)?;
    let bridge = format!("127.0.0.1:{}", stage.port).parse()?;
    let proxy = Proxy::start(&[bridge], &[])?;
    let look = |limit| {
        let (origin, certificate) = (format!("https://localhost:{}", proxy.https), proxy.file("pki/proxy/proxy.pem"));
        let picture = pictures().join("proxied.png");
        Visit {
            origin: &origin,
            certificate: &certificate,
            name: "operator",
            password: PASSWORD,
            picture: &picture,
            limit,
        }
        .pay()
    };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writes = scope.spawn(|| -> Result<()> {
            let mut source = stage.source.client();
            while !is_over.load(Ordering::Relaxed) {
                let one = NewRecord { value: Some(b"one more".to_vec()), ..NewRecord::default() };
                source.write(MARKUP, 0, Codec::None, vec![one])?;
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        let seen = look(LIMIT);
        is_over.store(true, Ordering::Relaxed);
        writes.join().ok().context("the writer panicked")??;
        println!("{}", seen?);
        anyhow::Ok(())
    })?;
    // Nothing flows now: a page that stands still is told.
    let still = look(STILL).err().map(|it| it.to_string()).unwrap_or_default();
    ensure!(still.contains("stands still"), "a page that stands still passes for one that moves: {still}");
    Ok(())
}
