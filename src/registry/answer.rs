//! What is asked, and what an answer's status, code and JSON mean.

use super::{Reference, RegistryError};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Of a registry's own words, in an error.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// One request of the API.
pub(super) struct Asked {
    pub(super) method: Method,
    /// Below the registry's prefix, escaped.
    pub(super) path: String,
    pub(super) body: Bytes,
    /// What is asked for, in an error: `schema id 7`.
    pub(super) what: String,
}

#[derive(Serialize)]
struct NewSchema<'a> {
    schema: &'a str,
    // Neither is written without need: registries before 5.5 refuse what they do not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
}

impl Asked {
    pub(super) fn get(path: String, what: String) -> Self {
        Self { method: Method::GET, path, body: Bytes::new(), what }
    }

    pub(super) fn post(path: String, what: String, schema: &str, references: &[Reference]) -> Self {
        // Strings and numbers always become JSON.
        let body = serde_json::to_vec(&NewSchema { schema, references }).unwrap_or_default();
        Self { method: Method::POST, path, body: body.into(), what }
    }
}

/// `GET /schemas/ids/{id}` and `GET /subjects/{subject}/versions/{version}`.
#[derive(Debug, Deserialize)]
pub(super) struct Schema {
    pub(super) schema: String,
    #[serde(rename = "schemaType")]
    pub(super) schema_type: Option<String>,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) references: Vec<Reference>,
}

/// Some write `"references": null`.
fn or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Reference>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `POST /subjects/{subject}`.
#[derive(Deserialize)]
pub(super) struct Versioned {
    pub(super) version: i32,
}

#[derive(Deserialize)]
pub(super) struct Identified {
    pub(super) id: i32,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    pub(super) subject: String,
    pub(super) version: i32,
}

#[derive(Default, Deserialize)]
struct Complaint {
    error_code: Option<i64>,
    message: Option<String>,
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Whose answer it is.
pub(super) struct Answerer {
    pub(super) end: &'static str,
    pub(super) url: Arc<str>,
    /// What the config says of who asks.
    pub(super) has_credentials: bool,
}

/// The error that an answer is; None: it is none. `location`: where it redirects to.
pub(super) fn error_of(
    asked: &Asked,
    by: &Answerer,
    status: StatusCode,
    location: Option<&str>,
    body: &[u8],
) -> Option<RegistryError> {
    if status.is_success() {
        return None;
    }
    let (end, url, what) = (by.end, Arc::clone(&by.url), Arc::from(asked.what.as_str()));
    let complaint: Option<Complaint> = serde_json::from_slice(body).ok();
    let code = complaint.as_ref().and_then(|it| it.error_code);
    let message = complaint.and_then(|it| it.message).unwrap_or_default();
    let message: Arc<str> = match cut(&message) {
        message if message.is_empty() => format!("HTTP {status}").into(),
        message => message.into(),
    };
    let number = status.as_u16();
    let error = match number {
        // Not followed: the credentials would go where the config does not say.
        300..=399 => {
            let to = location.map(|it| format!(" to {}", cut(it))).unwrap_or_default();
            let reason =
                format!("redirects{to}. If that is the registry, name it in urls: redirects are not followed").into();
            RegistryError::NotRegistry { end, url, reason }
        }
        401 | 403 => {
            let remedy = match (number, by.has_credentials) {
                (401, true) => "It does not know them: correct username and password, or token, in the registry table",
                (401, false) => "It wants to know who asks: set username and password, or token, in the registry table",
                _ if asked.method == Method::GET => "Grant who asks to read it",
                _ => "Grant who asks to write it",
            };
            RegistryError::Refused { end, url, what, status: number, message, remedy: remedy.into() }
        }
        // 404 alone is any web server's word for a path that it does not have.
        404 if code.is_some_and(|it| (40_401..=40_499).contains(&it)) => {
            RegistryError::Unknown { end, url, what, message }
        }
        408 | 429 | 500..=599 => {
            let reason = format!("answers {number} to {}: {message}", asked.what).into();
            RegistryError::Unreachable { end, url, reason }
        }
        404 | 405 => {
            let reason = format!("has no {}: {message}. {PATH}", cut(&asked.path)).into();
            RegistryError::NotRegistry { end, url, reason }
        }
        _ => {
            let remedy = match number {
                409 => "Change the schema so that it is compatible, or the subject's compatibility level",
                422 => "Correct the schema, or what it refers to",
                _ => "Correct what the message names",
            };
            let code = code.unwrap_or(i64::from(number));
            RegistryError::Rejected { end, url, what, code, message, remedy }
        }
    };
    Some(error)
}

/// What to look at when something else answers.
pub(super) const PATH: &str =
    "Is it a schema registry, and is the path before /subjects in urls? Apicurio's is /apis/ccompat/v7";

/// What comes from a network may be long, and hold what a terminal takes for commands.
fn cut(text: &str) -> String {
    let text: String =
        text.chars().take(MESSAGE_CHARACTERS_MAX).map(|it| if it.is_control() { ' ' } else { it }).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> RegistryError {
        let asked = Asked::get("/schemas/ids/7".to_owned(), "schema id 7".to_owned());
        let by = Answerer { end: "source", url: "https://r:1/x".into(), has_credentials: false };
        error_of(&asked, &by, StatusCode::from_u16(status).unwrap(), Some("http://a/\u{1b}[31m"), body.as_bytes())
            .unwrap()
    }

    #[test]
    fn each_status_has_its_meaning() {
        let unknown = of(404, r#"{"error_code":40403,"message":"Schema 7 not found"}"#);
        assert!(unknown.is_unknown() && !unknown.is_retriable());
        assert_eq!(
            unknown.to_string(),
            "source: the schema registry https://r:1/x has no schema id 7: Schema 7 not found"
        );
        for body in [r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, "<html>", ""] {
            let told = of(404, body);
            assert!(matches!(told, RegistryError::NotRegistry { .. }) && !told.is_unknown(), "{told}");
        }
        for (status, remedy) in [(401, "set username and password"), (403, "Grant who asks to read it")] {
            let told = of(status, "");
            assert!(matches!(told, RegistryError::Refused { .. }) && told.to_string().contains(remedy), "{told}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(of(status, r#"{"error_code":50001,"message":"m"}"#).is_retriable(), "{status}");
        }
        assert!(of(409, r#"{"error_code":409,"message":"m"}"#).to_string().contains("compatible"));
        assert!(of(422, r#"{"error_code":42201,"message":"m"}"#).to_string().contains("(42201): m"));
        let redirected = of(302, "").to_string();
        assert!(redirected.contains("redirects to http://a/") && !redirected.contains('\u{1b}'), "{redirected}");
    }

    #[test]
    fn a_long_message_is_cut() {
        let told = of(500, &format!(r#"{{"message":"{}"}}"#, "x".repeat(100_000)));
        assert!(told.to_string().len() < 600);
    }

    #[test]
    fn only_what_is_needed_is_sent() {
        let plain = Asked::post(String::new(), String::new(), "\"int\"", &[]);
        assert_eq!(plain.body, r#"{"schema":"\"int\""}"#);
        let reference = Reference { name: "a.B".to_owned(), subject: "b".to_owned(), version: 2 };
        let with = Asked::post(String::new(), String::new(), "x", &[reference]);
        assert_eq!(with.body, r#"{"schema":"x","references":[{"name":"a.B","subject":"b","version":2}]}"#);
    }

    #[test]
    fn shapes_of_real_registries_are_read() {
        for text in [
            r#"{"schema":"\"int\""}"#,
            r#"{"schema":"\"int\"","schemaType":"AVRO","references":[],"maxId":9}"#,
            r#"{"subject":"a","version":1,"id":3,"schema":"\"int\"","references":null,"metadata":null}"#,
        ] {
            let schema: Schema = read(text.as_bytes()).unwrap();
            assert_eq!((schema.schema.as_str(), schema.references.len()), ("\"int\"", 0));
        }
        assert!(read::<Schema>(b"{\"schema\":7}").is_err() && read::<Schema>(b"<html>").is_err());
    }
}
