//! Schema files, as configs and arguments name them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More is no schema; a file may be a device, which has no end.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SchemaFileError {
    #[error("{file}: cannot read it: {error}")]
    Read { file: String, error: io::Error },
    #[error("{file}: is larger than {FILE_BYTES_MAX} bytes: this is no schema")]
    TooLarge { file: String },
}

/// The text of a schema file.
pub fn read_file(file: &Path) -> Result<String, SchemaFileError> {
    let name = || file.display().to_string();
    let of = |error| SchemaFileError::Read { file: name(), error };
    let mut text = String::new();
    File::open(file).map_err(of)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(of)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(SchemaFileError::TooLarge { file: name() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_a_schema_may_be_long() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.avsc");
        for (bytes, is_read) in [(0, true), (FILE_BYTES_MAX, true), (FILE_BYTES_MAX + 1, false)] {
            std::fs::write(&file, " ".repeat(bytes as usize)).unwrap();
            assert_eq!(read_file(&file).is_ok(), is_read, "{bytes}");
        }
        let told = read_file(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(told, SchemaFileError::TooLarge { .. }), "{told}");
        let told = read_file(&folder.path().join("nowhere.avsc")).unwrap_err().to_string();
        assert!(told.contains("nowhere.avsc: cannot read it: "), "{told}");
    }
}
