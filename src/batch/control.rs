//! Control records: the markers with which a transaction ends (Kafka's ControlRecordType, EndTransactionMarker).

use crate::batch::error::BatchError;
use crate::batch::raw::RawBatch;

/// A marker has some ten bytes; a control batch that unpacks to more than this is none.
const CONTROL_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    Abort {
        coordinator_epoch: i32,
    },
    Commit {
        coordinator_epoch: i32,
    },
    /// Raft's own records and whatever comes later: no marker.
    Other {
        kind: i16,
    },
}

impl ControlRecord {
    /// None: compaction has emptied the batch, so its transaction has no records left either.
    pub fn parse(batch: &RawBatch) -> Result<Option<Self>, BatchError> {
        let header = batch.header();
        let unreadable = |problem| BatchError::Control { base_offset: header.base_offset, problem };
        if !header.is_control() {
            return Err(unreadable("the control bit is not set"));
        }
        let decoded = batch.decode(CONTROL_BYTES_MAX)?;
        let Some(record) = decoded.records().next() else { return Ok(None) };
        let record = record?;
        let key = record.key.ok_or_else(|| unreadable("it has no key"))?;
        let (version, rest) = key.split_first_chunk().ok_or_else(|| unreadable("its key is cut short"))?;
        let kind = rest.first_chunk().ok_or_else(|| unreadable("its key is cut short"))?;
        // Later versions only add fields.
        if i16::from_be_bytes(*version) < 0 {
            return Err(unreadable("its key has a negative version"));
        }
        let kind = i16::from_be_bytes(*kind);
        if kind != 0 && kind != 1 {
            return Ok(Some(Self::Other { kind }));
        }
        let value = record.value.ok_or_else(|| unreadable("its marker is null"))?;
        let epoch = value.get(2..).and_then(|it| it.first_chunk());
        let coordinator_epoch = i32::from_be_bytes(*epoch.ok_or_else(|| unreadable("its marker is cut short"))?);
        Ok(Some(if kind == 0 { Self::Abort { coordinator_epoch } } else { Self::Commit { coordinator_epoch } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, samples};

    fn marker(key: &[u8], value: Option<&[u8]>) -> RawBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1, Some(key), value, &[]);
        let batch = builder.build().unwrap();
        let mut header = batch.header();
        header.attributes |= 0x30;
        samples::with_header(&batch, header)
    }

    #[test]
    fn markers_are_told_apart() {
        let value = Some(&[0, 0, 0, 0, 0, 7][..]);
        let parse = |key: &[u8], value| ControlRecord::parse(&marker(key, value));
        assert_eq!(parse(&[0, 0, 0, 0], value), Ok(Some(ControlRecord::Abort { coordinator_epoch: 7 })));
        assert_eq!(parse(&[0, 0, 0, 1], value), Ok(Some(ControlRecord::Commit { coordinator_epoch: 7 })));
        assert_eq!(parse(&[0, 9, 0, 1, 5], value), Ok(Some(ControlRecord::Commit { coordinator_epoch: 7 })));
        assert_eq!(parse(&[0, 0, 0, 2], None), Ok(Some(ControlRecord::Other { kind: 2 })));
        for (key, value) in [(&[0, 0, 0][..], value), (&[0, 0, 0, 1], None), (&[0, 0, 0, 1], Some(&[0, 0, 1]))] {
            assert!(matches!(parse(key, value), Err(BatchError::Control { .. })));
        }
        assert!(ControlRecord::parse(&samples::batch(Compression::None, 0, 1)).is_err());
    }

    #[test]
    fn an_emptied_control_batch_has_no_marker() {
        let batch = marker(&[0, 0, 0, 1], None);
        let mut header = batch.header();
        header.record_count = 0;
        assert_eq!(ControlRecord::parse(&samples::assemble(header, b"")), Ok(None));
    }
}
