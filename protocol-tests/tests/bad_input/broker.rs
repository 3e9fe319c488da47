//! Brokers that are not there, too old, or no brokers at all: exit code 69, with the address and what is wrong there.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::command::Finished;
use protocol_tests::fake::{Behaviour, FakeBroker, MODERN, Request, Stream, answer, polite};
use protocol_tests::ports;

use super::{LIMIT, PEAK_KB_MAX, ended, link, plaintext, refused};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("bad_input", "broker_that_nobody_runs", nobody),
        trial("bad_input", "broker_that_never_answers", silent),
        trial("bad_input", "broker_that_is_too_old", too_old),
        trial("bad_input", "broker_that_is_hostile", hostile),
        trial("bad_input", "broker_that_fills_the_memory", filling),
    ]
}

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

fn nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = FakeBroker::start(None, polite(MODERN))?;
    let nobody = format!("localhost:{}", ports::free()?);
    let config = link(plaintext(&nobody), plaintext(&target.address()));
    // A run waits for brokers that are just being started, and then gives up.
    refused(folder.path(), &config, 69, &["no broker can be reached", &nobody, "Check the addresses"])?;
    let unknown = link(plaintext("no-such-host.invalid:9092"), plaintext(&target.address()));
    let done = ended(folder.path(), "check", &unknown)?;
    ensure!(done.code == 69 && done.stdout.contains("no-such-host.invalid:9092: "), "{done:?}");
    // The other end is told too.
    ensure!(done.stdout.contains("cluster a-cluster-of-one-fake, 1 of 1 broker reached"), "{}", done.stdout);
    Ok(())
}

/// Takes connections and says nothing: as a firewall that swallows packets, or a broker that hangs.
fn silent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("localhost:{}", listener.local_addr()?.port());
    let target = FakeBroker::start(None, polite(MODERN))?;
    let mut config = link(plaintext(&address), plaintext(&target.address()));
    config.delivery = "request_timeout_ms = 300\n".to_owned();
    refused(folder.path(), &config, 69, &[&address, "no connection within 300 ms"])
}

/// As Kafka 2.6: ApiVersions knows no version 4, and Fetch ends at 11.
const OLD: &[(i16, i16, i16)] =
    &[(18, 0, 3), (3, 0, 9), (0, 0, 8), (1, 0, 11), (2, 0, 5), (22, 0, 3), (28, 0, 3), (12, 0, 4), (19, 0, 5)];
/// All that is needed, from a broker that refuses every ApiVersions but the first three with code 35.
const FALLBACK: &[(i16, i16, i16)] =
    &[(18, 0, 2), (3, 0, 12), (0, 0, 11), (1, 0, 17), (2, 0, 9), (22, 0, 5), (28, 0, 4), (12, 0, 4), (19, 0, 7)];

fn too_old() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = FakeBroker::start(None, polite(MODERN))?;
    let old = FakeBroker::start(None, polite(OLD))?;
    let says = ["the broker has Fetch v0–11, kafka-bridge needs v12 or later", "Kafka 2.7 and later", &old.address()];
    refused(folder.path(), &link(plaintext(&old.address()), plaintext(&target.address())), 69, &says)?;
    refused(folder.path(), &link(plaintext(&target.address()), plaintext(&old.address())), 69, &says)?;
    // The control: with the versions that are needed the detour over code 35 leads to the cluster.
    let fallback = FakeBroker::start(None, polite(FALLBACK))?;
    let config = link(plaintext(&fallback.address()), plaintext(&target.address()));
    let (_, report) = Finished::check(&config.write(folder.path(), "fallback")?, LIMIT)?;
    ensure!(report["source"]["cluster_id"] == "a-cluster-of-one-fake", "{report:#}");
    Ok(())
}

/// What a hostile peer answers with, and what is said about it.
type Attack = (&'static str, fn(&Request, &mut dyn Stream) -> Option<()>, &'static str);

const ATTACKS: [Attack; 8] = [
    (
        "a frame of 2 GiB",
        |_, stream| send(stream, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        "it sent a frame of 2147483647 bytes",
    ),
    (
        "a negative frame",
        |_, stream| send(stream, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        "it sent a frame of -1 bytes",
    ),
    ("an empty frame", |_, stream| send(stream, &[0, 0, 0, 0]), "it sent a frame of 0 bytes"),
    ("HTTP", |_, stream| send(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it sent a frame of 1213486160 bytes"),
    ("half a frame", |_, stream| send(stream, &[0, 0, 1, 0, 0, 0]).and(None), "the broker closed it within an answer"),
    (
        "the answer of another request",
        |request, stream| {
            let other = Request { correlation_id: request.correlation_id.wrapping_add(7), ..request.clone() };
            answer(&other, stream, &[0; 64])
        },
        "it answered request",
    ),
    (
        "an array of two billion",
        |request, stream| answer(request, stream, &[0, 0, 0x7f, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]),
        "is malformed",
    ),
    ("nothing but its end", |_, _| None, "the broker closed it"),
];

fn send(stream: &mut dyn Stream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()?;
    stream.flush().ok()?;
    // Until the peer has understood; what it does next is what counts.
    std::thread::sleep(Duration::from_millis(200));
    Some(())
}

/// At the first question, and at one that is asked when versions are known.
fn hostile() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = FakeBroker::start(None, polite(MODERN))?;
    for at in [API_VERSIONS, METADATA] {
        for (name, attack, says) in ATTACKS {
            let good = polite(MODERN);
            let attacked: Behaviour =
                Arc::new(
                    move |request, stream| {
                        if request.api_key == at { attack(request, stream) } else { good(request, stream) }
                    },
                );
            let broker = FakeBroker::start(None, attacked)?;
            let config = link(plaintext(&broker.address()), plaintext(&target.address()));
            let done = ended(folder.path(), "check", &config).with_context(|| format!("{name} at API {at}"))?;
            let is_told = done.code == 69 && done.stdout.contains(says) && done.stdout.contains(&broker.address());
            ensure!(is_told, "{name} at API {at}: exit code {}, not told {says:?}:\n{}", done.code, done.stdout);
            ensure!(broker.requests() > 0, "the attack did not happen");
        }
    }
    // A run gives up at once on what is no Kafka.
    let broker = FakeBroker::start(None, Arc::new(ATTACKS[0].1))?;
    let done = ended(folder.path(), "run", &link(plaintext(&broker.address()), plaintext(&target.address())))?;
    ensure!(done.code == 69 && done.stderr.contains("Does a Kafka broker listen there"), "{done:?}");
    ensure!(broker.connections() < 10, "{} connections to something that is no Kafka", broker.connections());
    Ok(())
}

/// The largest answer that is accepted at all, again and again, full of zeros.
fn filling() -> Result<()> {
    const BYTES: usize = (32 << 20) - 64;
    let folder = tempfile::tempdir()?;
    let target = FakeBroker::start(None, polite(MODERN))?;
    let good = polite(MODERN);
    let attacked: Behaviour = Arc::new(move |request, stream| match request.api_key {
        METADATA => {
            let mut body = vec![0; BYTES];
            // Sixteen million brokers are claimed, and the bytes for them are there.
            body[5..9].copy_from_slice(&[0x80, 0x80, 0x80, 0x08]);
            answer(request, stream, &body)
        }
        _ => good(request, stream),
    });
    let broker = FakeBroker::start(None, attacked)?;
    let done = ended(folder.path(), "check", &link(plaintext(&broker.address()), plaintext(&target.address())))?;
    ensure!(done.code == 69 && done.stdout.contains("is malformed"), "{done:?}");
    ensure!(
        done.peak_kb > 30_000 && done.peak_kb < PEAK_KB_MAX,
        "the answer of 32 MiB was not read: {} kB",
        done.peak_kb
    );
    Ok(())
}
