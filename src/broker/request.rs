//! One request: whose it is, how it is decoded without harm, and how its answer goes out.

use super::cluster::{Action, Cluster, ConnectionId, Output};
use super::faults::{Facts, Fault, Loss, RuleId};
use super::settings::Millis;
use super::waiting::{Due, Parked};
use super::{apis, shapes};
use crate::shape;
use crate::types::{NodeId, TopicPartition};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use std::sync::Arc;

/// An element of an array takes some hundred bytes when it is decoded, and a few in the frame.
const ELEMENTS_MAX: usize = 200_000;
/// Only Produce carries data; nothing else is near this.
const SMALL_FRAME_BYTES_MAX: usize = 8 << 20;
const PRODUCE: i16 = 0;

/// To whom an answer goes.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    pub(crate) node: NodeId,
    pub(crate) version: i16,
    pub(crate) client_id: Arc<str>,
    api: i16,
    correlation_id: i32,
    fate: Fate,
}

/// What becomes of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    Lost(Loss),
    Late(Millis),
    Held(RuleId),
    /// By this frame.
    Replaced(Bytes),
    Cut(usize),
    /// The request was sent twice, and this is the first of its answers.
    Ignored,
}

impl Caller {
    pub(crate) fn api(&self) -> i16 {
        self.api
    }

    #[cfg(test)]
    pub(crate) fn for_tests(connection: ConnectionId, version: i16) -> Self {
        Self { connection, node: 0, version, client_id: "test".into(), api: 0, correlation_id: 0, fate: Fate::Sent }
    }
}

/// An API of the cluster.
pub(crate) trait Served: Request {
    /// From and to, as offered.
    const OFFERED: (i16, i16);

    fn serve(self, cluster: &mut Cluster, caller: Caller);

    /// The answer that says nothing but this error, in the places that this version has for it.
    fn refusal(&self, version: i16, error: ResponseError) -> Self::Response;

    /// For faults that strike one partition.
    fn touches(&self, _partition: &TopicPartition) -> bool {
        false
    }
}

/// The connection is closed, as Kafka does with what it cannot read.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) String);

/// What stands before a request's body.
pub(crate) struct RequestHeader {
    pub(crate) api: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Arc<str>,
    rest: Bytes,
}

impl RequestHeader {
    pub(crate) fn read(frame: &Bytes) -> Result<Self, Unreadable> {
        let short = || Unreadable("the request is cut short".to_owned());
        let int = |from: usize| frame.get(from..from + 2).and_then(|it| it.try_into().ok()).map(i16::from_be_bytes);
        let api = int(0).ok_or_else(short)?;
        let version = int(2).ok_or_else(short)?;
        let correlation_id = frame.get(4..8).and_then(|it| it.try_into().ok()).map(i32::from_be_bytes);
        let correlation_id = correlation_id.ok_or_else(short)?;
        // Null in every version, and never compact: the header's client id kept its old form (KIP-482).
        let length = usize::try_from(int(8).ok_or_else(short)?).unwrap_or(0);
        let client_id = frame.get(10..10 + length).ok_or_else(short)?;
        let client_id = String::from_utf8_lossy(client_id).as_ref().into();
        Ok(Self { api, version, correlation_id, client_id, rest: frame.slice(10 + length..) })
    }

    /// The body, behind the header's tagged fields where it has any.
    pub(crate) fn body(&self, flexible: bool) -> Result<Bytes, Unreadable> {
        if !flexible {
            return Ok(self.rest.clone());
        }
        let length = shape::tags_length(&self.rest).map_err(|it| Unreadable(it.0))?;
        Ok(self.rest.slice(length..))
    }

    pub(crate) fn caller(&self, connection: ConnectionId, node: NodeId) -> Caller {
        Caller {
            connection,
            node,
            version: self.version,
            client_id: Arc::clone(&self.client_id),
            api: self.api,
            correlation_id: self.correlation_id,
            fate: Fate::Sent,
        }
    }
}

fn decode<R: Served>(version: i16, body: &Bytes) -> Result<R, Unreadable> {
    if R::KEY != PRODUCE && body.len() > SMALL_FRAME_BYTES_MAX {
        return Err(Unreadable(format!("a request of {} bytes", body.len())));
    }
    let table = shapes::table(R::KEY).ok_or_else(|| Unreadable("its shape is not known".to_owned()))?;
    shape::check_within(table, version, body, ELEMENTS_MAX).map_err(|it| Unreadable(it.0))?;
    R::decode(&mut body.clone(), version).map_err(|error| Unreadable(format!("{error:#}")))
}

/// A request as it comes from a client: rules look at it first.
pub(crate) fn receive<R: Served>(cluster: &mut Cluster, mut caller: Caller, body: &Bytes) -> Result<(), Unreadable> {
    let request = decode::<R>(caller.version, body)?;
    let facts = Facts {
        api: R::KEY,
        node: caller.node,
        client_id: &caller.client_id,
        touches: &|partition| request.touches(partition),
    };
    let Some((rule, fault)) = cluster.faults.judge(&facts) else {
        request.serve(cluster, caller);
        return Ok(());
    };
    match fault {
        Fault::LoseRequest(loss) => cluster.lose(caller.connection, loss),
        Fault::DelayRequest(ms) => cluster.park(Due::At(cluster.now_ms + ms), Parked::Request(caller, body.clone())),
        Fault::HoldRequest => cluster.park(Due::Release(rule), Parked::Request(caller, body.clone())),
        Fault::Refuse(error) => {
            let refusal = request.refusal(caller.version, error);
            cluster.answer::<R>(caller, &refusal);
        }
        Fault::Duplicate => {
            let first = Caller { fate: Fate::Ignored, ..caller.clone() };
            request.serve(cluster, first);
            decode::<R>(caller.version, body)?.serve(cluster, caller);
        }
        Fault::LoseAnswer(loss) => {
            caller.fate = Fate::Lost(loss);
            request.serve(cluster, caller);
        }
        Fault::DelayAnswer(ms) => {
            caller.fate = Fate::Late(ms);
            request.serve(cluster, caller);
        }
        Fault::HoldAnswer => {
            caller.fate = Fate::Held(rule);
            request.serve(cluster, caller);
        }
        Fault::CutAnswer(bytes) => {
            caller.fate = Fate::Cut(bytes);
            request.serve(cluster, caller);
        }
        Fault::Misreport(error) => {
            let refusal = request.refusal(caller.version, error);
            let frame = encode::<R>(&caller, &refusal);
            caller.fate = frame.map_or(Fate::Lost(Loss::Close), Fate::Replaced);
            request.serve(cluster, caller);
        }
    }
    Ok(())
}

/// A request that waited: the rules have seen it.
pub(crate) fn resume<R: Served>(cluster: &mut Cluster, caller: Caller, body: &Bytes) -> Result<(), Unreadable> {
    decode::<R>(caller.version, body)?.serve(cluster, caller);
    Ok(())
}

/// The whole frame, its length before it. None: the answer cannot be encoded, which is a bug of the cluster.
fn encode<R: Served>(caller: &Caller, response: &R::Response) -> Option<Bytes> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i32(caller.correlation_id);
    // ApiVersions alone keeps the old header, for clients that do not know the broker's age yet.
    if R::Response::header_version(caller.version) >= 1 {
        frame.put_u8(0);
    }
    response.encode(&mut frame, caller.version).ok()?;
    let length = i32::try_from(frame.len() - 4).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Some(frame.freeze())
}

impl Cluster {
    pub(crate) fn answer<R: Served>(&mut self, caller: Caller, response: &R::Response) {
        let frame = encode::<R>(&caller, response);
        debug_assert!(frame.is_some(), "an answer to API {} v{} cannot be encoded", R::KEY, caller.version);
        match frame {
            Some(frame) => self.deliver(caller, Action::Send(frame)),
            None => self.lose(caller.connection, Loss::Close),
        }
    }

    /// A request that wants no answer.
    pub(crate) fn no_answer(&mut self, caller: Caller) {
        self.deliver(caller, Action::Next);
    }

    pub(crate) fn close(&mut self, caller: &Caller) {
        self.lose(caller.connection, Loss::Close);
    }

    fn deliver(&mut self, caller: Caller, action: Action) {
        let connection = caller.connection;
        let output = Output { connection, action };
        match caller.fate {
            Fate::Sent => self.output(output),
            Fate::Ignored => {}
            Fate::Lost(loss) => self.lose(connection, loss),
            Fate::Late(ms) => self.park(Due::At(self.now_ms + ms), Parked::Answer(output)),
            Fate::Held(rule) => self.park(Due::Release(rule), Parked::Answer(output)),
            Fate::Replaced(frame) => self.output(Output { connection, action: Action::Send(frame) }),
            Fate::Cut(bytes) => match output.action {
                Action::Send(frame) => {
                    let cut = frame.slice(..bytes.min(frame.len()));
                    self.output(Output { connection, action: Action::SendThenClose(cut) });
                }
                _ => self.lose(connection, Loss::Close),
            },
        }
    }

    fn lose(&mut self, connection: ConnectionId, loss: Loss) {
        if loss == Loss::Close {
            self.output(Output { connection, action: Action::Close });
        }
    }
}

/// Reads a frame up to the point where its API's own code takes over.
pub(crate) fn route(
    cluster: &mut Cluster,
    connection: ConnectionId,
    node: NodeId,
    frame: &Bytes,
) -> Result<(), Unreadable> {
    let header = RequestHeader::read(frame)?;
    let api = apis::find(header.api).ok_or_else(|| Unreadable(format!("unknown API key {}", header.api)))?;
    let caller = header.caller(connection, node);
    if !(api.first..=api.last(&cluster.settings)).contains(&header.version) {
        return apis::unsupported(cluster, caller);
    }
    let body = header.body(api.is_flexible(header.version))?;
    (api.receive)(cluster, caller, &body)
}
