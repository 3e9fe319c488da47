//! What a record holds besides its place and time, encoded.

use crate::batch::record::{RecordView, write_varint};

/// Key, value, and headers in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub(super) attributes: u8,
    pub(super) bytes: Vec<u8>,
}

pub type HeaderView<'a> = (&'a [u8], Option<&'a [u8]>);

impl Payload {
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderView<'_>]) -> Self {
        let mut bytes = Vec::new();
        write_nullable(&mut bytes, key);
        write_nullable(&mut bytes, value);
        write_length(&mut bytes, headers.len());
        write_headers(&mut bytes, headers);
        Self { attributes: 0, bytes }
    }

    /// As a record of it; None: a length in it is beyond what a batch can say.
    pub fn view(&self) -> Option<RecordView<'_>> {
        RecordView::of_payload(self.attributes, &self.bytes).ok()
    }

    /// The record with another key or value, its headers byte for byte, and `more` behind them.
    pub fn of(record: &RecordView<'_>, key: Option<&[u8]>, value: Option<&[u8]>, more: &[HeaderView<'_>]) -> Self {
        let mut bytes = Vec::new();
        write_nullable(&mut bytes, key);
        write_nullable(&mut bytes, value);
        write_length(&mut bytes, record.header_count + more.len());
        bytes.extend_from_slice(record.raw_headers);
        write_headers(&mut bytes, more);
        Self { attributes: record.attributes, bytes }
    }
}

fn write_headers(output: &mut Vec<u8>, headers: &[HeaderView<'_>]) {
    for (name, value) in headers {
        write_nullable(output, Some(name));
        write_nullable(output, *value);
    }
}

fn write_nullable(output: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_length(output, bytes.len());
            output.extend_from_slice(bytes);
        }
        None => write_varint(output, -1),
    }
}

/// A length beyond the field is cut short here; the batch's builder refuses the batch, which is longer still.
pub(super) fn write_length(output: &mut Vec<u8>, length: usize) {
    write_varint(output, i32::try_from(length).unwrap_or(i32::MAX));
}
