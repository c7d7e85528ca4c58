//! Messages that were promised to be applied (`ack: stored`), on disk until they are: appended, synced in groups, then acknowledged.
//!
//! Files `<number>.spool` hold records one after another: length, checksum, content (a message, or that one is done). A file is begun anew at
//! each start and when it is full, and deleted, oldest first, when all its messages are done. A record that is not whole was never
//! acknowledged and is passed over. What is done but not yet marked as done on disk is applied again at the next start, where the journal
//! recognises it. Refuses a folder that another process uses.

mod record;

use bytes::Bytes;
use record::{Content, Record};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A file that is longer than this is not written on, in bytes.
const FILE_BYTES: u64 = 8 << 20;
/// Most bytes that are written before they are synced.
const GROUP_BYTES: usize = 4 << 20;

/// A message that is stored and not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub number: u64,
    pub message: Bytes,
    /// The sender whose policy holds where this one has none, by the listener it came in on.
    pub policy: Option<Arc<str>>,
    /// Milliseconds since 1970.
    pub received_ms: u64,
}

/// The spool of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    requests: mpsc::UnboundedSender<Request>,
    folder: Arc<PathBuf>,
}

#[derive(Debug)]
enum Request {
    Store(Waiting, oneshot::Sender<io::Result<u64>>),
    Done(u64),
}

impl Spool {
    /// Opens a folder, which is made where it is missing, and gives the messages in it that are not done, in order.
    ///
    /// # Errors
    /// The folder cannot be used, or is in use.
    pub fn open(folder: &Path) -> io::Result<(Spool, Vec<Waiting>)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process uses this folder"))?;
        let (files, waiting) = read_folder(folder)?;
        let last = files.keys().next_back().copied().unwrap_or(0);
        let first_number = 1 + waiting.highest;
        let mut of_file: BTreeMap<u64, usize> = files.keys().map(|file| (*file, 0)).collect();
        let mut file_of = HashMap::new();
        let mut messages = Vec::new();
        for (file, message) in waiting.messages {
            *of_file.entry(file).or_default() += 1;
            file_of.insert(message.number, file);
            messages.push(message);
        }
        let mut writer = Writer {
            folder: folder.to_owned(),
            file: create(folder, last + 1)?,
            file_number: last + 1,
            file_bytes: 0,
            next_file: last + 2,
            is_broken: false,
            next: first_number,
            waiting_in: of_file,
            file_of,
            _lock: lock,
        };
        writer.waiting_in.insert(last + 1, 0);
        writer.delete_done();
        let (requests, received) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("mllp-spool".to_owned())
            .spawn(move || writer.run(received))?;
        let folder = Arc::new(folder.to_owned());
        Ok((Spool { requests, folder }, messages))
    }

    /// One that stores nothing.
    #[cfg(test)]
    pub fn broken() -> Spool {
        let (requests, _) = mpsc::unbounded_channel();
        let folder = Arc::default();
        Spool { requests, folder }
    }

    /// Stores a message: it is on disk when this returns. Its number is for [`Spool::done`].
    ///
    /// # Errors
    /// It is not stored, or not surely.
    pub async fn store(
        &self,
        message: Bytes,
        policy: Option<Arc<str>>,
        received_ms: u64,
    ) -> io::Result<u64> {
        let waiting = Waiting {
            number: 0,
            message,
            policy,
            received_ms,
        };
        let (stored, answer) = oneshot::channel();
        let gone = || io::Error::other("the spool ended");
        self.requests
            .send(Request::Store(waiting, stored))
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// A message is applied, or refused and kept in the journal.
    pub fn done(&self, number: u64) {
        let _ = self.requests.send(Request::Done(number));
    }

    /// Puts a message that cannot be applied and is not in the journal aside, as a file of its own.
    ///
    /// # Errors
    /// The file cannot be written; the message stays.
    pub fn put_aside(&self, number: u64, message: &[u8]) -> io::Result<PathBuf> {
        let folder = self.folder.join("aside");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let path = folder.join(format!("{number}.hl7"));
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(message)?;
        file.sync_all()?;
        self.done(number);
        Ok(path)
    }
}

/// The thread that owns the files.
struct Writer {
    folder: PathBuf,
    file: File,
    file_number: u64,
    file_bytes: u64,
    /// A name is tried once: a file that was made and cannot be used may lie there.
    next_file: u64,
    /// The file may end in half a record, behind which nothing could be read again.
    is_broken: bool,
    /// The number of the next message.
    next: u64,
    /// Messages that are not done, of each file.
    waiting_in: BTreeMap<u64, usize>,
    file_of: HashMap<u64, u64>,
    _lock: File,
}

impl Writer {
    fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = Vec::new();
            let mut stored = Vec::new();
            let mut request = Some(first);
            while let Some(next) = request {
                match next {
                    Request::Store(mut waiting, answer) => {
                        waiting.number = self.next;
                        self.next += 1;
                        stored.push((waiting.number, answer));
                        Record::write(&Content::Message(waiting), &mut bytes);
                    }
                    Request::Done(number) => {
                        if self.forget(number) {
                            Record::write(&Content::Done(number), &mut bytes);
                        }
                    }
                }
                request = match bytes.len() < GROUP_BYTES {
                    true => requests.try_recv().ok(),
                    false => None,
                };
            }
            self.write(&bytes, stored);
            if self.file_bytes > FILE_BYTES
                && let Err(error) = self.begin_file()
            {
                tracing::error!(%error, "the spool could not begin a file");
            }
            self.delete_done();
        }
        // Nobody can ask for more. What is not done is found at the next start; when all is done, nothing of patients stays on disk.
        if self.file_of.is_empty() {
            let _ = std::fs::remove_file(path(&self.folder, self.file_number));
        }
    }

    fn write(&mut self, bytes: &[u8], stored: Vec<(u64, oneshot::Sender<io::Result<u64>>)>) {
        let failed = self.append(bytes, !stored.is_empty()).err();
        for (number, answer) in stored {
            let result = match &failed {
                None => {
                    self.file_of.insert(number, self.file_number);
                    *self.waiting_in.entry(self.file_number).or_default() += 1;
                    Ok(number)
                }
                Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            if let Err(Ok(number)) = answer.send(result) {
                // Who asked is gone before the answer: nothing was promised.
                self.forget(number);
            }
        }
        if let Some(error) = failed {
            tracing::error!(%error, "messages could not be stored in the spool");
        }
    }

    /// Behind what is surely whole: after a failure in a new file.
    fn append(&mut self, bytes: &[u8], is_synced: bool) -> io::Result<()> {
        if self.is_broken {
            self.begin_file()?;
        }
        let mut written = self.file.write_all(bytes);
        // A mark that is lost costs a look into the journal.
        if is_synced {
            written = written.and_then(|()| self.file.sync_data());
        }
        self.file_bytes += bytes.len() as u64;
        self.is_broken = written.is_err();
        written
    }

    /// Whether the message waited.
    fn forget(&mut self, number: u64) -> bool {
        let Some(file) = self.file_of.remove(&number) else {
            return false;
        };
        let waiting = self.waiting_in.entry(file).or_default();
        *waiting = waiting.saturating_sub(1);
        true
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.next_file;
        self.next_file += 1;
        self.file = create(&self.folder, number)?;
        self.file_number = number;
        self.file_bytes = 0;
        self.is_broken = false;
        self.waiting_in.insert(number, 0);
        Ok(())
    }

    /// Oldest first: the marks of a message stand in its own file or a later one.
    fn delete_done(&mut self) {
        while let Some((file, 0)) = self.waiting_in.first_key_value().map(|(f, n)| (*f, *n)) {
            if file == self.file_number {
                return;
            }
            if let Err(error) = std::fs::remove_file(path(&self.folder, file)) {
                tracing::warn!(%error, "a file of the spool that is done could not be deleted");
            }
            self.waiting_in.remove(&file);
        }
    }
}

#[derive(Default)]
struct Found {
    /// With the file each is in, in order.
    messages: Vec<(u64, Waiting)>,
    highest: u64,
}

/// All files, and the messages in them that are not done.
fn read_folder(folder: &Path) -> io::Result<(BTreeMap<u64, PathBuf>, Found)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".spool")?.parse().ok());
        if let Some(number) = number {
            files.insert(number, path);
        }
    }
    let mut found = Found::default();
    let mut done = HashSet::new();
    for (number, path) in &files {
        let bytes = Bytes::from(std::fs::read(path)?);
        let mut rest = bytes.clone();
        while let Some(content) = Record::read(&mut rest) {
            match content {
                Content::Message(message) => {
                    found.highest = found.highest.max(message.number);
                    found.messages.push((*number, message));
                }
                Content::Done(number) => {
                    // Also of files that are gone: a number in use again would be taken for done.
                    found.highest = found.highest.max(number);
                    done.insert(number);
                }
            }
        }
        if !rest.is_empty() {
            let bytes = rest.len();
            tracing::warn!(
                bytes,
                "a record of the spool is not whole: it was never acknowledged"
            );
        }
    }
    found
        .messages
        .retain(|(_, message)| !done.contains(&message.number));
    Ok((files, found))
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.spool"))
}

/// A new file that is there after a crash, too.
fn create(folder: &Path, number: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path(folder, number))?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
