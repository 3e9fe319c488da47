//! The console in a browser, against links that run: it shows what `/api/link` says, complains of nothing, and nothing that
//! stands in a topic becomes part of it.

mod groups;
mod keyboard;
mod pages;
mod pictures;
mod proxied;
mod stage;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};
use protocol_tests::browser;

use crate::{is_required, name, nginx, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        seen("every_page_shows_the_link_as_it_is", pages::every_page),
        seen("filtered_and_sorted_by_keyboard_and_stale_when_the_bridge_is_gone", keyboard::trial),
        nginx::with_nginx(seen("flows_behind_the_proxy_over_tls_with_a_login", proxied::trial)),
        seen("pictures_of_the_readme_are_made_from_the_demo", pictures::trial),
    ]
}

/// Ignored with the reason where there is no browser.
fn seen(case: &str, run: fn() -> Result<()>) -> Trial {
    match browser::program() {
        Ok(_) => trial("console", case, run),
        Err(reason) if is_required() => Trial::test(name("console", case), move || Err(Failed::from(reason))),
        Err(reason) => Trial::test(name("console", case), || Ok(())).with_kind(reason).with_ignored_flag(true),
    }
}
