//! Rules of the house that no compiler knows: what may import what, how long a file may become, what a pure state machine
//! leaves alone. Each rule looks at one file and names the lines that break it.

use std::collections::BTreeSet;
use std::path::Path;

/// Where a state machine has more, it is to be split by phase.
const LINES_MAX: usize = 600;

/// Lowest first. A module may use what stands in a line above its own, never its neighbours.
const LAYERS: &[&[&str]] = &[
    &["types", "clock", "latest", "planted", "testing"],
    &["config", "shape"],
    &["wire"],
    &["cluster", "pki"],
    &["registry"],
    &["batch"],
    &["source", "target", "group"],
    &["reader", "dead_letters"],
    &["ledger", "topics", "avro"],
    &["schemas"],
    &["bridge"],
    &["verify"],
    &["positions"],
    &["incidents"],
    &["monitor"],
    &["produce"],
    &["undelivered"],
    &["consume"],
    &["demo"],
    &["cli"],
];

/// The demo cluster stands beside the layers: what it shared with the client side could be wrong on both sides at once.
/// `testing` holds what tests read, Java's recorded bytes among it.
const BROKER_MAY_USE: &[&str] = &["types", "shape", "batch", "testing"];

/// Nor does the demo's registry share anything with the client of registries, though it stands in the demo.
const APART: (&str, &str) = ("src/demo/registry/", "registry");

/// What the harness must not take from the bridge, for the same reason.
const PROTOCOL_LAYERS: &[&str] =
    &["wire", "cluster", "registry", "batch", "source", "target", "group", "reader", "ledger"];

/// The simulation runs the shipping code: it stands in for its sockets, and reads why it ended. The benchmark measures without judging,
/// and what it compares a bridge to must cost no more than the bridge's own client.
const MAY_USE: &[(&str, &str)] = &[
    ("protocol-tests/src/simulation/network.rs", "wire"),
    ("protocol-tests/src/simulation/bridges.rs", "ledger"),
    ("protocol-tests/src/bin/benchmark/ceiling.rs", "batch"),
    ("protocol-tests/src/bin/benchmark/ceiling.rs", "cluster"),
    ("protocol-tests/src/bin/benchmark/ceiling.rs", "source"),
    ("protocol-tests/src/bin/benchmark/floor.rs", "batch"),
    ("protocol-tests/src/bin/benchmark/latency.rs", "batch"),
    ("protocol-tests/src/bin/benchmark/latency.rs", "source"),
];

/// Files and folders of pure machines: inputs and the time go in, outputs come out.
const PURE: &[&str] = &[
    "src/avro/",
    "src/batch/",
    "src/source/",
    "src/target/",
    "src/bridge/decisions.rs",
    "src/group/",
    "src/bridge/gather.rs",
    "src/bridge/lane.rs",
    "src/bridge/ownership.rs",
    "src/bridge/packing.rs",
    "src/bridge/reach.rs",
    "src/bridge/routing.rs",
    "src/bridge/transaction.rs",
    "src/ledger/record.rs",
    "src/ledger/replay.rs",
    "src/ledger/state.rs",
    "src/topics/plan.rs",
    "src/wire/in_flight.rs",
];

/// A clock, randomness, the world outside, and maps whose order is another in every process: with one of these inside, a
/// failing seed could not be run again.
const IMPURE: &[&str] = &[
    "clock::",
    "Instant::now",
    "SystemTime",
    "fastrand",
    "tokio",
    "HashMap",
    "HashSet",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
];

/// Nothing from a network, a file or a user may end the process; what prints panics where the terminal is gone.
const PANICS: &[&str] = &[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "print!(", "println!("];

/// A file of the repository, by its path from the root.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// Everything written in Rust.
pub fn files(root: &Path) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("src"), root.join("protocol-tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                files.push(File { path: name, text: std::fs::read_to_string(&path)? });
            }
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

pub fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let problem = format!("{} has {lines} lines, {LINES_MAX} is the end: split it by phase", file.path);
    if lines > LINES_MAX { vec![problem] } else { Vec::new() }
}

fn layer(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let module = rest.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!matches!(module, "lib" | "main")).then_some(module)
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Modules that the file names by `crate::…`, with their lines.
fn imports<'a>(file: &'a File, root: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (at, _) in line.match_indices(root) {
            let rest = &line[at + root.len()..];
            // `crate::{a::x, b}` names several; nested braces hold no modules of the first level.
            let names = match rest.strip_prefix('{') {
                Some(list) => first_level(list),
                None => vec![rest],
            };
            let word =
                |it: &'a str| it.split(|it: char| !(it.is_alphanumeric() || it == '_')).next().unwrap_or_default();
            found.extend(names.into_iter().map(|it| (number + 1, word(it.trim_start()))));
        }
    }
    found
}

fn first_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, it) in list.char_indices() {
        match it {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(&list[start..at]);
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(&list[start..]);
    names
}

/// Layers import downward alone.
pub fn upward_imports(file: &File) -> Vec<String> {
    let Some(own) = layer(&file.path) else { return Vec::new() };
    let place = |line: usize| format!("{}:{line}", file.path);
    if own != "broker" && rank(own).is_none() {
        return vec![format!("{}: no layer is known for `{own}`: give it a place in LAYERS", file.path)];
    }
    let mut problems = Vec::new();
    for (line, module) in imports(file, "crate::").into_iter().filter(|it| it.1 != own) {
        let may = match (own, rank(own), rank(module)) {
            ("broker", ..) => BROKER_MAY_USE.contains(&module),
            _ if file.path.starts_with(APART.0) && module == APART.1 => false,
            // Only the demo runs it.
            ("demo" | "cli", ..) if module == "broker" => true,
            (_, Some(own), Some(other)) => other < own,
            _ => false,
        };
        if !may {
            problems.push(format!("{}: `{own}` must not use `{module}`", place(line)));
        }
    }
    problems
}

/// The harness has its own client.
pub fn shared_layers(file: &File) -> Vec<String> {
    if !file.path.starts_with("protocol-tests/src/") {
        return Vec::new();
    }
    let is_allowed = |module: &str| MAY_USE.contains(&(file.path.as_str(), module));
    let named = imports(file, "kafka_bridge::").into_iter();
    named
        .filter(|it| PROTOCOL_LAYERS.contains(&it.1) && !is_allowed(it.1))
        .map(|(line, module)| format!("{}:{line}: the harness must not use the bridge's `{module}`", file.path))
        .collect()
}

/// Files that exist for tests alone: their `mod` line says so.
pub fn test_only(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        let folder = match file.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        for (attribute, item) in file.text.lines().zip(file.text.lines().skip(1)) {
            let Some(name) = item.trim().strip_suffix(';').and_then(|it| it.rsplit_once("mod ")).map(|it| it.1) else {
                continue;
            };
            if attribute.trim() == "#[cfg(test)]" {
                found.insert(format!("{folder}/{name}.rs"));
                found.insert(format!("{folder}/{name}/"));
            }
        }
    }
    found
}

fn is_test_only(file: &File, test_only: &BTreeSet<String>) -> bool {
    test_only.iter().any(|it| *it == file.path || (it.ends_with('/') && file.path.starts_with(it.as_str())))
}

/// The lines that are in the product: without comments, and without the items that `#[cfg(test)]` stands before.
fn shipping(text: &str) -> Vec<(usize, &str)> {
    let mut lines = text.lines().enumerate();
    let mut shipping = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            if !line.trim_start().starts_with("//") {
                shipping.push((number + 1, line));
            }
            continue;
        }
        let (mut depth, mut has_body) = (0_i32, false);
        for (_, line) in lines.by_ref() {
            has_body |= line.contains('{');
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            let is_attribute = line.trim_start().starts_with("#[");
            if depth <= 0 && !is_attribute && (has_body || line.ends_with([';', ','])) {
                break;
            }
        }
    }
    shipping
}

fn naming(file: &File, words: &[&str], why: &str) -> Vec<String> {
    let named = |(number, line): (usize, &str)| {
        let word = words.iter().find(|word| line.contains(**word))?;
        Some(format!("{}:{number}: `{word}` {why}", file.path))
    };
    shipping(&file.text).into_iter().filter_map(named).collect()
}

/// Pure machines do no I/O, read no clock, own no randomness, and walk no map in an order that nobody chose.
pub fn impure(file: &File, test_only: &BTreeSet<String>) -> Vec<String> {
    let is_pure = PURE.iter().any(|it| *it == file.path || (it.ends_with('/') && file.path.starts_with(it)));
    if !is_pure || is_test_only(file, test_only) {
        return Vec::new();
    }
    naming(file, IMPURE, "in a pure state machine: let it be an input")
}

pub fn panics(file: &File, test_only: &BTreeSet<String>) -> Vec<String> {
    if !file.path.starts_with("src/") || is_test_only(file, test_only) {
        return Vec::new();
    }
    // A constant that panics does not compile.
    let is_constant = |line: &str| line.trim_start().trim_start_matches("pub ").starts_with("const ");
    let text: String =
        file.text.lines().map(|line| if is_constant(line) { "\n".to_owned() } else { format!("{line}\n") }).collect();
    let file = File { path: file.path.clone(), text };
    naming(&file, PANICS, "in the product: make it an error that names place and remedy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_line_too_many_is_told() {
        assert_eq!(too_long(&file("src/a.rs", &"x\n".repeat(600))), Vec::<String>::new());
        assert!(too_long(&file("src/a.rs", &"x\n".repeat(601)))[0].contains("601"));
    }

    #[test]
    fn an_import_from_above_or_beside_is_told() {
        let fine = "use crate::batch::RawBatch;\nuse crate::source::x;\nuse crate::types::{A, B};\n// crate::bridge\n";
        assert_eq!(upward_imports(&file("src/source/fetcher.rs", fine)), Vec::<String>::new());
        for (planted, module) in [
            ("use crate::bridge::Lane;", "bridge"),
            ("let x = crate::target::errors::action();", "target"),
            ("pub(crate) use crate::{batch::{A, B}, cli};", "cli"),
            ("use crate::broker::Cluster;", "broker"),
            ("use crate::somewhere::X;", "somewhere"),
        ] {
            let told = upward_imports(&file("src/source/fetcher.rs", &format!("{fine}{planted}\n")));
            assert_eq!(told, [format!("src/source/fetcher.rs:5: `source` must not use `{module}`")], "{planted}");
        }
        assert!(upward_imports(&file("src/new/mod.rs", ""))[0].contains("LAYERS"));
        assert_eq!(upward_imports(&file("src/lib.rs", "use crate::cli;")).len(), 0);
    }

    #[test]
    fn the_broker_shares_little() {
        assert_eq!(
            upward_imports(&file("src/broker/log/mod.rs", "use crate::batch::A;\nuse crate::broker::B;")).len(),
            0
        );
        assert_eq!(upward_imports(&file("src/broker/log/mod.rs", "use crate::source::A;")).len(), 1);
        assert_eq!(upward_imports(&file("src/demo/mod.rs", "use crate::broker::A;")).len(), 0);
        assert_eq!(upward_imports(&file("src/demo/registry/api.rs", "use crate::registry::A;")).len(), 1);
        assert_eq!(upward_imports(&file("src/demo/mod.rs", "use crate::registry::A;")).len(), 0);
    }

    #[test]
    fn a_harness_that_uses_the_bridges_client_is_told() {
        // Put together here, or this line would be told too.
        let text = ["broker::Server", "batch::split"].map(|it| format!("use kafka_{}::{it};", "bridge")).join("\n");
        let told = shared_layers(&file("protocol-tests/src/compare.rs", &text));
        assert_eq!(told, ["protocol-tests/src/compare.rs:2: the harness must not use the bridge's `batch`"]);
    }

    #[test]
    fn a_clock_in_a_pure_machine_is_told_and_one_in_its_tests_is_not() {
        let text = "use std::time::Instant;\n#[cfg(test)]\nuse fastrand::Rng;\nstruct A {\n    #[cfg(test)]\n    x: u8,\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn a() {\n        Instant::now();\n    }\n}\nfn b() {}\n";
        let none = BTreeSet::new();
        assert_eq!(impure(&file("src/source/a.rs", text), &none), Vec::<String>::new());
        for planted in ["let now = Instant::now();", "use std::collections::HashMap;", "tokio::spawn(x);"] {
            let planted = format!("{text}{planted}\n");
            assert_eq!(impure(&file("src/source/a.rs", &planted), &none).len(), 1);
            assert!(impure(&file("src/bridge/lane.rs", &planted), &none)[0].starts_with("src/bridge/lane.rs:15: "));
            assert_eq!(impure(&file("src/bridge/worker.rs", &planted), &none).len(), 0);
        }
    }

    #[test]
    fn files_for_tests_are_known_by_their_mod_line() {
        let parent = file("src/source/mod.rs", "mod a;\n#[cfg(test)]\npub(crate) mod model;\nmod b;\n");
        let child = file("src/bridge/check.rs", "#[cfg(test)]\nmod cases;\n");
        let test_only = test_only(&[parent, child]);
        let clock = "let now = Instant::now();\n";
        assert_eq!(impure(&file("src/source/model.rs", clock), &test_only).len(), 0);
        assert_eq!(impure(&file("src/source/model/part.rs", clock), &test_only).len(), 0);
        assert_eq!(impure(&file("src/source/a.rs", clock), &test_only).len(), 1);
        assert!(test_only.contains("src/bridge/check/cases.rs"));
    }

    #[test]
    fn a_panic_in_the_product_is_told() {
        let text = "#[expect(clippy::x, reason = \"y\")]\nfn a() { b().unwrap_or(1); }\nconst C: D = D::new(1).expect(\"1\");\n";
        let none = BTreeSet::new();
        assert_eq!(panics(&file("src/wire/a.rs", text), &none).len(), 0);
        assert_eq!(panics(&file("src/wire/a.rs", &format!("{text}fn c() {{ d().unwrap(); }}\n")), &none).len(), 1);
        assert_eq!(panics(&file("protocol-tests/src/a.rs", "d().unwrap();"), &none).len(), 0);
    }
}
