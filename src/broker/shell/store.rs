//! The data folder: append-only files of changes. A killed process loses nothing that it has answered for.

use crate::broker::cluster::Cluster;
use crate::broker::durable::{Change, Damaged};
use crate::broker::settings::{Millis, Settings};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// One file is small enough to be read at once, and few enough of them lie in the folder.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A change is a batch at most, which `max.message.bytes` holds far below this.
const CHANGE_BYTES_MAX: u32 = 128 << 20;
const SUFFIX: &str = "changes";
const LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data folder {}: {error}", folder.display())]
    Io { folder: PathBuf, error: io::Error },
    #[error("the data folder {} is used by another process; give this one a folder of its own", folder.display())]
    InUse { folder: PathBuf },
    #[error("the data folder {}: {damaged}", folder.display())]
    Damaged { folder: PathBuf, damaged: Damaged },
}

pub(super) struct Store {
    folder: PathBuf,
    file: BufWriter<File>,
    number: u64,
    bytes: u64,
    failed: bool,
    /// Held while the process lives.
    _lock: File,
}

impl Store {
    /// Reads what is there, and begins a new file with what it comes to.
    pub(super) fn open(folder: &Path, settings: Settings, now_ms: Millis) -> Result<(Cluster, Self), StoreError> {
        let failed = |error| StoreError::Io { folder: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|_| StoreError::InUse { folder: folder.to_owned() })?;
        let old = files(folder).map_err(failed)?;
        let changes = old.iter().map_while(|(_, path)| File::open(path).ok()).flat_map(Changes::of);
        let mut cluster = Cluster::restore(settings, now_ms, changes)
            .map_err(|damaged| StoreError::Damaged { folder: folder.to_owned(), damaged })?;
        let number = old.last().map_or(0, |(number, _)| *number) + 1;
        // Under a name that no start reads, until it is whole.
        let unfinished = folder.join("unfinished");
        let file = BufWriter::new(File::create(&unfinished).map_err(failed)?);
        let mut store = Self { folder: folder.to_owned(), file, number, bytes: 0, failed: false, _lock: lock };
        for change in cluster.snapshot() {
            store.write(&change).map_err(failed)?;
        }
        store.file.flush().map_err(failed)?;
        store.file.get_ref().sync_all().map_err(failed)?;
        fs::rename(unfinished, path_of(folder, number)).map_err(failed)?;
        // Only now. Should a kill leave both, they say the same twice over.
        for (_, path) in old {
            fs::remove_file(path).map_err(failed)?;
        }
        Ok((cluster, store))
    }

    pub(super) fn append(&mut self, change: &Change) {
        let written = self.write(change);
        self.note(written);
    }

    /// False: the folder cannot be written any more, and nobody may be told that anything was done.
    pub(super) fn flush(&mut self) -> bool {
        let flushed = self.file.flush();
        self.note(flushed);
        !self.failed
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.failed
        {
            self.failed = true;
            tracing::error!(folder = %self.folder.display(), %error, "in-process demo cluster: the data folder cannot be written");
        }
    }

    fn write(&mut self, change: &Change) -> io::Result<()> {
        if self.bytes > FILE_BYTES_MAX {
            self.file.flush()?;
            self.file = create(&self.folder, self.number + 1)?;
            (self.number, self.bytes) = (self.number + 1, 0);
        }
        let Change(bytes) = change;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(&crc32c::crc32c(bytes).to_be_bytes())?;
        self.file.write_all(bytes)?;
        self.bytes += 8 + u64::from(length);
        Ok(())
    }
}

fn create(folder: &Path, number: u64) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path_of(folder, number))?))
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.{SUFFIX}"))
}

/// In the order in which they were written.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|it| it == SUFFIX)
        {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The changes of one file, up to the first that was not written whole.
struct Changes {
    reader: BufReader<File>,
}

impl Changes {
    fn of(file: File) -> Self {
        Self { reader: BufReader::new(file) }
    }
}

impl Iterator for Changes {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut head = [0; 8];
        self.reader.read_exact(&mut head).ok()?;
        let [length, crc] = [0, 4].map(|at| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if length > CHANGE_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        (&mut self.reader).take(u64::from(length)).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 == u64::from(length) && crc32c::crc32c(&bytes) == crc).then(|| bytes.into())
    }
}
