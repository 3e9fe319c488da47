//! The specification, case by case: what is taken, and each fault with its place.

use super::testing::{check, hex, long, parse, rule, schema, told};
use super::walk::{DEPTH_MAX, EMPTY_ITEMS_MAX};
use super::{Check, Fault, FaultKind, SchemaError, Validator};
use serde_json::json;

fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#)
}

fn array(items: &str) -> String {
    format!(r#"{{"type": "array", "items": {items}}}"#)
}

fn logical(of: &str, logical: &str) -> String {
    format!(r#"{{"type": "{of}", "logicalType": "{logical}"}}"#)
}

#[test]
fn what_is_valid() {
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    let of = |items: &str| array(items);
    for (schema, datum) in [
        (r#""null""#, ""),
        (r#""boolean""#, "00"),
        (r#""boolean""#, "01"),
        // Of the specification: 0, -1, 1, -2, 2, -64, 64.
        (r#""int""#, "00"),
        (r#""long""#, "7f"),
        (r#""int""#, "8001"),
        // The smallest and the largest.
        (r#""int""#, "ffffffff0f"),
        (r#""long""#, "ffffffffffffffffff01"),
        (r#""long""#, "feffffffffffffffff01"),
        // Longer than need be, as Java takes it.
        (r#""int""#, "8000"),
        (r#""int""#, "8080808000"),
        (r#""long""#, "80808080808080808000"),
        (r#""float""#, "0000c07f"),
        (r#""double""#, "182d4454fb210940"),
        (r#""bytes""#, "04ff00"),
        // "foo", of the specification.
        (r#""string""#, "06666f6f"),
        (r#""string""#, "08f09f9491"),
        (&record(r#"{"name": "a", "type": "long"}, {"name": "b", "type": "string"}"#), "3606666f6f"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "B", "C", "D"]}"#, "06"),
        (&of(r#""long""#), "04063600"),
        (&of(r#""long""#), "00"),
        // In two blocks, with and without a size.
        (&of(r#""long""#), "020601023600"),
        (&of(r#""long""#), "0304063600"),
        (r#"{"type": "map", "values": "int"}"#, "020261020202610100"),
        (r#"{"type": "map", "values": "int"}"#, "010602610200"),
        (r#"["null", "string"]"#, "00"),
        (r#"["null", "string"]"#, "020261"),
        (r#"{"type": "fixed", "name": "F", "size": 3}"#, "616263"),
        (decimal, "02ff"),
        (decimal, "04270f"),
        (decimal, "04d8f1"),
        (decimal, "0a0000000001"),
        (&logical("string", "uuid"), "4830303030303030312d313131312d343232322d383333332d303030303030303030304146"),
        (&logical("int", "date"), "ffffffff0f"),
        (&logical("int", "time-millis"), "feefb252"),
        (&logical("long", "time-micros"), "00"),
        (&logical("long", "timestamp-micros"), "ffffffffffffffffff01"),
        (&logical("bytes", "big-decimal"), "0602057e"),
    ] {
        assert_eq!(check(schema, &hex(datum)), Ok(()), "{schema} {datum}");
    }
}

/// Name, path, byte.
type Told = (&'static str, String, usize);

/// Schema, datum, and the fault.
fn faults() -> Vec<(String, Vec<u8>, Told)> {
    let two =
        record(&format!(r#"{{"name": "a", "type": "int"}}, {{"name": "b", "type": {}}}"#, array(r#"["null", "int"]"#)));
    let map = r#"{"type": "map", "values": {"type": "map", "values": "string"}}"#;
    let decimal = |of: &str| format!(r#"{{"type": {of}, "logicalType": "decimal", "precision": 4, "scale": 2}}"#);
    let fixed = r#"{"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 4}"#;
    let cases: &[(&str, &str, (&'static str, &str, usize))] = &[
        (r#""int""#, "", ("truncated", "", 0)),
        (r#""int""#, "80", ("truncated", "", 0)),
        (r#""double""#, "00000000000000", ("truncated", "", 0)),
        (r#""string""#, "0461", ("truncated", "", 0)),
        (&two, "0002", ("truncated", "b[0]", 2)),
        (&two, "00020202", ("truncated", "b", 4)),
        (r#""null""#, "00", ("trailing_bytes", "", 0)),
        (&two, "000000", ("trailing_bytes", "", 2)),
        // 33 bits, 6 bytes, 65 bits, 11 bytes.
        (r#""int""#, "ffffffff1f", ("varint", "", 0)),
        (r#""int""#, "808080808000", ("varint", "", 0)),
        (r#""long""#, "ffffffffffffffffff03", ("varint", "", 0)),
        (r#""long""#, "8080808080808080808000", ("varint", "", 0)),
        (r#""boolean""#, "02", ("boolean", "", 0)),
        (r#""string""#, "02ff", ("utf8", "", 0)),
        // Longer than its code point needs.
        (r#""string""#, "04c080", ("utf8", "", 0)),
        (map, "0202610203", ("negative_length", "{\"a\"}{key 0}", 4)),
        (map, "020261020262", ("truncated", "{\"a\"}{\"b\"}", 6)),
        (r#""bytes""#, "01", ("negative_length", "", 0)),
        (&two, "000204", ("union_index", "b[0]", 2)),
        (&two, "000201", ("union_index", "b[0]", 2)),
        // An index is an int.
        (&two, "00028080808080808000", ("varint", "b[0]", 2)),
        (r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#, "02", ("enum_index", "", 0)),
        (r#"[]"#, "00", ("union_index", "", 0)),
        (&array(r#""long""#), "010403 00", ("block_size", "", 0)),
        (&array(r#""long""#), "0103 0600", ("block_size", "", 1)),
        (&array(r#""long""#), "01ff01 0600", ("block_size", "", 1)),
        (&array(r#""long""#), "0110 0600", ("truncated", "", 1)),
        (&decimal(r#""bytes""#), "00", ("decimal", "", 0)),
        (&decimal(r#""bytes""#), "042710", ("decimal", "", 0)),
        (&decimal(r#""bytes""#), "04d8f0", ("decimal", "", 0)),
        (fixed, "2710", ("decimal", "", 0)),
        (&logical("bytes", "big-decimal"), "040205", ("decimal", "", 0)),
        (&logical("bytes", "big-decimal"), "040000", ("decimal", "", 0)),
        (&logical("bytes", "big-decimal"), "08020500 00", ("decimal", "", 0)),
        (&logical("string", "uuid"), "00", ("uuid", "", 0)),
        (&logical("int", "time-millis"), "01", ("time_of_day", "", 0)),
        (&logical("int", "time-millis"), "80f0b252", ("time_of_day", "", 0)),
        (&logical("long", "time-micros"), "8080bbdd8305", ("time_of_day", "", 0)),
    ];
    let case = |it: &(&str, &str, (&'static str, &str, usize))| {
        (it.0.to_owned(), hex(&it.1.replace(' ', "")), (it.2.0, it.2.1.to_owned(), it.2.2))
    };
    cases.iter().map(case).collect()
}

#[test]
fn each_fault_has_its_place() {
    for (schema, datum, expected) in faults() {
        assert_eq!(told(check(&schema, &datum)), Some(expected), "{schema} {datum:02x?}");
    }
}

/// Or the cases would prove nothing.
#[test]
fn a_check_that_is_left_out_is_missed() {
    for kind in FaultKind::ALL {
        let is_told_elsewhere = matches!(kind.name(), "truncated" | "negative_length" | "union_index" | "too_deep");
        if is_told_elsewhere || kind == FaultKind::TooManyItems || kind.name().starts_with("rule_") {
            continue;
        }
        let is_missed = |(text, datum, expected): (String, Vec<u8>, Told)| {
            let validator = Validator::compile(&schema(&text), &[]).unwrap();
            let mut walk = validator.walk(&datum);
            walk.without = Some(kind);
            let verdict = walk.datum();
            expected.0 == kind.name() && verdict != Err(kind)
        };
        assert!(faults().into_iter().any(is_missed), "{}", kind.name());
    }
}

#[test]
fn a_fault_is_told_to_people() {
    let schema = record(&format!(r#"{{"name": "a", "type": {}}}"#, array(r#""boolean""#)));
    let fault = check(&schema, &[4, 1, 2, 0]).unwrap_err();
    assert_eq!(fault.to_string(), "a[1]: a boolean is neither 0 nor 1 (byte 2)");
    assert_eq!(check("\"null\"", &[7]).unwrap_err().to_string(), "the datum: bytes are left behind the datum (byte 0)");
    let names: std::collections::BTreeSet<_> = FaultKind::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), FaultKind::ALL.len());
    // A key is the sender's, and may be of any length.
    let map = r#"{"type": "map", "values": "boolean"}"#;
    let key = "é".repeat(1_000);
    let datum = [&[2][..], &long(2_000), key.as_bytes(), &[2]].concat();
    assert_eq!(check(map, &datum).unwrap_err().path, format!("{{\"{}\"…}}", "é".repeat(64)));
}

fn list() -> String {
    record(r#"{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "R"]}"#)
}

#[test]
fn depth_has_a_limit_and_no_stack() {
    let validator = Validator::compile(&schema(&list()), &[]).unwrap();
    let deep = |links: usize| [[0, 2].repeat(links), vec![0, 0]].concat();
    // A record and a union for each link, and the last record's null.
    let most = DEPTH_MAX as usize / 2 - 1;
    assert_eq!(validator.check(&deep(most)), Ok(()));
    let json = schema(&list()).to_json(&deep(most)).unwrap();
    let text = json.to_string();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), json, "parsers of JSON read it");
    let fault = validator.check(&deep(most + 1)).unwrap_err();
    assert_eq!((fault.kind, fault.at), (FaultKind::TooDeep, 2 * (most + 1)));
    assert_eq!(fault.path, ["next"; DEPTH_MAX as usize / 2].join("."));
    assert_eq!(validator.check(&[0, 2].repeat(1 << 20)).unwrap_err().kind, FaultKind::TooDeep);
    // No byte leads into this one, and no datum out.
    let endless = record(r#"{"name": "self", "type": "R"}"#);
    assert_eq!(check(&endless, &[]).unwrap_err().kind, FaultKind::TooDeep);
    let nested = record(&format!(r#"{{"name": "a", "type": {}}}"#, array(r#""R""#)));
    assert_eq!(check(&nested, &[2].repeat(1 << 20)).unwrap_err().kind, FaultKind::TooDeep);
}

/// Values walked, whatever is claimed.
fn steps(validator: &Validator, datum: &[u8]) -> (Result<(), FaultKind>, u64) {
    let mut walk = validator.walk(datum);
    let verdict = walk.datum();
    (verdict, walk.steps)
}

#[test]
fn what_a_datum_claims_costs_nothing() {
    let compile = |text: &str| Validator::compile(&schema(text), &[]).unwrap();
    let nothing = r#"{"type": "record", "name": "N", "fields": [{"name": "a", "type": "null"},
        {"name": "b", "type": {"type": "fixed", "name": "F", "size": 0}}]}"#;
    for items in ["\"null\"", nothing, r#"{"type": "fixed", "name": "F", "size": 0}"#] {
        let validator = compile(&array(items));
        let claimed = |count: i64| [long(count), vec![0]].concat();
        let (verdict, cost) = steps(&validator, &claimed(1 << 60));
        assert_eq!((verdict, cost), (Err(FaultKind::TooManyItems), 1));
        assert_eq!(steps(&validator, &claimed(EMPTY_ITEMS_MAX as i64)), (Ok(()), 1));
        assert_eq!(steps(&validator, &claimed(EMPTY_ITEMS_MAX as i64 + 1)).0, Err(FaultKind::TooManyItems));
        // All arrays of the datum together, and all blocks.
        let twice = [long(40_000), long(40_000), vec![0]].concat();
        assert_eq!(steps(&validator, &twice).0, Err(FaultKind::TooManyItems));
        assert_eq!(steps(&validator, &[long(i64::MIN), vec![0, 0]].concat()).0, Err(FaultKind::TooManyItems));
    }
    let several = compile(&array(&array("\"null\"")));
    let datum = [long(9), [long(10_000), vec![0]].concat().repeat(9), vec![0]].concat();
    assert_eq!(steps(&several, &datum).0, Err(FaultKind::TooManyItems));

    for (text, item) in [("\"int\"", 1), ("\"string\"", 1), (r#"["null", "int"]"#, 2)] {
        let validator = compile(&array(text));
        for count in [1 << 60, i64::MAX, i64::MIN] {
            let size = if count < 0 { long(100) } else { Vec::new() };
            let datum = [long(count), size, vec![0; 100]].concat();
            let (verdict, cost) = steps(&validator, &datum);
            assert_eq!(verdict, Err(FaultKind::Truncated));
            assert!(cost <= 1 + 101 * item, "{text}: {cost}");
        }
    }
    // Types within types, each twice: 2^40 nulls without a byte.
    let doubled = (0..40).fold("\"null\"".to_owned(), |inner, level| {
        let first = format!(r#"{{"name": "a", "type": {inner}}}"#);
        let second = if level == 0 { "\"null\"".to_owned() } else { format!("\"N{}\"", level - 1) };
        format!(r#"{{"type": "record", "name": "N{level}", "fields": [{first}, {{"name": "b", "type": {second}}}]}}"#)
    });
    assert_eq!(steps(&compile(&doubled), &[]), (Ok(()), 1));
    // Strings of which only the length is there.
    let (verdict, cost) = steps(&compile("\"string\""), &long(i64::MAX));
    assert_eq!((verdict, cost), (Err(FaultKind::Truncated), 1));
}

const ORDER: &str = r#"{"type": "record", "name": "O", "fields": [
    {"name": "id", "type": "string"},
    {"name": "note", "type": ["null", "string"]},
    {"name": "state", "type": {"type": "enum", "name": "S", "symbols": ["A", "B", "C"]}},
    {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "I", "fields": [
        {"name": "price", "type": ["null", "double", "long"]}]}}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "parent", "type": ["null", "O"]}]}"#;

fn order(changes: serde_json::Value) -> Vec<u8> {
    let mut order = json!({"id": "x", "note": "n", "state": "A", "total": "5.00", "items": [{"price": {"double": 1.5}}],
        "tags": {"k": "v"}, "parent": null});
    for (name, value) in changes.as_object().unwrap() {
        order[name] = value.clone();
    }
    schema(ORDER).encode_json(&order).unwrap()
}

#[test]
fn rules_are_kept() {
    let range = |min: Option<f64>, max: Option<f64>| Check::Range { min, max };
    let one_of = |values: &[&str]| Check::OneOf(values.iter().map(|it| (*it).to_owned()).collect());
    let parent =
        json!({"id": "", "note": null, "state": "C", "total": "-0.01", "items": [], "tags": {}, "parent": null});
    let cases = [
        ("id", Check::Required, json!({}), json!({"id": ""}), "rule_required", "id"),
        ("note", Check::Required, json!({}), json!({"note": null}), "rule_required", "note"),
        ("note", Check::Required, json!({}), json!({"note": ""}), "rule_required", "note"),
        ("items", Check::Required, json!({}), json!({"items": []}), "rule_required", "items"),
        ("tags", Check::Required, json!({}), json!({"tags": {}}), "rule_required", "tags"),
        ("parent", Check::Required, json!({"parent": parent}), json!({}), "rule_required", "parent"),
        (
            "items[].price",
            Check::Required,
            json!({"items": []}),
            json!({"items": [{"price": null}]}),
            "rule_required",
            "items[0].price",
        ),
        (
            "items[].price",
            range(Some(0.0), Some(2.0)),
            json!({}),
            json!({"items": [{"price": {"double": 2.5}}]}),
            "rule_range",
            "items[0].price",
        ),
        (
            "items[].price",
            range(None, Some(2.0)),
            json!({"items": [{"price": null}]}),
            json!({"items": [{"price": {"long": 3}}]}),
            "rule_range",
            "items[0].price",
        ),
        (
            "items[].price",
            range(None, None),
            json!({}),
            json!({"items": [{"price": {"double": "NaN"}}]}),
            "rule_range",
            "items[0].price",
        ),
        ("total", range(Some(0.0), None), json!({"total": "0.00"}), json!({"total": "-0.01"}), "rule_range", "total"),
        ("state", one_of(&["A", "B", "Z"]), json!({"state": "B"}), json!({"state": "C"}), "rule_one_of", "state"),
        ("note", one_of(&["n", "m"]), json!({"note": null}), json!({"note": "o"}), "rule_one_of", "note"),
        ("tags{}", one_of(&["v"]), json!({}), json!({"tags": {"k": "w"}}), "rule_one_of", "tags{\"k\"}"),
        ("note", Check::MaxLength(3), json!({"note": "äöü"}), json!({"note": "äöüß"}), "rule_max_length", "note"),
        (
            "items",
            Check::MaxLength(1),
            json!({}),
            json!({"items": [{"price": null}, {"price": null}]}),
            "rule_max_length",
            "items",
        ),
        ("tags", Check::MaxLength(0), json!({"tags": {}}), json!({}), "rule_max_length", "tags"),
        ("parent.id", Check::Required, json!({}), json!({"parent": parent}), "rule_required", "parent.id"),
        (
            "parent.total",
            range(Some(0.0), None),
            json!({"total": "-1.00"}),
            json!({"parent": parent}),
            "rule_range",
            "parent.total",
        ),
    ];
    for (path, check, good, bad, name, place) in cases {
        let validator = Validator::compile(&schema(ORDER), &[rule(path, check.clone())]).unwrap();
        assert_eq!(validator.check(&order(good)), Ok(()), "{path} {check:?}");
        let fault: Fault = validator.check(&order(bad)).unwrap_err();
        assert_eq!((fault.kind.name(), fault.path.as_str()), (name, place), "{check:?}");
        // Without the rule the datum is fine.
        let datum = order(json!({}));
        assert_eq!(Validator::compile(&schema(ORDER), &[]).unwrap().check(&datum), Ok(()));
    }
}

#[test]
fn several_rules_of_one_field_all_count() {
    let rules = [
        rule("id", Check::Required),
        rule("id", Check::MaxLength(2)),
        rule("parent.parent.id", Check::OneOf(vec!["q".to_owned()])),
        rule("", Check::Required),
    ];
    let validator = Validator::compile(&schema(ORDER), &rules).unwrap();
    assert_eq!(validator.check(&order(json!({"id": "ab"}))), Ok(()));
    assert_eq!(validator.check(&order(json!({"id": ""}))).unwrap_err().kind, FaultKind::RuleRequired);
    assert_eq!(validator.check(&order(json!({"id": "abc"}))).unwrap_err().kind, FaultKind::RuleMaxLength);
    // Malformed bytes within what a rule looks at are told as such.
    let mut datum = order(json!({}));
    datum[1] = 0xff;
    assert_eq!(validator.check(&datum).unwrap_err().kind, FaultKind::Utf8);
}

#[test]
fn a_rule_that_nothing_can_meet_is_refused() {
    let told = |path: &str, check: Check| match Validator::compile(&schema(ORDER), &[rule(path, check)]) {
        Err(SchemaError::Rule { path, reason }) => format!("{path}: {reason}"),
        other => panic!("{other:?}"),
    };
    let range = Check::Range { min: Some(2.0), max: Some(1.0) };
    assert_eq!(told("idd", Check::Required), "idd: the schema has nothing there");
    assert_eq!(told("items.price", Check::Required), "items.price: the schema has nothing there");
    assert_eq!(told("items[].price.x", Check::Required), "items[].price.x: the schema has nothing there");
    assert_eq!(told("id", Check::Range { min: None, max: None }), "id: `range` says nothing of the type string");
    assert_eq!(told("total", Check::MaxLength(1)), "total: `max_length` says nothing of the type bytes");
    assert_eq!(told("total", range), "total: its range holds no number");
    assert_eq!(told("items[]price", Check::Required), "items[]price: `.`, `[]` or `{}` is missing before `price`");
    assert_eq!(told("a..b", Check::Required), "a..b: a field's name is missing before `.b`");
    assert_eq!(told("items[3]", Check::Required), "items[3]: `.`, `[]` or `{}` is missing before `[3]`");
    assert!(told(&["parent"; 61].join("."), Check::Required).contains("60 parts at most"));
    assert!(parse(ORDER).is_ok());
}

#[test]
fn json_is_read_with_and_without_branches() {
    let text = record(
        r#"{"name": "a", "type": ["null", "string"], "default": null},
           {"name": "b", "type": ["int", "long", "string"], "default": 3},
           {"name": "c", "type": {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}, "default": "\u0005"}"#,
    );
    let schema = schema(&text);
    let shown = |json: serde_json::Value| schema.encode_json(&json).map(|it| schema.to_json(&it).unwrap());
    let full = json!({"a": "x", "b": {"int": 3}, "c": "0.5"});
    assert_eq!(shown(full.clone()), Ok(full.clone()));
    assert_eq!(shown(json!({"a": {"string": "x"}})), Ok(full.clone()));
    assert_eq!(shown(json!({"a": "x", "b": {"int": 3}, "c": 0.5})), Ok(full));
    let told = |json: serde_json::Value| schema.encode_json(&json).unwrap_err().to_string();
    assert_eq!(told(json!({"b": 3})), "b: 3 can be int or long: write {\"int\": …}");
    assert_eq!(shown(json!({"b": 5_000_000_000_i64})).unwrap()["b"], json!({"long": 5_000_000_000_i64}));
    assert_eq!(told(json!({"b": true})), "b: true is none of the union: int, long, string");
    assert_eq!(told(json!({"a": 1})), "a: 1 is no string");
    assert_eq!(told(json!({"c": "1.25"})), "c: \"1.25\" is no decimal of 3 digits, 1 of them behind the point");
    assert_eq!(told(json!({"c": "100.0"})), "c: \"100.0\" is no decimal of 3 digits, 1 of them behind the point");
    assert_eq!(told(json!({"d": 1})), "d: R has no such field");
    assert_eq!(told(json!([])), "the datum: [] is no R");
    let order = super::testing::schema(ORDER);
    assert_eq!(
        order.encode_json(&json!({})).unwrap_err().to_string(),
        "id: it is missing, and the schema has no default"
    );
    let nested =
        json!({"id": "", "note": null, "state": "A", "total": "0", "items": [{"price": null}, {"price": "x"}]});
    assert_eq!(order.encode_json(&nested).unwrap_err().path, "items[1].price");
    let nested = json!({"id": "", "note": null, "state": "A", "total": "0", "items": [], "tags": {"k": 1}});
    assert_eq!(order.encode_json(&nested).unwrap_err().path, "tags{\"k\"}");
    // The bare map would be read as the branch of that name.
    let map = super::testing::schema(r#"["null", {"type": "map", "values": "int"}]"#);
    for json in [json!({"map": {"map": 1}}), json!({"a": 1}), json!({}), json!(null)] {
        assert_eq!(map.to_json(&map.encode_json(&json).unwrap()).unwrap(), json);
    }
}

#[test]
fn defaults_and_unions_without_end_end() {
    let defaults = record(r#"{"name": "a", "type": "R", "default": {}}, {"name": "b", "type": "R", "default": {}}"#);
    assert!(schema(&defaults).encode_json(&json!({})).unwrap_err().why.contains("too"));
    let of = |name: &str, branches: &str| {
        format!(r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "x", "type": ["int", {branches}]}}]}}"#)
    };
    // Three records alike: each level of the JSON can be each of them.
    let (second, third) = (of("B", "\"A\""), of("C", r#""A", "B""#));
    let schema = schema(&of("A", &format!("\"A\", {second}, {third}")));
    let deep = (0..50).fold(json!({"x": true}), |inner, _| json!({ "x": inner }));
    assert!(schema.encode_json(&deep).is_err());
}
