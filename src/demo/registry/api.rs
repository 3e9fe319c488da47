//! Paths, statuses and JSON of Confluent's API.

use super::store::{Compatibility, Entry, Named, Store, Wrong};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn error(status: u16, code: i64, message: &str) -> Self {
        Self::of(status, &json!({ "error_code": code, "message": message }))
    }

    fn of(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes() }
    }
}

#[derive(Deserialize)]
struct Asked {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Named>,
}

pub(super) fn answer(
    store: &mut Store,
    compatibility: Compatibility,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Reply {
    let segments: Option<Vec<String>> = path.trim_start_matches('/').split('/').map(unescaped).collect();
    let segments = segments.unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["subjects"]) => Reply::of(200, &json!(store.subjects().collect::<Vec<_>>())),
        ("GET", ["schemas", "ids", id]) => of_id(store, id, |store, id| {
            let Entry { text, references } = store.schema(id)?;
            let mut shown = json!({ "schema": text });
            if !references.is_empty() {
                shown["references"] = json!(references);
            }
            Some(shown)
        }),
        ("GET", ["schemas", "ids", id, "versions"]) => of_id(store, id, |store, id| {
            store.schema(id)?;
            let place = |(subject, version): (&str, i32)| json!({ "subject": subject, "version": version });
            Some(store.places(id).into_iter().map(place).collect())
        }),
        ("GET", ["subjects", subject, "versions", version]) => version_of(store, subject, version),
        ("POST", ["subjects", subject]) => with_schema(body, |entry| {
            if store.subject(subject).is_none() {
                return no_subject(subject);
            }
            let Some((id, version)) = store.find(subject, &entry) else {
                return Reply::error(404, 40_403, "Schema not found");
            };
            Reply::of(200, &json!({ "subject": subject, "id": id, "version": version, "schema": entry.text }))
        }),
        ("POST", ["subjects", subject, "versions"]) => {
            with_schema(body, |entry| match store.register(subject, entry, compatibility) {
                Ok(id) => Reply::of(200, &json!({ "id": id })),
                Err(Wrong::Full) => Reply::error(500, 50_001, "Error in the backend data store: it is full"),
                Err(Wrong::Invalid(why)) => Reply::error(422, 42_201, &format!("Invalid schema: {why}")),
                Err(Wrong::NoReference(Named { name, subject, version })) => {
                    let why = format!("Invalid schema: no schema for {name} in subject {subject} version {version}");
                    Reply::error(422, 42_201, &why)
                }
                Err(Wrong::Incompatible(why)) => {
                    let why = format!("Schema being registered is incompatible with an earlier schema: {why}");
                    Reply::error(409, 409, &why)
                }
            })
        }
        _ => Reply::error(404, 404, "HTTP 404 Not Found"),
    }
}

fn of_id(store: &Store, id: &str, find: impl FnOnce(&Store, i32) -> Option<Value>) -> Reply {
    let found = id.parse().ok().and_then(|id| find(store, id));
    match found {
        Some(found) => Reply::of(200, &found),
        None => Reply::error(404, 40_403, &format!("Schema {id} not found")),
    }
}

fn version_of(store: &Store, subject: &str, version: &str) -> Reply {
    let number = match version {
        "latest" | "-1" => None,
        number => match number.parse::<i32>() {
            Ok(number) if number > 0 => Some(number),
            _ => {
                return Reply::error(
                    422,
                    42_202,
                    &format!("The specified version '{number}' is not a valid version id"),
                );
            }
        },
    };
    if store.subject(subject).is_none() {
        return no_subject(subject);
    }
    let found = store.version(subject, number).and_then(|(number, id)| Some((number, id, store.schema(id)?)));
    let Some((number, id, Entry { text, references })) = found else {
        return Reply::error(404, 40_402, &format!("Version {version} not found."));
    };
    let mut shown = json!({ "subject": subject, "version": number, "id": id, "schema": text });
    if !references.is_empty() {
        shown["references"] = json!(references);
    }
    Reply::of(200, &shown)
}

fn no_subject(subject: &str) -> Reply {
    Reply::error(404, 40_401, &format!("Subject '{subject}' not found."))
}

fn with_schema(body: &[u8], then: impl FnOnce(Entry) -> Reply) -> Reply {
    match serde_json::from_slice::<Asked>(body) {
        Err(error) => Reply::error(422, 422, &format!("Unrecognized request: {error}")),
        Ok(Asked { schema_type: Some(other), .. }) if other != "AVRO" => {
            Reply::error(422, 42_201, &format!("Invalid schema type {other}: this registry has Avro alone"))
        }
        Ok(Asked { schema, references, .. }) => {
            // Two texts that differ in blanks alone are one schema.
            then(Entry { text: compact(&schema), references })
        }
    }
}

/// Without the blanks between tokens; what is no JSON is not worse for it.
fn compact(text: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let keep = |it: &char| {
        let is_blank = !in_string && it.is_ascii_whitespace();
        in_string ^= *it == '"' && !is_escaped;
        is_escaped = in_string && *it == '\\' && !is_escaped;
        !is_blank
    };
    text.chars().filter(keep).collect()
}

fn unescaped(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = behind;
            continue;
        }
        let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(store: &mut Store, method: Method, path: &str, body: &str) -> (u16, Value) {
        let reply = answer(store, Compatibility::None, &method, path, body.as_bytes());
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    #[test]
    fn blanks_between_tokens_do_not_count() {
        assert_eq!(compact(" { \"a \\\" b\" :\n [ 1 , \"\\\\\" ] } "), r#"{"a \" b":[1,"\\"]}"#);
    }

    #[test]
    fn answers_as_the_documented_api() {
        let mut store = Store::default();
        let body = r#"{"schema":" \"int\" "}"#;
        let (status, told) = ask(&mut store, Method::POST, "/subjects/a%2Fb/versions", body);
        assert_eq!((status, told), (200, json!({ "id": 1 })));
        assert_eq!(ask(&mut store, Method::GET, "/subjects", "").1, json!(["a/b"]));
        assert_eq!(ask(&mut store, Method::GET, "/schemas/ids/1", "").1, json!({ "schema": "\"int\"" }));
        let versions = ask(&mut store, Method::GET, "/schemas/ids/1/versions", "").1;
        assert_eq!(versions, json!([{ "subject": "a/b", "version": 1 }]));
        let latest = ask(&mut store, Method::GET, "/subjects/a%2Fb/versions/latest", "").1;
        assert_eq!(latest, json!({ "subject": "a/b", "version": 1, "id": 1, "schema": "\"int\"" }));
        assert_eq!(ask(&mut store, Method::POST, "/subjects/a%2Fb", body).1["id"], 1);
        for (method, path, body, status, code) in [
            (Method::GET, "/schemas/ids/2", "", 404, 40_403),
            (Method::GET, "/schemas/ids/x/versions", "", 404, 40_403),
            (Method::GET, "/subjects/c/versions/1", "", 404, 40_401),
            (Method::GET, "/subjects/a%2Fb/versions/2", "", 404, 40_402),
            (Method::GET, "/subjects/a%2Fb/versions/x", "", 422, 42_202),
            (Method::POST, "/subjects/a%2Fb", r#"{"schema":"\"long\""}"#, 404, 40_403),
            (Method::POST, "/subjects/c", body, 404, 40_401),
            (Method::POST, "/subjects/c/versions", r#"{"schema":"{"}"#, 422, 42_201),
            (Method::POST, "/subjects/c/versions", r#"{"schema":"x","schemaType":"JSON"}"#, 422, 42_201),
            (Method::POST, "/subjects/c/versions", "[", 422, 422),
            (Method::GET, "/nothing", "", 404, 404),
            (Method::GET, "/subjects/%zz/versions/1", "", 404, 404),
        ] {
            let (told, body) = ask(&mut store, method, path, body);
            assert_eq!((told, &body["error_code"]), (status, &json!(code)), "{path}: {body}");
        }
    }
}
