//! The phones' inboxes in a file, where several gateways are one sandbox.
//!
//! Invariant: bounded as those in memory are, oldest messages first to go. Messages may hold PINs: the file is its
//! owner's only, and it exists only where a sandbox is told to share it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::file::BillError;
use super::inbox::{IN_ALL_MAX, PER_NUMBER_MAX};
use crate::domain::Time;
use crate::domain::address::Msisdn;
use crate::ports::csp::SmsText;
use crate::ports::sandbox::ReceivedSms;

/// How long another process may hold the file.
const BUSY_MAX: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS message(
    id     INTEGER PRIMARY KEY,
    number TEXT NOT NULL,
    text   TEXT NOT NULL,
    at_us  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS inbox ON message(number, id);
";

/// All inboxes.
pub(super) struct InboxFile {
    sqlite: Mutex<Connection>,
}

impl InboxFile {
    /// Opens a file, and makes it if there is none.
    pub(super) fn open(file: &Path) -> Result<Self, BillError> {
        // Made before SQLite would, with the rights of everybody. What cannot be made cannot be opened either.
        let _ = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
        let sqlite = Connection::open(file)?;
        sqlite.busy_timeout(BUSY_MAX)?;
        sqlite.pragma_update(None, "journal_mode", "WAL")?;
        sqlite.pragma_update(None, "synchronous", "OFF")?;
        sqlite.execute_batch(SCHEMA)?;
        Ok(Self { sqlite: Mutex::new(sqlite) })
    }

    /// Delivers a message.
    pub(super) fn receive(&self, number: &Msisdn, message: &ReceivedSms) -> Result<(), BillError> {
        let sqlite = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
        sqlite.prepare_cached("INSERT INTO message(number, text, at_us) VALUES(?1, ?2, ?3)")?.execute(params![
            number.expose(),
            message.text.expose(),
            message.at.as_microsecond()
        ])?;
        sqlite
            .prepare_cached(
                "DELETE FROM message WHERE number = ?1 AND id <=
                 (SELECT id FROM message WHERE number = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![number.expose(), bound(PER_NUMBER_MAX)])?;
        sqlite
            .prepare_cached("DELETE FROM message WHERE id <= (SELECT max(id) FROM message) - ?1")?
            .execute([bound(IN_ALL_MAX)])?;
        Ok(())
    }

    /// What a number has received, newest first.
    pub(super) fn messages(&self, number: &Msisdn, messages_max: usize) -> Result<Vec<ReceivedSms>, BillError> {
        let sqlite = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest =
            sqlite.prepare_cached("SELECT text, at_us FROM message WHERE number = ?1 ORDER BY id DESC LIMIT ?2")?;
        let mut rows = newest.query(params![number.expose(), bound(messages_max)])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            let at = Time::from_microsecond(row.get(1)?).map_err(|_| BillError::Damaged("a time"))?;
            messages.push(ReceivedSms { text: SmsText::new(row.get::<_, String>(0)?), at });
        }
        Ok(messages)
    }

    /// Empties the inbox of a number.
    pub(super) fn clear(&self, number: &Msisdn) -> Result<(), BillError> {
        let sqlite = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
        sqlite.prepare_cached("DELETE FROM message WHERE number = ?1")?.execute([number.expose()])?;
        Ok(())
    }
}

fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_receives_another_reads_and_a_phone_keeps_its_newest_messages() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("inbox.sqlite");
        let [one, other] = [(); 2].map(|()| InboxFile::open(&file).expect("a file"));
        let (number, neighbour) = (Msisdn::new("5550100001"), Msisdn::new("5550100101"));
        let message = |text: usize| ReceivedSms { text: SmsText::new(text.to_string()), at: Time::UNIX_EPOCH };
        other.receive(&neighbour, &message(7)).expect("room");
        for text in 0..150 {
            one.receive(&number, &message(text)).expect("room");
        }
        let texts = |messages: Vec<ReceivedSms>| -> Vec<String> {
            messages.iter().map(|message| message.text.expose().to_owned()).collect()
        };
        let all = texts(other.messages(&number, usize::MAX).expect("messages"));
        assert_eq!((all.len(), all[0].as_str(), all[99].as_str()), (PER_NUMBER_MAX, "149", "50"));
        assert_eq!(texts(other.messages(&number, 2).expect("messages")), ["149", "148"]);
        other.clear(&number).expect("room");
        assert!(one.messages(&number, 2).expect("messages").is_empty());
        assert_eq!(texts(one.messages(&neighbour, 9).expect("messages")), ["7"]);
    }

    #[test]
    #[cfg(unix)]
    fn the_file_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("inbox.sqlite");
        drop(InboxFile::open(&file).expect("a file"));
        assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o077, 0);
    }
}
