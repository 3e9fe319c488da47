//! Record batches as bytes: header, CRC, records, compression.
