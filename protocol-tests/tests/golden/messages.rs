//! Requests and responses: Java's bytes are read as Java meant them, and written as Java wrote them.

use std::fmt::Debug;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use protocol_tests::golden::{self, Recorded};

use super::values::{Found, compare, parse};

/// As in the recorder.
const CORRELATION_ID: i32 = 0x0102_0304;
const UNKNOWN_TAG: i32 = 99;
const UNKNOWN: [u8; 3] = [7, 8, 9];

/// No length in the recorded messages is larger. A wrong one makes the library take memory for it unseen, up to the death of
/// the process; that is what the shapes are for, which are tested elsewhere.
const LENGTH_MAX: u8 = 0x40;

struct Api {
    key: i16,
    request: fn(&Bytes, i16) -> Result<Read>,
    response: fn(&Bytes, i16) -> Result<Read>,
}

/// A frame that was decoded and encoded again.
struct Read {
    client_id: Option<Option<String>>,
    header_version: i16,
    message: String,
    left: usize,
    again: Bytes,
}

impl Api {
    const fn of<R: Request + Debug>() -> Self
    where
        R::Response: Decodable + Encodable + HeaderVersion + Debug,
    {
        Self { key: R::KEY, request: request::<R>, response: response::<R> }
    }
}

static APIS: [Api; 31] = [
    Api::of::<ProduceRequest>(),
    Api::of::<FetchRequest>(),
    Api::of::<ListOffsetsRequest>(),
    Api::of::<MetadataRequest>(),
    Api::of::<OffsetCommitRequest>(),
    Api::of::<OffsetFetchRequest>(),
    Api::of::<FindCoordinatorRequest>(),
    Api::of::<JoinGroupRequest>(),
    Api::of::<HeartbeatRequest>(),
    Api::of::<LeaveGroupRequest>(),
    Api::of::<SyncGroupRequest>(),
    Api::of::<DescribeGroupsRequest>(),
    Api::of::<ListGroupsRequest>(),
    Api::of::<ApiVersionsRequest>(),
    Api::of::<CreateTopicsRequest>(),
    Api::of::<DeleteTopicsRequest>(),
    Api::of::<DeleteRecordsRequest>(),
    Api::of::<InitProducerIdRequest>(),
    Api::of::<OffsetForLeaderEpochRequest>(),
    Api::of::<AddPartitionsToTxnRequest>(),
    Api::of::<AddOffsetsToTxnRequest>(),
    Api::of::<EndTxnRequest>(),
    Api::of::<TxnOffsetCommitRequest>(),
    Api::of::<DescribeConfigsRequest>(),
    Api::of::<CreatePartitionsRequest>(),
    Api::of::<DeleteGroupsRequest>(),
    Api::of::<IncrementalAlterConfigsRequest>(),
    Api::of::<DescribeProducersRequest>(),
    Api::of::<DescribeTransactionsRequest>(),
    Api::of::<ListTransactionsRequest>(),
    Api::of::<ConsumerGroupDescribeRequest>(),
];

fn request<R: Request + Debug>(frame: &Bytes, version: i16) -> Result<Read> {
    let mut rest = frame.clone();
    let header_version = R::header_version(version);
    let header = RequestHeader::decode(&mut rest, header_version)?;
    ensure!(header.request_api_key == R::KEY, "API {} and not {}", header.request_api_key, R::KEY);
    ensure!(header.request_api_version == version, "version {} and not {version}", header.request_api_version);
    ensure!(header.correlation_id == CORRELATION_ID, "correlation id {}", header.correlation_id);
    let message = R::decode(&mut rest, version)?;
    let mut again = BytesMut::new();
    header.encode(&mut again, header_version)?;
    message.encode(&mut again, version)?;
    Ok(Read {
        client_id: Some(header.client_id.map(|it| it.to_string())),
        header_version,
        message: format!("{message:?}"),
        left: rest.len(),
        again: again.freeze(),
    })
}

fn response<R: Request>(frame: &Bytes, version: i16) -> Result<Read>
where
    R::Response: Decodable + Encodable + HeaderVersion + Debug,
{
    let mut rest = frame.clone();
    let header_version = R::Response::header_version(version);
    let header = ResponseHeader::decode(&mut rest, header_version)?;
    ensure!(header.correlation_id == CORRELATION_ID, "correlation id {}", header.correlation_id);
    let message = R::Response::decode(&mut rest, version)?;
    let mut again = BytesMut::new();
    header.encode(&mut again, header_version)?;
    message.encode(&mut again, version)?;
    Ok(Read {
        client_id: None,
        header_version,
        message: format!("{message:?}"),
        left: rest.len(),
        again: again.freeze(),
    })
}

/// Direction, version and kind, as the recorder writes them.
struct Title {
    is_request: bool,
    version: i16,
    is_full: bool,
}

impl Title {
    fn of(recorded: &Recorded) -> Result<Self> {
        let mut words = recorded.title.split(' ');
        let (direction, version, kind) = (words.next(), words.next(), words.next());
        Ok(Self {
            is_request: direction == Some("request"),
            version: version.context("no version")?.parse()?,
            is_full: kind == Some("full"),
        })
    }
}

fn check(api: &Api, recorded: &Recorded) -> Result<()> {
    let title = Title::of(recorded)?;
    let read = if title.is_request { api.request } else { api.response };
    let read = read(&recorded.bytes, title.version)?;
    if let Some(client_id) = read.client_id {
        let expected = title.is_full.then_some("client");
        ensure!(client_id.as_deref() == expected, "client id {client_id:?}");
    }
    ensure!(read.left == 0, "{} bytes are left", read.left);
    let found = parse(&read.message)?;
    compare(&recorded.content, &found)?;
    let Found::Fields(fields) = found else { return Err(anyhow!("no fields")) };
    let unknown = fields.get("unknown_tagged_fields").context("no tagged fields")?;
    let is_flexible = read.header_version >= if title.is_request { 2 } else { 1 };
    // The one response with tagged fields under a header without.
    let is_flexible = is_flexible || !title.is_request && api.key == 18 && title.version >= 3;
    let expected = if title.is_full && is_flexible {
        [(UNKNOWN_TAG.to_string(), Found::Bytes(UNKNOWN.to_vec()))].into()
    } else {
        Default::default()
    };
    ensure!(*unknown == Found::Fields(expected), "unknown tagged fields are {unknown:?}");
    ensure!(read.again == recorded.bytes, "encoded again: {:02x?}", read.again.as_ref());
    Ok(())
}

/// The API of a file: its requests name it.
fn api_of(recorded: &[Recorded]) -> Result<&'static Api> {
    let key = recorded.first().and_then(|it| it.bytes.first_chunk()).map(|it| i16::from_be_bytes(*it));
    let api = APIS.iter().find(|it| Some(it.key) == key);
    api.with_context(|| format!("API {key:?} is not known"))
}

/// One API in one version, both ways.
pub(super) fn holds(name: &str, version: i16) -> Result<()> {
    let recorded = golden::read(&golden::folder().join(format!("messages/{name}.txt")))?;
    let api = api_of(&recorded)?;
    let mut checked = 0;
    for message in &recorded {
        if Title::of(message)?.version == version {
            check(api, message).with_context(|| message.title.clone())?;
            checked += 1;
        }
    }
    ensure!(checked == 4, "{checked} messages, and not a full and an empty one each way");
    Ok(())
}

/// Files and their versions.
pub(super) fn cases() -> Result<Vec<(String, i16)>> {
    let mut cases = vec![];
    for (name, recorded) in golden::messages()? {
        let versions = recorded.iter().map(|it| Ok(Title::of(it)?.version));
        let versions: Result<std::collections::BTreeSet<i16>> = versions.collect();
        cases.extend(versions?.into_iter().map(|version| (name.clone(), version)));
    }
    Ok(cases)
}

/// A recorded message with one bit flipped is refused, in whichever value it is.
pub(super) fn flips() -> Result<()> {
    let mut flipped = 0;
    for (name, recorded) in golden::messages()? {
        let api = api_of(&recorded)?;
        for message in &recorded {
            let mut bytes = message.bytes.to_vec();
            for at in 0..bytes.len() {
                if bytes[at] <= LENGTH_MAX {
                    continue;
                }
                bytes[at] ^= 1;
                let damaged = Recorded { bytes: bytes.clone().into(), ..message.clone() };
                ensure!(check(api, &damaged).is_err(), "{name} {}: byte {at} may be another", message.title);
                bytes[at] ^= 1;
                flipped += 1;
            }
        }
    }
    ensure!(flipped > 10_000, "only {flipped} bytes were flipped");
    Ok(())
}

/// Content counts too: bytes that are right do not save a message that Java read otherwise.
pub(super) fn other_content() -> Result<()> {
    let messages = golden::messages()?;
    ensure!(messages.len() == APIS.len(), "{} files for {} APIs", messages.len(), APIS.len());
    for (name, recorded) in messages {
        let api = api_of(&recorded)?;
        let mut full = recorded.into_iter().filter(|it| it.title.ends_with("full"));
        let has_fields = |it: &Recorded| it.content.as_object().is_some_and(|fields| !fields.is_empty());
        let mut other = full.find(has_fields).context("no full message with fields")?;
        let fields = other.content.as_object_mut().context("no fields")?;
        let value = fields.values_mut().next().context("no field")?;
        *value = serde_json::Value::String("something else".to_owned());
        ensure!(check(api, &other).is_err(), "{name}: the first field may be anything");
    }
    Ok(())
}
