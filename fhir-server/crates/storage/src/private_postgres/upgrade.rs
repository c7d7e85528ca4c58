//! Moves the data of the private Postgres to a later major version: `fhir-server upgrade`.
//!
//! The old cluster is only read. The new one is made beside it and filled from one snapshot; one atomic exchange of the two names puts
//! it in place. A kill at any point leaves the one or the other, whole, and the next `upgrade` goes on. Refused while a server runs.

use super::PrivatePostgres;
use super::binaries::Binaries;
use super::directory::{Directory, remove_all, sync_dir};
use crate::backup::tables::{self, Contents, Filling};
use crate::error::Error;
use futures_util::TryStreamExt;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Neither is the port of a serving cluster: a command that looks for one must not find these.
const OLD_PORT: u16 = 5433;
const NEW_PORT: u16 = 5434;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Major versions.
    pub from: u32,
    pub to: u32,
    /// The old cluster, which may be deleted, and the disk it takes.
    pub kept: PathBuf,
    pub kept_bytes: u64,
}

impl PrivatePostgres {
    /// Moves the data to the newest PostgreSQL that is installed; `None`: they are of that version already.
    ///
    /// # Errors
    /// [`Error::Start`] or [`Error::Backup`] with what to do: a server runs, programs are missing, no data, no room. The old data stay then.
    pub async fn upgrade(data_dir: &Path) -> Result<Option<Upgraded>, Error> {
        if !data_dir.join("pgdata").exists() {
            return refuse(format!("{} holds no database", data_dir.display()));
        }
        let directory = Directory::claim(data_dir)?;
        let failed = failed(directory.pgdata());
        let Some(found) = directory.major()? else {
            return refuse(format!("{} holds no database", data_dir.display()));
        };
        let newest = Binaries::find(None)?;
        let beside = directory.beside("upgrade", NEW_PORT);
        // A kill after the exchange: what lies beside is the old cluster then.
        if let Some(from) = beside.major()?.filter(|other| *other < found) {
            return keep(&directory, &beside, from, found).map(Some);
        }
        if found >= newest.major {
            return Ok(None);
        }
        let old = Binaries::find(Some(found))?;
        let kept = directory.pgdata().with_extension(found.to_string());
        if kept.exists() {
            let kept = kept.display();
            return refuse(format!(
                "{kept} is there from an earlier upgrade: move it away first"
            ));
        }
        beside.await_left_overs().map_err(Error::Backup)?;
        remove_all(beside.pgdata()).map_err(&failed)?;
        check_room(directory.pgdata())?;
        tracing::info!(from = found, to = newest.major, "copying the database");
        beside.initialise(&newest)?;
        let in_place = directory.at_port(OLD_PORT);
        let old = PrivatePostgres::launch(move || Ok((old, in_place))).await?;
        let to = newest.major;
        let fresh = directory.beside("upgrade", NEW_PORT);
        let new = PrivatePostgres::launch(move || Ok((newest, fresh))).await;
        let copied = match &new {
            Ok(new) => copy(old.url(), new.url()).await,
            Err(_) => Ok(()),
        };
        // The rest is on names of directories that nobody works in.
        old.stop().await;
        new?.stop().await;
        copied?;
        exchange(beside.pgdata(), directory.pgdata())?;
        sync_dir(directory.pgdata()).map_err(&failed)?;
        keep(&directory, &beside, found, to).map(Some)
    }
}

async fn copy(from: &str, to: &str) -> Result<(), Error> {
    let mut connection = tables::connect(from).await?;
    let mut snapshot = tables::snapshot(&mut connection).await?;
    let contents = Contents::of(&mut snapshot).await?;
    let mut filling = Filling::begin(to, &contents).await?;
    for table in &contents.tables {
        let mut stream = snapshot.copy_out_raw(&table.copy_out()).await?;
        let mut copy = filling.copy_in(table).await?;
        while let Some(bytes) = stream.try_next().await? {
            copy.send(bytes).await?;
        }
        tables::count(table, copy.finish().await?)?;
    }
    filling.finish(&contents).await
}

/// Gives the old cluster the name it is kept under.
fn keep(directory: &Directory, beside: &Directory, from: u32, to: u32) -> Result<Upgraded, Error> {
    let kept = directory.pgdata().with_extension(from.to_string());
    let failed = failed(&kept);
    if kept.exists() {
        let (kept, old) = (kept.display(), beside.pgdata().display());
        return refuse(format!(
            "{kept} is there already, so {old} cannot have that name: move one of them away"
        ));
    }
    fs::rename(beside.pgdata(), &kept).map_err(&failed)?;
    sync_dir(&kept).map_err(&failed)?;
    let kept_bytes = disk_bytes(&kept).map_err(&failed)?;
    Ok(Upgraded {
        from,
        to,
        kept,
        kept_bytes,
    })
}

/// Exchanges two names in one step, so that there is a cluster in place at every moment.
fn exchange(one: &Path, other: &Path) -> Result<(), Error> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("paths have no NUL");
    let (from, to) = (name(one), name(other));
    let here = libc::AT_FDCWD;
    // SAFETY: both are NUL-terminated and live until the call returns.
    let done = unsafe {
        libc::renameat2(
            here,
            from.as_ptr(),
            here,
            to.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    match done {
        0 => Ok(()),
        _ => refuse(format!(
            "the file system of {} cannot exchange two directories ({}): use `fhir-server backup`, and `restore` into a new data directory",
            other.display(),
            io::Error::last_os_error()
        )),
    }
}

/// The copy takes about what the original does.
fn check_room(pgdata: &Path) -> Result<(), Error> {
    let failed = failed(pgdata);
    let needed = disk_bytes(pgdata).map_err(&failed)?;
    let name = CString::new(pgdata.as_os_str().as_bytes()).expect("paths have no NUL");
    // SAFETY: the name is NUL-terminated; statvfs writes only to `room`, for which zeros are valid.
    let free = unsafe {
        let mut room: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(name.as_ptr(), &mut room) != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        room.f_bavail * room.f_frsize
    };
    if free > needed {
        return Ok(());
    }
    let mb = |bytes: u64| bytes >> 20;
    let (needed, free) = (mb(needed), mb(free));
    refuse(format!(
        "the new copy needs about {needed} MB, and {} has {free} MB free",
        pgdata.display()
    ))
}

/// The disk that a folder takes.
fn disk_bytes(path: &Path) -> io::Result<u64> {
    let data = fs::symlink_metadata(path)?;
    let mut bytes = data.blocks() * 512;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += disk_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

fn refuse<T>(reason: String) -> Result<T, Error> {
    Err(Error::Backup(reason))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |error| Error::Backup(format!("{path}: {error}"))
}
