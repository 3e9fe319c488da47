//! Who may ask, and who answers.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use kafka_bridge::config::{ClientFiles, RegistryConfig, RegistryCredentials, Secret, TlsFiles};
use kafka_bridge::demo::registry::{Access, RegistryServer, Settings};
use kafka_bridge::registry::RegistryError;
use libtest_mimic::Trial;
use protocol_tests::door::Door;
use protocol_tests::embedded::{Clients, server_tls};
use protocol_tests::kafka::{ClusterPki, mint};
use protocol_tests::pki::{Purpose, Validity};

use super::{TIMEOUT, client_of, config, text_of, within};
use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("registry", "speaks_tls_and_trusts_its_ca_alone", || within(tls)),
        trial("registry", "speaks_mutual_tls", || within(mutual)),
        trial("registry", "takes_new_certificates", || within(renewed)),
        trial("registry", "names_itself", || within(credentials)),
        trial("registry", "plaintext_and_tls_are_told_apart", || within(mixed)),
    ]
}

fn secured(server: &RegistryServer, trusted: &ClusterPki, client: Option<&ClusterPki>) -> Result<RegistryConfig> {
    let files = |it: &ClusterPki| ClientFiles { cert_file: it.client.chain.clone(), key_file: it.client.key.clone() };
    let tls = TlsFiles { ca_file: trusted.authority.ca_file(), client: client.map(files) };
    Ok(RegistryConfig { tls: Some(tls), ..config(&[server.url()])? })
}

async fn tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (own, foreign) = (mint(&folder.path().join("own"))?, mint(&folder.path().join("foreign"))?);
    let settings = Settings { tls: Some(Arc::new(server_tls(&own, Clients::Anonymous)?)), ..Settings::default() };
    let server = RegistryServer::start(settings).await?;
    let client = client_of(&secured(&server, &own, None)?, TIMEOUT)?;
    let id = client.register("s", "\"int\"", &[]).await?;
    ensure!(client.by_id(id).await.is_ok(), "not found");
    let told = client_of(&secured(&server, &foreign, None)?, TIMEOUT)?.by_id(id).await;
    let told = told.err().context("a foreign CA was trusted")?;
    ensure!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_retriable(), "{told}");
    let ca = text_of(&foreign.authority.ca_file());
    ensure!(told.to_string().contains(&format!("The registry's certificate is not signed by a CA in {ca}")), "{told}");
    // The certificate is for `localhost` and 127.0.0.1; Linux takes 0.0.0.0 for this host, so it is the same server that answers.
    let elsewhere = server.url().replace("localhost", "0.0.0.0");
    let config = RegistryConfig { tls: secured(&server, &own, None)?.tls, ..config(&[elsewhere])? };
    let told = client_of(&config, TIMEOUT)?.by_id(id).await.err().context("another name was taken")?;
    ensure!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_retriable(), "{told}");
    ensure!(told.to_string().contains("The registry's certificate is for another name"), "{told}");
    Ok(())
}

async fn mutual() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (own, foreign) = (mint(&folder.path().join("own"))?, mint(&folder.path().join("foreign"))?);
    let settings = Settings { tls: Some(Arc::new(server_tls(&own, Clients::Verified)?)), ..Settings::default() };
    let server = RegistryServer::start(settings).await?;
    client_of(&secured(&server, &own, Some(&own))?, TIMEOUT)?.register("s", "\"int\"", &[]).await?;
    let told = client_of(&secured(&server, &own, None)?, TIMEOUT)?.by_id(1).await.err().context("it came without")?;
    ensure!(told.to_string().contains("The registry wants a client certificate: set cert_file and key_file"), "{told}");
    let told = client_of(&secured(&server, &own, Some(&foreign))?, TIMEOUT)?.by_id(1).await;
    let told = told.err().context("a foreign certificate was taken")?;
    let file = text_of(&foreign.client.chain);
    ensure!(told.to_string().contains(&format!("The registry refuses the client certificate {file}")), "{told}");
    Ok(())
}

/// As a bridge renews them, for the requests from then on.
async fn renewed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let own = mint(&folder.path().join("own"))?;
    let door = Door::new(&own.server, &[own.authority.ca_file()])?;
    let server = RegistryServer::start(Settings { tls: Some(Arc::new(door.config()?)), ..Settings::default() }).await?;
    let client = client_of(&secured(&server, &own, Some(&own))?, TIMEOUT)?;
    client.register("s", "\"int\"", &[]).await?;
    let first = own.authority.issue("first", Purpose::Client, Validity::Now)?;
    std::fs::copy(&own.client.chain, &first.chain)?;
    let next = own.authority.issue("next", Purpose::Client, Validity::Now)?;
    std::fs::copy(&next.chain, &own.client.chain)?;
    std::fs::copy(&next.key, &own.client.key)?;
    ensure!(door.let_in(&next)? == 0 && door.let_in(&first)? > 0, "nobody came with the first certificate");
    let contents = client.security().changes().context("the files have changed")?;
    client.security().renew(contents, SystemTime::now())?;
    client.register("s", "\"long\"", &[]).await?;
    ensure!(door.let_in(&next)? > 0, "nobody came with the new certificate");
    Ok(())
}

async fn credentials() -> Result<()> {
    let secret = || Secret::new("hunter2");
    let basic = |username: &str, password: &str| RegistryCredentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    };
    let bearer = |token: &str| RegistryCredentials::Bearer { token: Secret::new(token) };
    for (access, right, wrong) in [
        (Access::Basic { username: "u".to_owned(), password: secret() }, basic("u", "hunter2"), basic("u", "hunter3")),
        (Access::Bearer { token: secret() }, bearer("hunter2"), bearer("hunter3")),
    ] {
        let server = RegistryServer::start(Settings { access, ..Settings::default() }).await?;
        let with = |credentials| -> Result<_> {
            client_of(&RegistryConfig { credentials, ..config(&[server.url()])? }, TIMEOUT)
        };
        with(Some(right))?.register("s", "\"int\"", &[]).await?;
        for (given, remedy) in [(Some(wrong), "It does not know them"), (None, "set username and password, or token")] {
            let client = with(given)?;
            let told = client.by_id(1).await.err().context("anybody may ask")?;
            ensure!(
                matches!(told, RegistryError::Refused { .. })
                    && !told.is_retriable()
                    && told.to_string().contains(remedy),
                "{told}"
            );
            for text in [told.to_string(), format!("{told:?}"), format!("{client:?}")] {
                ensure!(!text.contains("hunter"), "{text}");
            }
        }
    }
    Ok(())
}

async fn mixed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = mint(folder.path())?;
    let plain = RegistryServer::start(Settings::default()).await?;
    let settings = Settings { tls: Some(Arc::new(server_tls(&pki, Clients::Anonymous)?)), ..Settings::default() };
    let tls = RegistryServer::start(settings).await?;
    let to_tls = client_of(&config(&[tls.url().replace("https", "http")])?, TIMEOUT)?.by_id(1).await;
    let told = to_tls.err().context("plaintext to a port of TLS")?;
    ensure!(!told.is_retriable() && told.to_string().contains("Does it want TLS?"), "{told}");
    let mut secured = secured(&plain, &pki, None)?;
    secured.urls = vec![plain.url().replace("http", "https").parse()?];
    let told = client_of(&secured, TIMEOUT)?.by_id(1).await.err().context("TLS to a port of plaintext")?;
    ensure!(!told.is_retriable() && told.to_string().contains("The port does not speak TLS"), "{told}");
    Ok(())
}
