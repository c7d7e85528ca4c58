//! The whole store in one file, and back: `fhir-server backup` and `restore`.
//!
//! A backup is one state of the database, taken beside a running server; a restore goes into an empty store, wholly or not at all.
//! The file holds every resource and the site secret. Why it is as it is: docs/adr/0013-backup-and-upgrade.md.

mod file;
pub(crate) mod tables;

use crate::error::Error;
use file::{BackupReader, BackupWriter};
use futures_util::TryStreamExt;
use std::path::Path;
use tables::{Contents, Filling};

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows of every table.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Writes the store at `url` into `file`, which must not exist yet. Work for a process of its own: it blocks its thread while it compresses.
///
/// # Errors
/// [`Error::Backup`] where the file cannot be written or the database holds no store; database errors. Nothing is left then.
pub async fn backup(url: &str, file: &Path) -> Result<Copied, Error> {
    let mut connection = tables::connect(url).await?;
    let mut snapshot = tables::snapshot(&mut connection).await?;
    let contents = Contents::of(&mut snapshot).await?;
    let mut writer = BackupWriter::create(file, &contents)?;
    for table in &contents.tables {
        writer.begin(table)?;
        let mut stream = snapshot.copy_out_raw(&table.copy_out()).await?;
        while let Some(bytes) = stream.try_next().await? {
            writer.rows(&bytes)?;
        }
        drop(stream);
        writer.end(table)?;
    }
    let bytes = writer.finish(&contents)?;
    Ok(Copied {
        rows: contents.rows(),
        bytes,
    })
}

/// Fills the empty store at `url` from `file`. The next start of a server migrates it and, where its definitions are others, indexes again.
///
/// # Errors
/// [`Error::Backup`] for a damaged or unknown file, a store that is not empty, a server that runs on it; database errors. Nothing is
/// changed then.
pub async fn restore(url: &str, file: &Path) -> Result<Copied, Error> {
    let mut reader = BackupReader::open(file)?;
    let mut filling = Filling::begin(url, &reader.contents).await?;
    for table in reader.contents.tables.clone() {
        reader.begin(&table)?;
        let mut copy = filling.copy_in(&table).await?;
        let mut batch = Vec::new();
        while reader.rows(&mut batch)? {
            copy.send(batch.as_slice()).await?;
        }
        tables::count(&table, copy.finish().await?)?;
    }
    filling.finish(&reader.contents).await?;
    Ok(Copied {
        rows: reader.contents.rows(),
        bytes: reader.bytes,
    })
}
