//! The records that are copied, as batches that producers would send.

use anyhow::Result;
use protocol_tests::orders;
use protocol_tests::raw::{Codec, NewBatch, NewRecord};

/// Different enough that no cache favours one, few enough to be made at once.
const DISTINCT: usize = 16;
const TIMESTAMP: i64 = 1_700_000_000_000;

/// Of each its bytes; and what all of them are in the mean, uncompressed.
pub(crate) struct Batches {
    pub(crate) encoded: Vec<Vec<u8>>,
    pub(crate) plain_bytes: usize,
    pub(crate) records: usize,
}

impl Batches {
    fn of(codec: Codec, records: usize, values: impl Iterator<Item = Vec<u8>>) -> Result<Batches> {
        let new: Vec<NewRecord> = values
            .enumerate()
            .map(|(index, value)| NewRecord {
                timestamp: TIMESTAMP + index as i64,
                key: Some(format!("{index:010}").into_bytes()),
                value: Some(value),
                headers: vec![],
            })
            .collect();
        let (mut encoded, mut plain_bytes, mut count) = (Vec::new(), 0, 0);
        for chunk in new.chunks(records) {
            plain_bytes += NewBatch::plain(Codec::None, chunk.to_vec()).encode()?.len();
            encoded.push(NewBatch::plain(codec, chunk.to_vec()).encode()?);
            count += 1;
        }
        Ok(Batches { encoded, plain_bytes: plain_bytes / count.max(1), records })
    }

    pub(crate) fn wire_bytes(&self) -> usize {
        self.encoded.iter().map(Vec::len).sum::<usize>() / self.encoded.len().max(1)
    }

    /// About 1 KB each, half of it incompressible.
    pub(crate) fn json(codec: Codec, records: usize) -> Result<Batches> {
        let mut random = fastrand::Rng::with_seed(7);
        let values = (0..DISTINCT * records).map(|index| {
            let noise: String = (0..450).map(|_| random.alphanumeric()).collect();
            let state = "accepted ".repeat(55);
            format!("{{\"order\":{index:010},\"state\":\"{state}\",\"payload\":\"{noise}\"}}").into_bytes()
        });
        Batches::of(codec, records, values)
    }

    /// Orders of about 200 bytes, in Confluent's framing.
    pub(crate) fn avro(codec: Codec, records: usize, schema_id: i32) -> Result<Batches> {
        let datums = orders::datums(&orders::schema()?, DISTINCT * records)?;
        Batches::of(codec, records, datums.iter().map(|it| [&[0][..], &schema_id.to_be_bytes(), it].concat()))
    }
}
