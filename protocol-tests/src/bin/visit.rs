//! `visit`: looks at a console through its proxy, as `compose/self-test.sh` has it do in the network of its engine.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use protocol_tests::visit::{LIMIT, Visit};

/// Opens a console in headless Chromium, holds what it shows against what the bridge says, and keeps a picture.
#[derive(Parser)]
struct Arguments {
    /// https://localhost:8443
    origin: String,
    /// The server's certificate, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// The password of this user is in the environment.
    #[arg(long, default_value = "operator")]
    name: String,
    #[arg(long, env = "VISIT_PASSWORD", hide_env_values = true)]
    password: String,
    #[arg(long)]
    picture: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { origin, certificate, name, password, picture } = Arguments::parse();
    let visit = Visit {
        origin: &origin,
        certificate: &certificate,
        name: &name,
        password: &password,
        picture: &picture,
        limit: LIMIT,
    };
    println!("{}", visit.pay()?);
    Ok(())
}
