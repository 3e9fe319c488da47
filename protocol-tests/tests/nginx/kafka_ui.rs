//! `/kafka-ui/`, with a stand-in for Kafka UI.

use anyhow::{Result, ensure};
use protocol_tests::ports;

use super::GREETING;
use super::stage::{ANSWER_LIMIT, Answer, LOGIN, Proxy, Upstream};

const FILTER: &str = "/kafka-ui/api/clusters/source/topics/orders/smartfilters";
const RECORDS: &str = "/kafka-ui/api/clusters/source/topics/orders/messages/v2?mode=LATEST";

pub(super) fn trial() -> Result<()> {
    let console = Upstream::start()?;
    absent(&console)?;
    late(&console)?;
    let (ui, console) = (Upstream::start()?, Upstream::start()?);
    let proxy = Proxy::start(&[console.address], &[("PROXY_KAFKA_UI", &ui.address.to_string())])?;
    lets_in(&proxy, &ui)?;
    reads_alone(&proxy, &ui)?;
    tells_at_once(&proxy, &ui)?;
    ensure!(console.asked().is_empty(), "a bridge has seen what is Kafka UI's: {:?}", console.asked());
    ensure!(proxy.get("/")?.status == 200 && console.asked().len() == 1, "the console is gone beside Kafka UI");
    Ok(())
}

fn is_text(answer: &Answer, status: u16, text: &str) -> bool {
    answer.status == status && answer.header("content-type") == ["text/plain"] && answer.body.contains(text)
}

fn absent(console: &Upstream) -> Result<()> {
    let proxy = Proxy::start(&[console.address], &[])?;
    for path in ["/kafka-ui/", "/kafka-ui/ui/clusters/source"] {
        let answer = proxy.get(path)?;
        ensure!(is_text(&answer, 404, "No Kafka UI is set up here"), "{path}: {answer:?}");
    }
    Ok(())
}

/// nginx starts before it, and without anybody who knows its name.
fn late(console: &Upstream) -> Result<()> {
    let resolver = format!("127.0.0.1:{}", ports::free()?);
    let nameless = [("PROXY_KAFKA_UI", "kafka-ui:8080"), ("PROXY_RESOLVER", resolver.as_str())];
    let proxy = Proxy::start(&[console.address], &nameless)?;
    let answer = proxy.get("/kafka-ui/")?;
    ensure!(is_text(&answer, 502, "Kafka UI does not answer"), "{answer:?}");
    let address = format!("127.0.0.1:{}", ports::free()?);
    let proxy = Proxy::start(&[console.address], &[("PROXY_KAFKA_UI", &address)])?;
    let answer = proxy.get("/kafka-ui/")?;
    ensure!(is_text(&answer, 502, "Kafka UI does not answer"), "{answer:?}");
    ensure!(proxy.ask("GET /kafka-ui/ HTTP/1.1\r\nHost: localhost\r\n")?.status == 401, "of whom is it told?");
    let ui = Upstream::start_at(&address)?;
    ensure!(proxy.get("/kafka-ui/")?.status == 200 && ui.asked().len() == 1, "it is not asked when it has come");
    Ok(())
}

fn lets_in(proxy: &Proxy, ui: &Upstream) -> Result<()> {
    for path in ["/kafka-ui/", "/kafka-ui/api/clusters", RECORDS] {
        let answer = proxy.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"))?;
        ensure!(answer.status == 401, "{path}: {answer:?}");
    }
    ensure!(ui.asked().is_empty(), "without a login: {:?}", ui.asked());
    let answer = proxy.get("/kafka-ui")?;
    ensure!(answer.status == 301 && answer.header("location") == ["/kafka-ui/"], "{answer:?}");
    let answer = proxy.get("/kafka-ui/api/clusters?page=1")?;
    let policy = answer.header("content-security-policy").concat();
    // Its first page has a script in itself, and its editors make workers; nothing comes from elsewhere.
    ensure!(
        answer.status == 200
            && policy.starts_with("default-src 'self' 'unsafe-inline';")
            && policy.contains("worker-src 'self' blob:;")
            && policy.contains("frame-ancestors 'none';"),
        "{answer:?}"
    );
    for (name, value) in [
        ("strict-transport-security", "max-age=31536000"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        ensure!(answer.header(name) == [value], "{name}: {:?}", answer.header(name));
    }
    for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
        ensure!(answer.header(name).is_empty(), "pages of other sites are to read it: {answer:?}");
    }
    let seen = ui.asked();
    let [head] = &seen[..] else { anyhow::bail!("{seen:?}") };
    ensure!(head.starts_with("GET /kafka-ui/api/clusters?page=1 HTTP/1.1\r\n"), "the prefix is gone: {head}");
    ensure!(!head.contains("Authorization"), "it was told the password: {head}");
    Ok(())
}

fn reads_alone(proxy: &Proxy, ui: &Upstream) -> Result<()> {
    let asked = ui.asked().len();
    let request = |method: &str, path: &str| {
        proxy.ask(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{LOGIN}\r\nContent-Length: 0\r\n"))
    };
    for (method, path) in [
        ("POST", "/kafka-ui/api/clusters/source/topics"),
        ("DELETE", "/kafka-ui/api/clusters/source/topics/orders"),
        ("PUT", "/kafka-ui/api/config"),
        ("DELETE", FILTER),
        ("POST", "/kafka-ui/api/clusters/source/topics/orders/smartfilters/../messages"),
        ("POST", "/api/clusters/source/topics/orders/smartfilters"),
    ] {
        let answer = request(method, path)?;
        ensure!(answer.status == 405, "{method} {path}: {answer:?}");
    }
    for path in ["/kafka-ui/actuator/health", "/kafka-ui/actuator"] {
        let answer = proxy.get(path)?;
        ensure!(answer.status == 404, "{path}: {answer:?}");
    }
    ensure!(ui.asked().len() == asked, "it was asked: {:?}", ui.asked());
    let answer = request("POST", FILTER)?;
    ensure!(answer.status == 200 && ui.asked().len() == asked + 1, "a filter for what is shown: {answer:?}");
    Ok(())
}

fn tells_at_once(proxy: &Proxy, ui: &Upstream) -> Result<()> {
    let mut tls = proxy.connect(None, false)?;
    tls.send(&format!("{}{LOGIN}\r\n\r\n", GREETING.replace("GET / ", &format!("GET {RECORDS} "))))?;
    for event in ["first record", "second record"] {
        ui.tell(event)?;
        ensure!(tls.hears(event, ANSWER_LIMIT)?, "{event} is held back");
    }
    Ok(())
}
