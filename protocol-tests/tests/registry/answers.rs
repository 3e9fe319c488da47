//! What registries answer, and what the client makes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_bridge::demo::registry::{Compatibility, Fault, RegistryServer, Settings};
use kafka_bridge::registry::{Reference, RegistryError};
use libtest_mimic::Trial;

use super::{TIMEOUT, client, client_of, config, plain, record, within};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("registry", "registers_and_finds", || within(registers)),
        trial("registry", "resolves_references_dependencies_first", || within(references)),
        trial("registry", "says_what_is_unknown", || within(unknown)),
        trial("registry", "says_what_is_rejected", || within(rejected)),
        trial("registry", "says_that_a_schema_is_of_another_type", || within(other_type)),
        trial("registry", "comes_again_while_it_is_down", || within(passing)),
        trial("registry", "takes_another_node", || within(nodes)),
        trial("registry", "follows_no_redirect", || within(redirect)),
        trial("registry", "keeps_the_path_before_subjects", || within(prefix)),
    ]
}

async fn registers() -> Result<()> {
    let (server, client) = plain().await?;
    let (first, second) = (record("R", "\"int\""), record("R", "\"long\""));
    let id = client.register("orders/eu value", &first, &[]).await?;
    ensure!(client.register("orders/eu value", &first, &[]).await? == id, "registered again, it is another");
    let next = client.register("orders/eu value", &second, &[]).await?;
    ensure!(id != next && client.register("other", &first, &[]).await? == id, "ids are not global");
    let versions = [
        client.register_version("orders/eu value", &second, &[]).await?,
        client.register_version("orders/eu value", &first, &[]).await?,
        client.register_version("other", &first, &[]).await?,
    ];
    ensure!(versions == [2, 1, 1], "{versions:?}");
    let found = client.by_id(next).await?;
    ensure!((found.id, found.text.as_str()) == (next, second.as_str()), "{found:?}");
    let found = client.by_id(id).await?;
    ensure!((found.id, found.text.as_str()) == (id, first.as_str()), "{found:?}");
    ensure!(client.subjects().await? == ["orders/eu value", "other"], "subjects");
    ensure!(
        client.subjects_of(id).await? == [("orders/eu value".to_owned(), 1), ("other".to_owned(), 1)],
        "subjects of {id}"
    );
    ensure!(server.requests("/versions") > 0, "nothing was counted");
    Ok(())
}

async fn references() -> Result<()> {
    let (server, client) = plain().await?;
    let reference =
        |name: &str, subject: &str| Reference { name: name.to_owned(), subject: subject.to_owned(), version: 1 };
    let (leaf, left, right) =
        (record("x.Leaf", "\"int\""), record("x.Left", "\"x.Leaf\""), record("x.Right", "\"x.Leaf\""));
    client.register("leaf", &leaf, &[]).await?;
    client.register("left", &left, &[reference("x.Leaf", "leaf")]).await?;
    client.register("right", &right, &[reference("x.Leaf", "leaf")]).await?;
    let top =
        r#"{"type":"record","name":"x.Top","fields":[{"name":"l","type":"x.Left"},{"name":"r","type":"x.Right"}]}"#;
    let both = [reference("x.Left", "left"), reference("x.Right", "right")];
    let id = client.register("top", top, &both).await?;
    let found = client.by_id(id).await?;
    ensure!(found.references == both, "{found:?}");
    ensure!(found.reference_texts() == [leaf, left, right], "not each once, dependencies first: {found:?}");
    ensure!(server.requests("/subjects/leaf/versions/1") == 1, "what two refer to was asked for twice");
    Ok(())
}

async fn unknown() -> Result<()> {
    let (server, client) = plain().await?;
    let by_id = client.by_id(7).await.err().context("there is no id 7")?;
    ensure!(by_id.is_unknown() && !by_id.is_retriable() && by_id.to_string().contains("has no schema id 7"), "{by_id}");
    let body = br#"{"schema":"x","references":[{"name":"n","subject":"nothing","version":1}]}"#;
    server.fail("/schemas/ids/8", Fault::Body(body.to_vec()));
    let reference = client.by_id(8).await.err().context("there is no such subject")?;
    ensure!(reference.is_unknown(), "{reference}");
    ensure!(reference.to_string().contains("has no version 1 of subject nothing"), "{reference}");
    let places = client.subjects_of(7).await.err().context("there is no id 7")?;
    ensure!(places.is_unknown(), "{places}");
    Ok(())
}

async fn rejected() -> Result<()> {
    let server =
        RegistryServer::start(Settings { compatibility: Compatibility::Backward, ..Settings::default() }).await?;
    let client = client(&server)?;
    client.register("s", &record("R", "\"int\""), &[]).await?;
    let told = client.register("s", &record("R", "\"string\""), &[]).await.err().context("it is incompatible")?;
    ensure!(matches!(&told, RegistryError::Rejected { code: 409, .. }) && !told.is_retriable(), "{told}");
    ensure!(told.to_string().contains("does not take a schema for subject s (409)"), "{told}");
    let told = client.register("s", "{", &[]).await.err().context("it is no schema")?;
    ensure!(matches!(&told, RegistryError::Rejected { code: 42_201, .. }), "{told}");
    Ok(())
}

async fn other_type() -> Result<()> {
    let (server, client) = plain().await?;
    server.fail("/schemas/ids", Fault::Body(br#"{"schema":"syntax","schemaType":"PROTOBUF"}"#.to_vec()));
    let told = client.by_id(1).await.err().context("it is no Avro")?;
    ensure!(matches!(told, RegistryError::Unusable { .. }), "{told}");
    ensure!(told.to_string().contains("schema id 1") && told.to_string().contains("is of type PROTOBUF"), "{told}");
    Ok(())
}

async fn passing() -> Result<()> {
    let (server, client) = plain().await?;
    let id = client.register("s", "\"int\"", &[]).await?;
    server.fail_times("/schemas", Fault::Down, 1);
    server.fail_times("/schemas", Fault::Status(503, 50_003), 1);
    ensure!(client.by_id(id).await?.text == "\"int\"", "another schema");
    ensure!(server.requests("/schemas") == 3, "{} requests", server.requests("/schemas"));
    for (id, fault) in [(100, Fault::Down), (101, Fault::Status(500, 50_001)), (102, Fault::Status(429, 429))] {
        server.fail("/schemas", fault);
        let told = client.by_id(id).await.err().context("it is down")?;
        ensure!(told.is_retriable(), "{told}");
        server.mend();
        // That it was down is not remembered; that there is none, is.
        ensure!(client.by_id(id).await.is_err_and(|it| it.is_unknown()), "{id}");
    }
    drop(server);
    let told = client.by_id(200).await.err().context("it is gone")?;
    ensure!(told.is_retriable() && told.to_string().contains("cannot be reached"), "{told}");
    Ok(())
}

async fn nodes() -> Result<()> {
    let (one, other) =
        (RegistryServer::start(Settings::default()).await?, RegistryServer::start(Settings::default()).await?);
    let client = client_of(&config(&[one.url(), other.url()])?, TIMEOUT)?;
    one.fail("", Fault::Down);
    let id = client.register("s", "\"int\"", &[]).await?;
    let asked = one.requests("");
    ensure!(asked == 1, "the first node was asked {asked} times");
    ensure!(client.by_id(id).await.is_ok() && one.requests("") == asked, "the node that is down was asked first again");
    // A node that is no registry is passed over too.
    let begin = Instant::now();
    let client =
        client_of(&config(&["http://localhost:1".to_owned(), format!("{}/x", one.url()), other.url()])?, TIMEOUT)?;
    one.mend();
    ensure!(client.by_id(id).await.is_ok() && begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    Ok(())
}

async fn redirect() -> Result<()> {
    let (server, client) = plain().await?;
    let other = RegistryServer::start(Settings::default()).await?;
    server.fail("", Fault::Redirect(other.url()));
    let told = client.by_id(1).await.err().context("it redirects")?;
    ensure!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_retriable(), "{told}");
    ensure!(told.to_string().contains(&format!("redirects to {}", other.url())), "{told}");
    ensure!(other.requests("") == 0, "it was followed");
    Ok(())
}

async fn prefix() -> Result<()> {
    let settings = Settings { prefix: "/apis/ccompat/v7".to_owned(), ..Settings::default() };
    let server = RegistryServer::start(settings).await?;
    let id = client(&server)?.register("s", "\"int\"", &[]).await?;
    ensure!(client(&server)?.by_id(id).await.is_ok(), "not found below its prefix");
    let root = server.url().replace("/apis/ccompat/v7", "");
    let told = client_of(&config(&[root])?, TIMEOUT)?.by_id(id).await.err().context("the path is wrong")?;
    // An id that is unknown would be another remedy.
    ensure!(!told.is_unknown() && told.to_string().contains("is the path before /subjects in urls?"), "{told}");
    Ok(())
}
