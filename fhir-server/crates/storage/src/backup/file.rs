//! The file of a backup: gzip, and in it a script that `psql` could run too.
//!
//! ```text
//! -- fhir-server backup 1
//! -- {"migration":…,"fingerprint":…,"tables":[["site","one, secret, …",1],…],"sequences":[["resource_pk_seq",42],…]}
//! COPY site (one, secret, …) FROM stdin;
//! …rows…
//! \.
//! …
//! SELECT setval('resource_pk_seq', 42);
//! ```
//! A second gzip member of fixed length, `-- sha256 <hex>`, is over all bytes before it. What is cut, changed or of another format is refused.

use super::tables::{Contents, Table};
use crate::error::Error;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Take, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FORMAT: &str = "-- fhir-server backup 1\n";
const END_OF_ROWS: &[u8] = b"\\.\n";
/// Rows are handed on in pieces of about this many bytes.
const BATCH_BYTES: usize = 1 << 18;

/// Writes under a temporary name; the file has its own name once it is whole and on disk.
pub(super) struct BackupWriter {
    path: PathBuf,
    temporary: Temporary,
    encoder: GzEncoder<Hashing>,
    /// Rows of the table under way.
    rows: u64,
}

impl BackupWriter {
    pub(super) fn create(path: &Path, contents: &Contents) -> Result<BackupWriter, Error> {
        if path.exists() {
            return Err(Error::Backup(format!("{} exists already", path.display())));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".unfinished");
        let temporary = Temporary(name.into());
        let failed = failed(&temporary.0);
        // It holds patients and the site secret: for its owner alone.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary.0)
            .map_err(&failed)?;
        let hashing = Hashing {
            file: BufWriter::new(file),
            hash: Sha256::new(),
        };
        let mut encoder = GzEncoder::new(hashing, Compression::fast());
        writeln!(encoder, "{FORMAT}-- {}", contents.to_json()).map_err(&failed)?;
        Ok(BackupWriter {
            path: path.to_path_buf(),
            temporary,
            encoder,
            rows: 0,
        })
    }

    pub(super) fn begin(&mut self, table: &Table) -> Result<(), Error> {
        self.rows = 0;
        self.write(format!("{}\n", heading(table)).as_bytes())
    }

    /// Whole or partial rows, as COPY gives them: each ends with the only newline it has.
    pub(super) fn rows(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.rows += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.write(bytes)
    }

    pub(super) fn end(&mut self, table: &Table) -> Result<(), Error> {
        super::tables::count(table, self.rows)?;
        self.write(END_OF_ROWS)
    }

    /// Returns the size of the file.
    pub(super) fn finish(mut self, contents: &Contents) -> Result<u64, Error> {
        for (name, last) in &contents.sequences {
            self.write(format!("SELECT setval('{name}', {last});\n").as_bytes())?;
        }
        let failed = failed(&self.path);
        let Hashing { mut file, hash } = self.encoder.finish().map_err(&failed)?;
        file.write_all(&seal(hash)).map_err(&failed)?;
        let file = file.into_inner().map_err(|error| failed(error.into()))?;
        file.sync_all().map_err(&failed)?;
        fs::rename(&self.temporary.0, &self.path).map_err(&failed)?;
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(&failed)?;
        Ok(file.metadata().map_err(failed)?.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.encoder.write_all(bytes);
        written.map_err(failed(&self.temporary.0))
    }
}

/// Reads a file whose checksum is right.
pub(super) struct BackupReader {
    path: PathBuf,
    pub(super) contents: Contents,
    pub(super) bytes: u64,
    lines: BufReader<GzDecoder<BufReader<Take<File>>>>,
    /// The rows of the table under way have all been read.
    ended: bool,
}

impl BackupReader {
    pub(super) fn open(path: &Path) -> Result<BackupReader, Error> {
        let failed = failed(path);
        let wrong = |reason: &str| Error::Backup(format!("{}: {reason}", path.display()));
        let mut file = File::open(path).map_err(&failed)?;
        let bytes = file.metadata().map_err(&failed)?.len();
        let body = bytes.saturating_sub(seal(Sha256::new()).len() as u64);
        let mut hash = Sha256::new();
        let mut found = Vec::new();
        io::copy(&mut (&mut file).take(body), &mut hash).map_err(&failed)?;
        file.read_to_end(&mut found).map_err(&failed)?;
        if found != seal(hash) {
            return Err(wrong(
                "damaged, cut short, or no backup: its checksum is not right",
            ));
        }
        file.rewind().map_err(&failed)?;
        let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file.take(body))));
        let mut line = String::new();
        lines.read_line(&mut line).map_err(&failed)?;
        if line != FORMAT {
            return Err(wrong(
                "made by another version of this program, in a format that this one does not know",
            ));
        }
        line.clear();
        lines.read_line(&mut line).map_err(&failed)?;
        let header = line.strip_prefix("-- ").unwrap_or_default();
        let contents = serde_json::from_str(header)
            .ok()
            .and_then(|header| Contents::from_json(&header))
            .ok_or_else(|| wrong("its header cannot be read"))?;
        Ok(BackupReader {
            path: path.to_path_buf(),
            contents,
            bytes,
            lines,
            ended: false,
        })
    }

    pub(super) fn begin(&mut self, table: &Table) -> Result<(), Error> {
        let mut line = String::new();
        self.ended = false;
        self.lines
            .read_line(&mut line)
            .map_err(failed(&self.path))?;
        if line.trim_end() != heading(table) {
            let path = self.path.display();
            return Err(Error::Backup(format!("{path}: no {} in it", table.name)));
        }
        Ok(())
    }

    /// Replaces `batch` by the next rows; false: there are no more of this table.
    pub(super) fn rows(&mut self, batch: &mut Vec<u8>) -> Result<bool, Error> {
        batch.clear();
        while !self.ended && batch.len() < BATCH_BYTES {
            let start = batch.len();
            let read = self.lines.read_until(b'\n', batch);
            if read.map_err(failed(&self.path))? == 0 {
                let path = self.path.display();
                return Err(Error::Backup(format!("{path}: it ends too early")));
            }
            if &batch[start..] == END_OF_ROWS {
                batch.truncate(start);
                self.ended = true;
            }
        }
        Ok(!batch.is_empty())
    }
}

/// Removes the unfinished file of a backup that failed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is none.
        let _ = fs::remove_file(&self.0);
    }
}

struct Hashing {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn heading(table: &Table) -> String {
    format!("COPY {} ({}) FROM stdin;", table.name, table.columns)
}

/// The last gzip member. It is stored, not compressed, so its length is always the same.
fn seal(hash: Sha256) -> Vec<u8> {
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    let sealed = writeln!(encoder, "-- sha256 {hex}").and_then(|()| encoder.finish());
    sealed.expect("writing to memory does not fail")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |error| Error::Backup(format!("{path}: {error}"))
}
