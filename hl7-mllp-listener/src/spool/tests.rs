//! What is stored is there after any end, and what is done is not.

use super::*;

async fn store(spool: &Spool, text: &str) -> u64 {
    let message = Bytes::from(text.to_owned());
    spool.store(message, Some("P.Q".into()), 7).await.unwrap()
}

fn texts(waiting: &[Waiting]) -> Vec<String> {
    let text = |w: &Waiting| String::from_utf8(w.message.to_vec()).unwrap();
    waiting.iter().map(text).collect()
}

/// Opens again, once the thread of the last one has let go.
fn reopen(folder: &Path) -> (Spool, Vec<Waiting>) {
    for _ in 0..500 {
        match Spool::open(folder) {
            Ok(opened) => return opened,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    panic!("the folder stays in use");
}

#[tokio::test]
async fn what_is_not_done_waits_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, waiting) = Spool::open(folder.path()).unwrap();
    assert_eq!(waiting, []);
    let one = store(&spool, "one").await;
    store(&spool, "two").await;
    let three = store(&spool, "three").await;
    spool.done(one);
    assert!(Spool::open(folder.path()).is_err(), "in use");
    drop(spool);
    let (spool, waiting) = reopen(folder.path());
    assert_eq!(texts(&waiting), ["two", "three"]);
    assert_eq!(
        (waiting[0].policy.as_deref(), waiting[0].received_ms),
        (Some("P.Q"), 7)
    );
    assert_eq!(waiting[1].number, three);
    assert!(
        store(&spool, "four").await > three,
        "numbers are not given twice"
    );
    spool.done(three);
    spool.done(three);
    drop(spool);
    let (spool, waiting) = reopen(folder.path());
    assert_eq!(texts(&waiting), ["two", "four"]);
    waiting
        .iter()
        .for_each(|message| spool.done(message.number));
    drop(spool);
    assert_eq!(reopen(folder.path()).1, []);
}

#[tokio::test]
async fn when_all_is_done_nothing_stays_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path()).unwrap();
    let one = store(&spool, "one").await;
    spool.done(one);
    drop(spool);
    drop(reopen(folder.path()));
    drop(reopen(folder.path()));
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert_eq!(bytes, b"", "content is left");
    }
}

#[tokio::test]
async fn a_record_that_is_not_whole_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path()).unwrap();
    store(&spool, "one").await;
    store(&spool, "two").await;
    drop(spool);
    let (spool, _) = reopen(folder.path());
    store(&spool, "three").await;
    drop(spool);
    drop(reopen(folder.path()));
    let first = path(folder.path(), 1);
    let whole = std::fs::read(&first).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&first, &whole[..length]).unwrap();
        let (_, found) = read_folder(folder.path()).unwrap();
        let messages: Vec<_> = found.messages.into_iter().map(|(_, m)| m).collect();
        // "two" ends the file; "one" is half of it.
        let expect: &[&str] = match length * 2 < whole.len() {
            true => &["three"],
            false => &["one", "three"],
        };
        assert_eq!(texts(&messages), expect, "{length} bytes");
    }
    let mut changed = whole.clone();
    changed[20] ^= 1;
    std::fs::write(&first, &changed).unwrap();
    let (_, found) = read_folder(folder.path()).unwrap();
    assert_eq!(found.messages.len(), 1);
}

#[tokio::test]
async fn many_at_once_are_stored_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path()).unwrap();
    let large = "x".repeat(100_000);
    let texts: Vec<String> = (0..300).map(|n| format!("{n} {large}")).collect();
    let stored = texts.iter().map(|text| store(&spool, text));
    let numbers = futures_util::future::join_all(stored).await;
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    assert!(files() > 3, "30 MB are more than one file");
    numbers[1..].iter().for_each(|number| spool.done(*number));
    drop(spool);
    let (spool, waiting) = reopen(folder.path());
    assert_eq!(waiting.len(), 1);
    spool.done(waiting[0].number);
    drop(spool);
    drop(reopen(folder.path()));
    drop(reopen(folder.path()));
    // The lock and at most one empty file.
    assert!(files() <= 2, "{} files", files());
}

/// Nothing is promised behind half a record, and a name that is taken is not tried again for ever.
#[test]
fn after_a_failed_write_a_new_file_is_begun_or_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let open = |number| create(folder.path(), number).unwrap();
    drop((open(1), open(2)));
    let mut writer = Writer {
        folder: folder.path().to_owned(),
        // What is opened for reading cannot be written.
        file: File::open(path(folder.path(), 1)).unwrap(),
        file_number: 1,
        file_bytes: 0,
        next_file: 2,
        is_broken: false,
        next: 1,
        waiting_in: BTreeMap::from([(1, 0)]),
        file_of: HashMap::new(),
        _lock: File::open(folder.path()).unwrap(),
    };
    let mut write = |number: u64| {
        let waiting = Waiting {
            number,
            message: Bytes::from_static(b"m"),
            policy: None,
            received_ms: 0,
        };
        let mut bytes = Vec::new();
        Record::write(&Content::Message(waiting), &mut bytes);
        let (stored, answer) = oneshot::channel();
        writer.write(&bytes, vec![(number, stored)]);
        answer.blocking_recv().unwrap().is_ok()
    };
    // The write fails; then the name of the next file is taken; then there is one.
    assert_eq!([write(1), write(2), write(3)], [false, false, true]);
    let (_, found) = read_folder(folder.path()).unwrap();
    assert_eq!(found.messages.len(), 1);
    assert_eq!(found.messages[0].1.number, 3);
}

#[tokio::test]
async fn a_message_can_be_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path()).unwrap();
    let number = store(&spool, "poison").await;
    let path = spool.put_aside(number, b"poison").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"poison");
    drop(spool);
    assert_eq!(reopen(folder.path()).1, []);
}
