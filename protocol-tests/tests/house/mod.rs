//! The rules of the house, over the whole repository.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use protocol_tests::house::{self, File};

use crate::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("house", "layers_import_downward_alone", || obeyed(|file, _| house::upward_imports(file))),
        trial("house", "no_file_is_too_long", || obeyed(|file, _| house::too_long(file))),
        trial("house", "pure_machines_are_pure", || obeyed(house::impure)),
        trial("house", "the_harness_has_its_own_client", || obeyed(|file, _| house::shared_layers(file))),
        trial("house", "the_product_does_not_panic", || obeyed(house::panics)),
    ]
}

fn obeyed(rule: impl Fn(&File, &BTreeSet<String>) -> Vec<String>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a folder")?;
    let files = house::files(root)?;
    ensure!(files.iter().any(|it| it.path == "src/lib.rs"), "the repository is not at {}", root.display());
    let test_only = house::test_only(&files);
    let problems: Vec<_> = files.iter().flat_map(|file| rule(file, &test_only)).collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
