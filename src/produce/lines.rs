//! Events as lines of JSON.

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A broker takes no record above a megabyte unless told to; JSON of one is not ten times that.
const LINE_BYTES_MAX: usize = 10 << 20;

/// What is wrong with a line, as a whole or in a field.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    #[error("is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("is no JSON: {0}")]
    Json(serde_json::Error),
    #[error("{0}")]
    Field(#[from] crate::avro::JsonFault),
    #[error("{field}: the key must be a string, a number or true or false, and stand in every event")]
    Key { field: String },
}

/// Reading may be given up and begun again between two bytes: nothing is lost.
pub struct Lines<R> {
    reader: R,
    /// Of the line that is being read.
    line: Vec<u8>,
    /// Counted from 1: the last one that was given.
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), number: 0 }
    }

    /// Counted from 1: of the line that was given last, or has a fault.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// None: the end. Lines with nothing but blanks are passed over.
    pub async fn next(&mut self) -> Result<Option<Value>, LineFault> {
        loop {
            let is_whole = self.fill().await?;
            if !is_whole && self.line.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            let line = std::mem::take(&mut self.line);
            if !line.trim_ascii().is_empty() {
                return serde_json::from_slice(&line).map(Some).map_err(LineFault::Json);
            }
        }
    }

    /// Up to the end of a line, or of everything: then false.
    async fn fill(&mut self) -> Result<bool, LineFault> {
        loop {
            let buffer = self.reader.fill_buf().await.map_err(LineFault::Read)?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let (taken, is_whole) = match buffer.iter().position(|it| *it == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), false),
            };
            self.line.extend_from_slice(&buffer[..taken]);
            self.reader.consume(taken);
            if self.line.len() > LINE_BYTES_MAX {
                self.number += 1;
                return Err(LineFault::TooLong);
            }
            if is_whole {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8]) -> (Vec<Value>, Option<(u64, LineFault)>) {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(3, text));
        let mut found = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(value)) => found.push(value),
                Ok(None) => return (found, None),
                Err(fault) => return (found, Some((lines.number(), fault))),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_read_and_blank_ones_passed_over() {
        let (found, fault) = all(b"1\n\n {\"a\":2} \r\n[3]").await;
        assert_eq!(found, [serde_json::json!(1), serde_json::json!({ "a": 2 }), serde_json::json!([3])]);
        assert!(fault.is_none());
        assert!(all(b"").await.0.is_empty() && all(b"\n\n").await.0.is_empty());
    }

    #[tokio::test]
    async fn a_wrong_line_is_known_by_its_number() {
        let (found, fault) = all(b"1\n\n{\n4\n").await;
        let (number, fault) = fault.unwrap();
        assert_eq!((found.len(), number), (1, 3));
        assert!(matches!(fault, LineFault::Json(_)));
    }

    #[tokio::test]
    async fn a_line_without_an_end_ends() {
        let long = vec![b' '; LINE_BYTES_MAX + 1];
        let mut lines = Lines::new(&long[..]);
        assert!(matches!(lines.next().await, Err(LineFault::TooLong)));
        assert_eq!(lines.number(), 1);
    }
}
