//! Whole files: what is read, and what the user sees when they are wrong.

use std::path::Path;
use std::time::Duration;

use super::*;

const README: &str = include_str!("../../README.md");
const MINIMAL: &str = r#"link = "l"
[source]
bootstrap_servers = ["s:1"]
[target]
bootstrap_servers = ["t:1"]
[[topics]]
include = ["*"]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let environment = |name: &str| match name {
        "BROKER" => Some("kafka-env:9093".to_owned()),
        "LANES" => Some("7".to_owned()),
        "BAD" => Some("hunter2".to_owned()),
        _ => None,
    };
    Config::parse(Path::new("conf/bridge.toml"), text, &environment)
}

fn error(text: &str) -> String {
    parse(text).expect_err("the config is wrong").to_string()
}

#[test]
fn the_readmes_blocks_are_valid_configs() {
    const HEAD: &str =
        "link = \"l\"\n[target]\nbootstrap_servers = [\"t:1\"]\n[source]\nbootstrap_servers = [\"s:1\"]\n";
    let blocks: Vec<_> = README.split("```toml\n").skip(1).filter_map(|it| it.split("```").next()).collect();
    let (whole, parts): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|it| it.starts_with("link = "));
    assert_eq!((whole.len(), parts.len()), (1, 2));
    let environment = |name: &str| (name == "REGISTRY_PASSWORD").then(|| "p".to_owned());
    let parse = |text: &str| {
        Config::parse(Path::new("conf/bridge.toml"), text, &environment).unwrap_or_else(|error| panic!("{error}"))
    };
    let config = parse(whole[0]);
    assert_eq!(config.link.as_str(), "orders-dmz");
    assert_eq!(config.source.tls.expect("TLS").ca_file, Path::new("conf/pki/source-ca.pem"));
    let part = parse(&format!("{HEAD}{}", parts[0]));
    assert!(part.source.registry.is_some() && part.topics[0].validation.is_some());
}

#[test]
fn the_readme_explains_every_key() {
    for key in KEYS.iter().filter(|key| !KEYS.iter().any(|other| other.starts_with(&format!("{key}.")))) {
        // Both ends have the same keys; they stand once, under the source's name.
        let documented = key.replace("target.bootstrap", "source.bootstrap").replace("target.client", "source.client");
        let documented = documented.replace("target.tls", "source.tls").replace("target.registry", "source.registry");
        assert!(README.contains(&format!("`{documented}`")), "the README does not explain `{documented}`");
    }
}

#[test]
fn the_smallest_config_has_the_documented_defaults() {
    let config = parse(MINIMAL).expect("valid");
    let delivery = &config.delivery;
    assert_eq!((delivery.lanes.get(), delivery.commit_interval), (1, Duration::from_millis(10)));
    assert_eq!((delivery.transaction_timeout_ms, delivery.request_timeout), (15_000, Duration::from_secs(5)));
    assert_eq!((delivery.memory_bytes_max, delivery.transaction_bytes_max), (20 << 20, 8 << 20));
    assert_eq!((delivery.transaction_protocol, delivery.log_append_time), (ProtocolChoice::Auto, LogAppendTime::Keep));
    assert_eq!((delivery.sharing, &delivery.instance_id), (Sharing::Off, &None));
    assert_eq!(delivery.session_timeout, Duration::from_secs(6));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Text, LogLevel::Info));
    assert_eq!((&config.topics[0].rename, config.topics[0].start), (&Rename::same(), Start::Earliest));
    assert!(
        config.source.tls.is_none() && config.target.replication_factor.is_none() && delivery.accept_weak.is_empty()
    );
    assert_eq!(config.link.ledger_topic(), "l.ledger");
    assert_eq!(config.link.transactional_id(3), "l.3");
    let shared = parse(&format!("{MINIMAL}[delivery]\nsharing = \"group\"\n")).expect("valid");
    assert_eq!(shared.delivery.lanes.get(), 2);
}

#[test]
fn what_is_shown_reads_back_as_the_same_config() {
    let full = r#"
link = "l"
[source]
bootstrap_servers = ["${BROKER}", "[::1]:2"]
client_id = "with \"quotes\" and $${dollars}"
tls = { ca_file = "/ca.pem", cert_file = "/c.pem", key_file = "/k.pem" }
[target]
bootstrap_servers = ["t:1"]
replication_factor = 3
tls.ca_file = "/ca.pem"
[[topics]]
include = ["a.*", 'regex:b\d+']
exclude = ["*.internal"]
rename = "dmz.{topic}"
start = 2026-01-31T00:00:00Z
[[topics]]
include = ["c", "d"]
rename = { c = "cc" }
start = "latest"
[[topics]]
include = ["e"]
rename = "ee"
key_schema = "/key.avsc"
value_schema = "registry:{topic}-value"
compatible_with = "/v1.avsc"
references = ["/address.avsc"]
on_invalid = "stop"
on_unknown_schema = "wait"
on_registry_down = "pass_unchecked"
schema_ids = "map"
rules = [
  { field = "a.b", required = true, max_length = 9 },
  { field = "n", min = -1, max = 2.5 },
  { field = "c", one_of = ["EUR", "a \"b\""] },
]
[[topics]]
include = ["f"]
value_schema = "/f.avsc"
framing = "single_object"
[delivery]
dead_letter_topic = "dlq"
lanes = "${LANES}"
transaction_protocol = "v1"
log_append_time = "create_time"
drain_timeout_ms = 0
accept_weak = ["target_retention"]
sharing = "group"
instance_id = ""
session_timeout_ms = 9000
[log]
format = "json"
level = "debug"
[console]
listen = "0.0.0.0:8080"
hosts = ["console.example.org"]
allow_public = true
"#;
    let config = parse(full).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.source.bootstrap_servers[0].to_string(), "kafka-env:9093");
    assert_eq!(config.delivery.lanes.get(), 7);
    assert_eq!(config.dead_letter_topic(), "dlq");
    let validation = config.topics[2].validation.as_ref().expect("a schema is named");
    assert_eq!(validation.value, Some(SchemaSource::Registry { subject: Some("{topic}-value".to_owned()) }));
    assert_eq!((validation.rules.len(), validation.rules[1].min), (3, Some(Number(-1.0))));
    assert_eq!(config.delivery.instance_id.as_deref(), Some(""));
    let mut again = parse(&config.to_string()).unwrap_or_else(|error| panic!("{error}\n{config}"));
    assert_ne!(again.places, config.places);
    again.places = config.places.clone();
    assert_eq!(again, config);
}

#[test]
fn what_would_check_nothing_is_refused() {
    let with = |lines: &str| error(&format!("{MINIMAL}{lines}\n"));
    for (lines, expected) in [
        ("on_invalid = \"stop\"", "topics[0].on_invalid: has no effect: no schema is named"),
        ("key_schema = \"k.avsc\"\nrules = [{ field = \"a\", required = true }]", "topics[0].rules: has no effect"),
        ("value_schema = \"v.avsc\"\nschema_ids = \"map\"", "topics[0].schema_ids: has no effect without a registry"),
        ("value_schema = \"registry\"\nframing = \"raw\"", "topics[0].framing: carries no id"),
        ("value_schema = \"registry:\"", "names no subject"),
        ("value_schema = \"v.avsc\"\nrules = [{ field = \"a\" }]", "topics[0].rules[0]: checks nothing"),
        ("value_schema = \"v.avsc\"\nrules = [{ field = \"a\", min = 2, max = 1 }]", "no number is within"),
        ("value_schema = \"v.avsc\"\nrules = [{ field = \"a\", min = nan }]", "not a finite decimal number"),
        ("value_schema = \"v.avsc\"\nrules = [{ field = \"a\", requird = true }]", "did you mean `required`?"),
        ("value_schema = \"v.avsc\"\nframing = \"confluence\"", "did you mean \"confluent\"?"),
    ] {
        let told = with(lines);
        assert!(told.contains(expected), "{lines}:\n{told}");
    }
}

/// Dead letters in the ledger would make it unreadable.
#[test]
fn dead_letters_do_not_go_into_the_ledger() {
    for name in ["l.ledger", "l_ledger"] {
        let told = error(&format!("{MINIMAL}[delivery]\ndead_letter_topic = {name:?}\n"));
        assert!(
            told.contains("bridge.toml:9:21: delivery.dead_letter_topic: is the name of the link's own ledger"),
            "{told}"
        );
    }
}

#[test]
fn an_instance_id_is_one_that_kafkas_clients_would_take() {
    let with = |id: &str| error(&format!("{MINIMAL}[delivery]\ninstance_id = {id:?}\n"));
    for wrong in ["a b", "höst", &"x".repeat(250)] {
        let told = with(wrong);
        assert!(told.contains("delivery.instance_id") && told.contains("cannot be an instance id"), "{told}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_line_key_and_remedy() {
    let text = error(
        "link = \"a b\"\n\
         [source]\n\
         bootstrap_servers = []\n\
         [source.tls]\n\
         cert_file = \"c.pem\"\n\
         [target]\n\
         bootstrap_servers = [\"kafka\", 7, \"${NOPE}:1\"]\n\
         replication_factor = 0\n\
         [[topics]]\n\
         include = [\"regex:(\"]\n\
         start = \"yesterday\"\n\
         [delivery]\n\
         comit_interval_ms = 10\n\
         lanes = 1025\n\
         request_timeout_ms = \"5s\"\n\
         accept_weak = [\"target_retenton\"]\n",
    );
    for expected in [
        "conf/bridge.toml:1:8: link: \"a b\" holds something besides",
        "conf/bridge.toml:3:21: source.bootstrap_servers: is empty",
        "conf/bridge.toml:4:1: source.tls.key_file: is missing",
        "conf/bridge.toml:4:1: source.tls.ca_file: is missing",
        "conf/bridge.toml:7:22: target.bootstrap_servers[0]: \"kafka\" has no port",
        "conf/bridge.toml:7:31: target.bootstrap_servers[1]: is a whole number, not a string",
        "conf/bridge.toml:7:34: target.bootstrap_servers[2]: the environment variable NOPE is not set",
        "conf/bridge.toml:8:22: target.replication_factor: is out of range",
        "conf/bridge.toml:10:12: topics[0].include[0]: \"regex:(\" is no regular expression: unclosed group",
        "conf/bridge.toml:11:9: topics[0].start: is no start",
        "conf/bridge.toml:13:1: delivery.comit_interval_ms: unknown key\n 13 | comit_interval_ms …\n    | ^^^^^^^^^^^^^^^^^\n    \
         = did you mean `commit_interval_ms`?",
        "conf/bridge.toml:14:9: delivery.lanes: is out of range\n 14 | lanes = 1025\n    |         ^^^^\n    = take a whole number from 1 to 1024",
        "conf/bridge.toml:15:22: delivery.request_timeout_ms: is a string, not a whole number",
        "did you mean \"target_retention\"?",
        "\n14 problems in the config",
    ] {
        assert!(text.contains(expected), "missing: {expected}\n---\n{text}");
    }
}

#[test]
fn an_empty_file_names_what_it_needs() {
    let text = error("");
    for expected in ["link: is missing", "source.bootstrap_servers: is missing, as is its table", "topics: is missing"]
    {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn wrong_shapes() {
    for (text, expected) in [
        ("[topics]\ninclude = [\"a\"]", "topics: is a table, not a list of tables"),
        ("topics = [1]", "topics[0]: is a whole number, not a table"),
        ("source = \"kafka:9092\"", "source: is a string, not a table"),
        ("[source]\nbootstrap_servers = \"kafka:9092\"", "source.bootstrap_servers: is a string, not a list"),
        ("[source]\n[source]", "not TOML: duplicate key"),
        ("link = orders", "not TOML: "),
        ("link = \"a\"\nlink = \"b\"", "not TOML: duplicate key"),
        ("lanes = 4", "`lanes` belongs into [delivery]"),
        ("[[topics]]\ninclude = []", "topics[0].include: is missing"),
        ("[[topics]]\ninclude = [\"a\", \"a\"]", "stands twice"),
        ("[[topics]]\ninclude = [\"a\"]\n[[topics]]\ninclude = [\"a\"]", "stands in an earlier [[topics]] already"),
        ("[[topics]]\ninclude = [\"a*\"]\nrename = \"x\"", "gives every topic the same name"),
        ("[[topics]]\ninclude = [\"a\"]\nrename = { a = \"x\", b = \"x\" }", "is the name of two topics"),
        ("[delivery]\nlanes = 99999999999999999999", "delivery.lanes: is out of range"),
        ("[delivery]\ncommit_interval_ms = 12_000", "reach transaction_timeout_ms"),
        ("[delivery]\ntransaction_bytes_max = 70_000_000", "is more than memory_bytes_max"),
        ("[log]\nlevel = \"verbose\"", "log.level: \"verbose\" is not known here"),
        ("[console]\nlisten = \"8080\"", "console.listen: \"8080\" has no port"),
        ("[console]\nlisten = \"0.0.0.0:8080\"", "console.listen: \"0.0.0.0:8080\" can be reached from other hosts"),
        ("[console]\nlisten = \"localhost:8080\"\nhosts = [\"https://a\"]", "\"https://a\" is no name of a host"),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "{text}: missing: {expected}\n---\n{error}");
    }
}

#[test]
fn what_came_from_the_environment_is_never_repeated() {
    let text = error(&MINIMAL.replace("s:1", "${BAD}").replace("[\"*\"]", "[\"regex:(${BAD}\"]"));
    assert!(text.contains("${BAD}") && !text.contains("hunter2"), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named_with_their_line() {
    let folder = std::env::temp_dir().join(format!("kafka-bridge-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("bridge.toml");
    std::fs::write(&file, MINIMAL.replace("[target]", "tls.ca_file = \"nope.pem\"\n[target]")).expect("written");
    let text = Config::load(&file).expect_err("the CA is missing").to_string();
    let expected =
        format!("{}:4:15: source.tls.ca_file: cannot read {}", file.display(), folder.join("nope.pem").display());
    assert!(text.contains(&expected), "{text}");
    std::fs::write(&file, b"link = \"\xff\"").expect("written");
    let text = Config::load(&file).expect_err("not UTF-8").to_string();
    assert!(text.contains(":1:9: is not UTF-8 here"), "{text}");
    let text = Config::load(&folder.join("none.toml")).expect_err("no file").to_string();
    assert!(text.contains("none.toml:1:1: cannot read it"), "{text}");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_place_is_known_for_later_errors() {
    let config = parse(MINIMAL).expect("valid");
    assert_eq!(
        config.place("target.bootstrap_servers").map(ToString::to_string).as_deref(),
        Some("conf/bridge.toml:5:21")
    );
    assert_eq!(config.place("target.tls.ca_file"), None);
}

const REGISTRY: &str = r#"
[source.registry]
urls = ["https://registry-1:8081/apis/ccompat/v7/", "https://registry-2"]
username = "bridge"
password = "${BAD}"
tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "/k.pem" }
[target.registry]
urls = ["http://registry"]
token = "${BAD}"
"#;

#[test]
fn registries_are_read_and_their_secrets_not_shown() {
    let config = parse(&format!("{MINIMAL}{REGISTRY}")).unwrap_or_else(|error| panic!("{error}"));
    let source = config.source.registry.as_ref().expect("a registry");
    let urls: Vec<_> = source.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["https://registry-1:8081/apis/ccompat/v7", "https://registry-2:443"]);
    let Some(RegistryCredentials::Basic { username, password }) = &source.credentials else { panic!("{source:?}") };
    assert_eq!((username.as_str(), password.reveal()), ("bridge", "hunter2"));
    let tls = source.tls.as_ref().expect("TLS");
    assert_eq!(tls.ca_file, Path::new("conf/ca.pem"));
    assert_eq!(tls.client.as_ref().map(|it| it.key_file.as_path()), Some(Path::new("/k.pem")));
    let target = config.target.end.registry.as_ref().expect("a registry");
    let Some(RegistryCredentials::Bearer { token }) = &target.credentials else { panic!("{target:?}") };
    assert_eq!((token.reveal(), &target.tls), ("hunter2", &None));
    for shown in [config.to_string(), format!("{config:?}"), format!("{config:#?}")] {
        assert!(shown.contains("registry-1") && !shown.contains("hunter2"), "{shown}");
    }
    // Relative paths would be joined a second time.
    let absolute = config.to_string().replace("\"conf/", "\"/conf/");
    let again = parse(&absolute).unwrap_or_else(|error| panic!("{error}\n{config}"));
    assert_eq!(again.to_string(), absolute);
    assert!(parse(MINIMAL).expect("valid").source.registry.is_none());
}

#[test]
fn a_wrong_registry_is_told_with_line_key_and_remedy() {
    for (table, expected) in [
        ("", "source.registry.urls: is missing"),
        ("urls = []", "source.registry.urls: is empty"),
        ("urls = \"http://r\"", "source.registry.urls: is a string, not a list"),
        ("url = [\"http://r\"]", "source.registry.url: unknown key"),
        ("url = [\"http://r\"]", "did you mean `urls`?"),
        (
            "urls = [\"registry:8081\"]",
            "conf/bridge.toml:9:9: source.registry.urls[0]: \"registry:8081\" does not begin",
        ),
        ("urls = [\"https://r\"]", "\"https://r\" is https, and there is no tls table"),
        ("urls = [\"https://r\"]", "add `[source.registry.tls]` with the ca_file"),
        ("urls = [\"http://r\"]\ntls.ca_file = \"ca.pem\"", "is not https, though there is a tls table"),
        ("urls = [\"https://r\"]\ntls.cert_file = \"c.pem\"", "source.registry.tls.key_file: is missing"),
        ("urls = [\"https://r\"]\ntls.ca = \"c.pem\"", "source.registry.tls.ca: unknown key"),
        ("urls = [\"http://r\"]\nusername = \"u\"", "source.registry.password: is missing"),
        ("urls = [\"http://r\"]\npassword = \"p\"", "source.registry.username: is missing"),
        ("urls = [\"http://r\"]\nusername = \"u:v\"\npassword = \"p\"", "source.registry.username: has a colon"),
        ("urls = [\"http://r\"]\ntoken = \"a\\n\"", "source.registry.token: holds a control character"),
        (
            "urls = [\"http://r\"]\nusername = \"u\"\npassword = \"p\"\ntoken = \"t\"",
            "stands beside username or password",
        ),
        ("urls = [\"http://r\"]\npassword = \"${NOPE}\"", "the environment variable NOPE is not set"),
    ] {
        let text = MINIMAL.replace("[target]", &format!("[source.registry]\n{table}\n[target]"));
        let error = error(&text.replace("link = \"l\"\n", "link = \"l\"\n\n\n\n\n"));
        assert!(error.contains(expected), "{table}: missing: {expected}\n---\n{error}");
    }
}

#[test]
fn a_url_with_a_password_is_refused_and_not_repeated() {
    for urls in
        ["[\"https://u:hunter2@r\"]", "[\"https://u:hunter2@r\", \"https:/r\"]", "[\n\"https://u:hunter2@r\",\n\"x\"]"]
    {
        let text = error(&MINIMAL.replace("[target]", &format!("[source.registry]\nurls = {urls}\n[target]")));
        assert!(text.contains("source.registry.urls[0]: holds a user name or password"), "{text}");
        assert!(text.contains("set `username` and `password") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_name_with_a_password_and_a_url_with_a_key_are_not_repeated() {
    for (table, told) in [
        ("username = \"bridge:hunter2\"\npassword = \"p\"\nurls = [\"http://r\"]", "username: has a colon"),
        ("username = [\"hunter2\"]\npassword = \"p\"\nurls = [\"http://r\"]", "username: is a list"),
        ("urls = [\"https://r?apikey=hunter2\"]", "urls[0]: has something behind the path"),
        ("urls = [\"https://r?hunter2\", \"x\"]", "urls[1]: \"x\" does not begin"),
        ("urls = [\"htps://r?hunter2\"]", "urls[0]: has something behind the path"),
        ("urls = [\"r?apikey=hunter2\"]", "urls[0]: has something behind the path"),
        ("urls = [\n\"https://r?hunter2=apikey\",\n]", "urls[0]: has something behind the path"),
        ("urls = [\n\"https://u:hunter2=1@r\",\n]", "urls[0]: holds a user name or password"),
    ] {
        let text = error(&MINIMAL.replace("[target]", &format!("[source.registry]\n{table}\n[target]")));
        assert!(text.contains(told) && !text.contains("hunter2"), "{table}: {text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_damage_to_a_valid_config_panics(at in 0_usize..200, with in "[\\[\\]{}\"'=.,\n a-z0-9$äß]{0,6}") {
        let mut text = MINIMAL.to_owned();
        let at = at.min(text.len());
        text.replace_range(at..(at + with.len()).min(text.len()), &with);
        let _ = parse(&text).map_err(|error| error.to_string());
    }
}
