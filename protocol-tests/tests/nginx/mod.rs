//! `proxy/`: Debian's nginx with the configuration that is rendered from the template, on loopback.

mod kafka_ui;
pub(crate) mod stage;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::ports;
use protocol_tests::process::Process;
use tokio_rustls::rustls::{ProtocolVersion, version};

use self::stage::{ANSWER_LIMIT, LOGIN, PASSWORD, Proxy, Upstream, script, succeeds};
use crate::{is_required, trial};

/// In which nothing comes that is held back. Too short, it would only miss that something is held back no more.
const SILENCE: Duration = Duration::from_secs(2);
const MISDIRECTED: u16 = 421;
const GREETING: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n";

pub(super) fn trials() -> Vec<Trial> {
    let trials = [
        trial("proxy", "nginx_speaks_tls_1_2_and_1_3_and_nothing_older", versions),
        trial("proxy", "nginx_redirects_to_its_own_names_alone", redirects),
        trial("proxy", "nginx_lets_in_who_has_a_password", passwords),
        trial("proxy", "nginx_lets_in_who_has_a_certificate", certificates),
        trial("proxy", "nginx_sets_headers_whatever_it_answers", headers),
        trial("proxy", "nginx_passes_events_one_by_one", events),
        trial("proxy", "nginx_limits_the_rate", rate),
        trial("proxy", "nginx_refuses_what_no_console_is_to_see", refused),
        trial("proxy", "nginx_goes_on_with_the_other_bridge", other_bridge),
        trial("proxy", "nginx_shows_kafka_ui_where_there_is_one", kafka_ui::trial),
        trial("proxy", "a_setting_that_is_more_than_a_value_is_refused", settings),
    ];
    trials.into_iter().map(with_nginx).collect()
}

/// Ignored with the reason where nginx is missing; in CI it fails there.
pub(crate) fn with_nginx(trial: Trial) -> Trial {
    let missing = ["nginx", "openssl"].into_iter().find(|it| !is_installed(it));
    match missing.filter(|_| !is_required()) {
        Some(it) => trial.with_kind(format!("{it} is not installed")).with_ignored_flag(true),
        None => trial,
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(if program == "nginx" { "-v" } else { "version" }).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|it| it.success())
}

fn versions() -> Result<()> {
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[])?;
    for (only, expected) in [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)] {
        let tls = proxy.connect(Some(only), false)?;
        ensure!(tls.version() == Some(expected), "{:?}", tls.version());
        let answer = tls.ask(&format!("{GREETING}{LOGIN}\r\n"))?;
        ensure!(answer.status == 200 && answer.body == "console", "{answer:?}");
    }
    // Rust's TLS knows no older one.
    let speaks = |port: u16, arguments: &[&str]| -> Result<bool> {
        let address = format!("127.0.0.1:{port}");
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &address]).args(arguments).stdin(Stdio::null());
        let output = client.output()?;
        Ok(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("Cipher is (NONE)"))
    };
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    ensure!(!speaks(proxy.https, &old)?, "nginx speaks TLS 1.1");
    ensure!(!speaks(proxy.https, &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"])?, "without GCM");
    ensure!(speaks(proxy.https, &["-tls1_2"])?, "this client cannot even speak TLS 1.2");
    // The same client against a server that takes TLS 1.1: so it was the proxy that did not.
    let (port, folder) = (ports::free()?, tempfile::tempdir()?);
    let path = |name: &str| proxy.file(name).display().to_string();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-accept", &port.to_string(), "-cert", &path("pki/proxy/proxy.pem")]);
    server.args(["-key", &path("pki/proxy/proxy.key"), "-www"]).args(old);
    let mut server = Process::start(&mut server, &folder.path().join("log"))?;
    server.wait_for_log("ACCEPT", ANSWER_LIMIT)?;
    ensure!(speaks(port, &old)?, "this client speaks no TLS 1.1: that nginx refuses it shows nothing");
    Ok(())
}

fn redirects() -> Result<()> {
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[])?;
    let answer = proxy.ask_plain("GET /metrics?a=b HTTP/1.1\r\nHost: localhost\r\n")?;
    let location = format!("https://localhost:{}/metrics?a=b", proxy.https);
    ensure!(answer.status == 308 && answer.header("location") == [location.as_str()], "{answer:?}");
    for host in ["evil.example.org", "localhost.evil.example.org", "127.0.0.2"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n");
        let plain = proxy.ask_plain(&request)?;
        ensure!(plain.status == MISDIRECTED && plain.header("location").is_empty(), "{host}: {plain:?}");
        let answer = proxy.ask(&format!("{request}{LOGIN}\r\n"))?;
        ensure!(answer.status == MISDIRECTED, "{host}: {answer:?}");
    }
    ensure!(upstream.asked().is_empty(), "{:?}", upstream.asked());
    Ok(())
}

fn passwords() -> Result<()> {
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[])?;
    // `operator` with another password, and somebody else with the right one.
    for wrong in
        ["", "Authorization: Basic b3BlcmF0b3I6d3Jvbmc=\r\n", "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n"]
    {
        for path in ["/", "/metrics", "/api/link", "/api/events", "/healthz", "/console.js"] {
            let answer = proxy.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{wrong}"))?;
            ensure!(answer.status == 401 && !answer.header("www-authenticate").is_empty(), "{path}: {answer:?}");
        }
    }
    ensure!(upstream.asked().is_empty(), "{:?}", upstream.asked());
    ensure!(proxy.get("/")?.status == 200, "the right password is refused");
    let seen = upstream.asked();
    ensure!(seen.len() == 1 && !seen[0].contains("Authorization"), "the console was told the password: {seen:?}");
    let file = proxy.file("login").display().to_string();
    ensure!(!std::fs::read_to_string(&file)?.contains(PASSWORD), "the file has the password as it is");
    // While it runs.
    succeeds("proxy/login.sh", &[], &["--file", &file, "--remove", "operator"], "")?;
    ensure!(proxy.get("/")?.status == 401, "who was removed is let in");
    succeeds("proxy/login.sh", &[], &["--file", &file, "operator"], PASSWORD)?;
    ensure!(proxy.get("/")?.status == 200, "who was added is refused");
    for (arguments, password, code) in
        [(["--file", &file, "operator"], "short", 1), (["--file", &file, "a:b"], PASSWORD, 2)]
    {
        let output = script("proxy/login.sh", &[], &arguments, password)?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {output:?}");
    }
    ensure!(proxy.get("/")?.status == 200, "a password that was refused has replaced the other");
    Ok(())
}

fn certificates() -> Result<()> {
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[("PROXY_LOGIN", "certificate")])?;
    let answer = proxy.get("/")?;
    ensure!(answer.status == 400 && upstream.asked().is_empty(), "without a certificate: {answer:?}");
    let answer = proxy.connect(None, true)?.ask(GREETING)?;
    ensure!(answer.status == 200, "with one of its authority: {answer:?}");
    Ok(())
}

fn headers() -> Result<()> {
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[])?;
    let nothing = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    // What the console says of its own page counts; the rest is the proxy's.
    let asked = [
        (proxy.get("/")?, 200, "default-src 'self'"),
        (proxy.get("/nothing")?, 404, nothing),
        (proxy.ask(GREETING)?, 401, nothing),
    ];
    for (answer, status, policy) in asked {
        ensure!(answer.status == status, "{answer:?}");
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000"),
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            // Without its version.
            ("server", "nginx"),
        ] {
            ensure!(answer.header(name) == [value], "{status}: {name}: {:?}", answer.header(name));
        }
    }
    Ok(())
}

fn events() -> Result<()> {
    let watch = |proxy: &Proxy, upstream: &Upstream, limit| {
        let mut tls = proxy.connect(None, false)?;
        tls.send(&format!("GET /api/events HTTP/1.1\r\nHost: localhost\r\n{LOGIN}\r\n\r\n"))?;
        // The next one comes when the one before has arrived.
        for event in ["first", "second", "third"] {
            upstream.tell(event)?;
            if !tls.hears(event, limit)? {
                return anyhow::Ok(Some(event));
            }
        }
        Ok(None)
    };
    let upstream = Upstream::start()?;
    let proxy = Proxy::start(&[upstream.address], &[])?;
    let missed = watch(&proxy, &upstream, ANSWER_LIMIT)?;
    ensure!(missed.is_none(), "held back: {missed:?}");
    // A proxy that gathers: so the check can fail.
    let upstream = Upstream::start()?;
    let gathers = |it: String| it.replace("proxy_buffering off;", "");
    let proxy = Proxy::start_edited(&[upstream.address], &[], gathers)?;
    ensure!(watch(&proxy, &upstream, SILENCE)? == Some("first"), "nothing was held back where it should be");
    Ok(())
}

fn rate() -> Result<()> {
    let upstream = Upstream::start()?;
    let asked = 12;
    let slow = Proxy::start(&[upstream.address], &[("PROXY_RATE", "1r/m"), ("PROXY_BURST", "3")])?;
    let statuses = |proxy: &Proxy, request: &str| -> Result<Vec<u16>> {
        (0..asked).map(|_| Ok(proxy.ask(request)?.status)).collect()
    };
    let count = |found: &[u16], status| found.iter().filter(|it| **it == status).count();
    // Guesses of a password too: one request and three at once are let through to the login, in a minute one more.
    let guesses = statuses(&slow, GREETING)?;
    ensure!((1..=5).contains(&count(&guesses, 401)) && count(&guesses, 429) >= asked - 5, "{guesses:?}");
    let usual = Proxy::start(&[upstream.address], &[])?;
    let found = statuses(&usual, &format!("{GREETING}{LOGIN}\r\n"))?;
    ensure!(count(&found, 200) == asked, "{found:?}");
    Ok(())
}

fn refused() -> Result<()> {
    let upstream = Upstream::start()?;
    // It is asked much at once.
    let proxy = Proxy::start(&[upstream.address], &[("PROXY_RATE", "1000r/s"), ("PROXY_BURST", "1000")])?;
    for method in ["TRACE", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer =
            proxy.ask(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{LOGIN}\r\nContent-Length: 0\r\n"))?;
        ensure!(answer.status == 405, "{method}: {answer:?}");
    }
    let paths = ["/.env", "/.git/config", "/api/.env", "/assets/.htpasswd", "/nginx.conf", "/nothing", "/api", "/api/"];
    for path in
        paths.into_iter().chain(["/api/../metrics/x", "/assets/../../etc/passwd", "/%2e%2e/etc/passwd", "/kafka-ui/"])
    {
        let answer = proxy.get(path)?;
        ensure!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    let body = format!("{GREETING}{LOGIN}\r\nContent-Length: {}\r\n", 64 * 1024 + 1);
    ensure!(proxy.ask(&body)?.status == 413, "a large body is taken");
    let large = format!("{GREETING}{LOGIN}\r\nX-Large: {}\r\n", "x".repeat(9 << 10));
    ensure!(proxy.ask(&large)?.status == 400, "a large header is taken");
    ensure!(upstream.asked().is_empty(), "a console has seen {:?}", upstream.asked());
    // What is served; so it was not the console that refused.
    let paths = ["/", "/healthz", "/readyz", "/metrics", "/api/link", "/console.js", "/assets/style.css"];
    for path in paths {
        ensure!(proxy.get(path)?.status == 200, "{path}");
    }
    ensure!(upstream.asked().len() == paths.len(), "{:?}", upstream.asked());
    ensure!(upstream.asked().iter().all(|it| it.contains("Host: localhost\r\n")), "{:?}", upstream.asked());
    Ok(())
}

fn other_bridge() -> Result<()> {
    let (first, second) = (Upstream::start()?, Upstream::start()?);
    let gone = format!("127.0.0.1:{}", ports::free()?).parse()?;
    let proxy = Proxy::start(&[first.address, second.address], &[])?;
    let start = Instant::now();
    while first.asked().is_empty() || second.asked().is_empty() {
        ensure!(proxy.get("/")?.status == 200 && start.elapsed() < ANSWER_LIMIT, "both are to be asked");
    }
    let proxy = Proxy::start(&[gone, first.address], &[])?;
    for _ in 0..10 {
        let answer = proxy.get("/")?;
        ensure!(answer.status == 200, "one bridge is there: {answer:?}");
    }
    let proxy = Proxy::start(&[gone], &[])?;
    ensure!(proxy.get("/")?.status == 502, "no bridge is there, and somebody answers");
    Ok(())
}

fn settings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nginx.conf").display().to_string();
    let good = [
        ("PROXY_UPSTREAMS", "127.0.0.1:1"),
        ("PROXY_CERT_FILE", "/a"),
        ("PROXY_KEY_FILE", "/b"),
        ("PROXY_LOGIN_FILE", "/c"),
    ];
    let render = |more: &[(&str, &str)]| {
        let all: Vec<_> = good.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect();
        script("proxy/render.sh", &all, &[&file], "")
    };
    ensure!(render(&[])?.status.success(), "good settings are refused");
    for (name, value) in [
        ("PROXY_HOSTS", "localhost; return 200"),
        ("PROXY_HOSTS", "localhost\nevil.example.org"),
        ("PROXY_UPSTREAMS", "127.0.0.1:1 } server {"),
        ("PROXY_UPSTREAMS", "unix:/run/docker.sock"),
        ("PROXY_RATE", "20"),
        ("PROXY_LOGIN", "none"),
        ("PROXY_CERT_FILE", "relative.pem"),
        ("PROXY_ACCESS_LOG", "syslog:server=10.0.0.1"),
    ] {
        let output = render(&[(name, value)])?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(78) && told.contains(name), "{name}={value}: {output:?}");
    }
    Ok(())
}
