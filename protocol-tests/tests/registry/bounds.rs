//! What a registry can cost: requests, time and memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::demo::registry::Fault;
use kafka_bridge::registry::{Registry, RegistryError};
use libtest_mimic::Trial;
use tokio::task::JoinSet;

use super::{client_of, config, plain, within};
use crate::trial;

const SHORT: Duration = Duration::from_millis(200);
/// Four attempts with the pauses between them.
const GIVEN_UP: Duration = Duration::from_secs(3);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("registry", "asks_once_for_an_id_that_many_want", || within(single_flight)),
        trial("registry", "a_caller_that_gives_up_takes_nobody_with_it", || within(cancelled)),
        trial("registry", "remembers_for_a_while_what_is_not_there", || within(negative)),
        trial("registry", "a_slow_one_meets_its_deadline", || within(slow)),
        trial("registry", "an_endless_answer_ends", || within(endless)),
        trial("registry", "hostile_answers_are_errors", || within(hostile)),
        trial("registry", "references_in_a_circle_end", || within(circle)),
        trial("registry", "references_without_end_end", || within(deep)),
        trial("registry", "references_count_by_what_they_refer_to", || within(wide)),
    ]
}

async fn single_flight() -> Result<()> {
    let (server, client) = plain().await?;
    let id = client.register("s", "\"int\"", &[]).await?;
    server.fail("/schemas/ids", Fault::Slow(Duration::from_millis(100)));
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        waiting.spawn(async move { client.by_id(id).await });
    }
    while let Some(answer) = waiting.join_next().await {
        ensure!(answer?.is_ok(), "one of a hundred has no answer");
    }
    ensure!(client.by_id(id).await.is_ok(), "no answer from memory");
    ensure!(server.requests("/schemas/ids") == 1, "{} requests for one id", server.requests("/schemas/ids"));
    Ok(())
}

async fn cancelled() -> Result<()> {
    let (server, client) = plain().await?;
    let id = client.register("s", "\"int\"", &[]).await?;
    server.fail("/schemas/ids", Fault::Slow(Duration::from_millis(300)));
    let first = client.clone();
    let (given_up, patient) = tokio::join!(tokio::time::timeout(Duration::from_millis(50), first.by_id(id)), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        client.by_id(id).await
    });
    ensure!(given_up.is_err() && patient.is_ok(), "{given_up:?}, {patient:?}");
    ensure!(server.requests("/schemas/ids") == 1, "{} requests", server.requests("/schemas/ids"));
    Ok(())
}

async fn negative() -> Result<()> {
    let (server, client) = plain().await?;
    for _ in 0..50 {
        ensure!(client.by_id(1).await.is_err_and(|it| it.is_unknown()), "there is no id 1 yet");
    }
    ensure!(server.requests("/schemas/ids/1") == 1, "{} requests", server.requests("/schemas/ids/1"));
    Ok(())
}

async fn slow() -> Result<()> {
    let (server, _) = plain().await?;
    let client = client_of(&config(&[server.url()])?, SHORT)?;
    server.fail("", Fault::Slow(Duration::from_secs(60)));
    let begin = Instant::now();
    let told = client.by_id(1).await.err().context("it is slow")?;
    ensure!(told.is_retriable() && told.to_string().contains("did not answer within 200 ms"), "{told}");
    ensure!(begin.elapsed() >= SHORT && begin.elapsed() < GIVEN_UP, "{:?}", begin.elapsed());
    Ok(())
}

async fn endless() -> Result<()> {
    let (server, _) = plain().await?;
    let client = client_of(&config(&[server.url()])?, Duration::from_secs(20))?;
    server.fail("", Fault::Endless { chunk_bytes: 64 << 10, pause: Duration::ZERO });
    let begin = Instant::now();
    let told = client.by_id(1).await.err().context("it never ends")?;
    ensure!(!told.is_retriable() && told.to_string().contains("answers with more than 4194304 bytes"), "{told}");
    ensure!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // Not large, but never done.
    server.mend();
    server.fail("", Fault::Endless { chunk_bytes: 1, pause: Duration::from_millis(20) });
    let client = client_of(&config(&[server.url()])?, SHORT)?;
    let begin = Instant::now();
    let told = client.by_id(1).await.err().context("it never ends")?;
    ensure!(told.is_retriable() && begin.elapsed() < GIVEN_UP, "{told} after {:?}", begin.elapsed());
    Ok(())
}

async fn hostile() -> Result<()> {
    let (server, client) = plain().await?;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = format!(r#"{{"schema":"{}"}}"#, "x".repeat(5 << 20));
    let bodies = ["", "<html>", "{", "null", "[]", r#"{"schema":1}"#, r#"{"id":1}"#, "\u{0}", &nested, &huge];
    for (id, body) in (0..).zip(bodies) {
        server.mend();
        server.fail("", Fault::Body(body.as_bytes().to_vec()));
        let told = client.by_id(id).await.err().with_context(|| format!("{:.20} was taken", body))?;
        ensure!(matches!(told, RegistryError::NotRegistry { .. }), "{:.20}: {told}", body);
        ensure!(told.to_string().contains("Is it a schema registry") && told.to_string().len() < 1_000, "{told}");
    }
    for id in [i32::MIN, -1] {
        server.mend();
        server.fail("", Fault::Body(format!(r#"{{"id":{id}}}"#).into_bytes()));
        let told = client.register("s", "\"int\"", &[]).await.err().with_context(|| format!("{id} was taken"))?;
        ensure!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_retriable(), "{told}");
        ensure!(told.to_string().contains(&format!("is malformed: {id} is no id")), "{told}");
    }
    for version in [-1, 0] {
        server.mend();
        server.fail("", Fault::Body(format!(r#"{{"id":1,"version":{version}}}"#).into_bytes()));
        let told = client.register_version("s", "\"int\"", &[]).await.err();
        let told = told.with_context(|| format!("{version} was taken"))?;
        ensure!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_retriable(), "{told}");
        ensure!(told.to_string().contains(&format!("is malformed: {version} is no version")), "{told}");
    }
    ensure!(client.subjects_of(1).await.is_err() && client.subjects().await.is_err(), "taken");
    Ok(())
}

async fn unusable(client: &Registry) -> Result<String> {
    let told = client.by_id(1).await.err().context("its references have no end")?;
    ensure!(matches!(told, RegistryError::Unusable { .. }) && !told.is_retriable(), "{told}");
    Ok(told.to_string())
}

async fn circle() -> Result<()> {
    let (server, client) = plain().await?;
    let to = |subject: &str| {
        let text =
            format!(r#"{{"id":1,"schema":"x","references":[{{"name":"n","subject":"{subject}","version":1}}]}}"#);
        Fault::Body(text.into_bytes())
    };
    server.fail("/schemas/ids", to("a"));
    server.fail("/subjects/a/", to("b"));
    server.fail("/subjects/b/", to("a"));
    let told = unusable(&client).await?;
    ensure!(told.contains("refers to itself through a version 1"), "{told}");
    ensure!(server.requests("") == 3, "{} requests", server.requests(""));
    Ok(())
}

async fn deep() -> Result<()> {
    let (server, client) = plain().await?;
    let references = |count: usize, subject: &dyn Fn(usize) -> String| {
        let one = |it| format!(r#"{{"name":"n","subject":"{}","version":1}}"#, subject(it));
        let all: Vec<_> = (0..count).map(one).collect();
        Fault::Body(format!(r#"{{"schema":"x","references":[{}]}}"#, all.join(",")).into_bytes())
    };
    server.fail("/schemas/ids", references(1, &|_| "s0".to_owned()));
    for depth in 0..100 {
        server.fail(&format!("/subjects/s{depth}/"), references(1, &|_| format!("s{}", depth + 1)));
    }
    let told = unusable(&client).await?;
    ensure!(told.contains("references more than 32 deep"), "{told}");
    let (server, client) = plain().await?;
    server.fail("/schemas/ids", references(1_000, &|it| format!("s{it}")));
    server.fail("/subjects/", Fault::Body(br#"{"schema":"x"}"#.to_vec()));
    let told = unusable(&client).await?;
    ensure!(told.contains("has more than 200 references"), "{told}");
    ensure!(server.requests("/subjects/") == 200, "{} requests", server.requests("/subjects/"));
    Ok(())
}

async fn wide() -> Result<()> {
    let (server, client) = plain().await?;
    // A text of one byte, and two megabytes of references to a schema that is known by then.
    let one = |name: &str, subject: &str| format!(r#"{{"name":"{name}","subject":"{subject}","version":1}}"#);
    let many = vec![one(&"n".repeat(60), "leaf"); 20_000].join(",");
    let roots: Vec<_> = (0..20).map(|it| one("n", &format!("s{it}"))).collect();
    let body = |references: &str| Fault::Body(format!(r#"{{"schema":"x","references":[{references}]}}"#).into_bytes());
    server.fail("/schemas/ids", body(&roots.join(",")));
    server.fail("/subjects/leaf/", Fault::Body(br#"{"schema":"x"}"#.to_vec()));
    server.fail("/subjects/s", body(&many));
    let told = unusable(&client).await?;
    ensure!(told.contains("has references of more than 16777216 bytes together"), "{told}");
    ensure!(server.requests("/subjects/s") < 20, "all of them were asked for");
    Ok(())
}
