//! The system's clock with an offset that a test may enlarge, up to 30 days in all (contract section 6).
//!
//! Invariant: the offset is in its file before the clock shows it, so that a restart does not turn time back over
//! records that are already dated. The file is replaced whole: a reader finds the old offset or the new one. A clock that
//! gateways share reads it again after a rest, and whoever moves it answers after such a rest: none of them is behind once
//! that is answered. It never turns back.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::{MOVED_S_MAX, SystemClock};
use crate::domain::Time;
use crate::ports::clock::{Clock, MovableClock, OutOfRange};

/// How long the offset of a shared clock is taken as it was read: a charge looks at the clock several times.
const REST: Duration = Duration::from_millis(1);

/// Why the file of a clock's offset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClockFileError {
    /// It cannot be read.
    #[error("the clock's file {0} cannot be read")]
    Unreadable(PathBuf, #[source] io::Error),
    /// It holds something else than an offset.
    #[error("the clock's file {0} does not hold a number of seconds between 0 and {MOVED_S_MAX}")]
    Malformed(PathBuf),
}

/// A movable system clock.
#[derive(Debug)]
pub struct MovableSystemClock {
    system: SystemClock,
    /// Seconds that it is ahead of the system's clock.
    offset_s: AtomicI64,
    /// Where the offset is kept; held while it is changed.
    file: Mutex<PathBuf>,
    /// The same file, where others move the clock as well.
    shared: Option<PathBuf>,
    began: Instant,
    /// When the shared file was begun to be read last, in microseconds since `began`.
    read_at_us: AtomicU64,
}

impl MovableSystemClock {
    /// Opens a clock with the offset in this file; without a file it has none.
    ///
    /// # Errors
    /// The file is there and cannot be read, or holds something else.
    pub fn open(file: &Path) -> Result<Self, ClockFileError> {
        let began = Instant::now();
        let offset_s = match fs::read_to_string(file) {
            Ok(text) => parse_offset(&text).ok_or_else(|| ClockFileError::Malformed(file.to_owned()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(ClockFileError::Unreadable(file.to_owned(), error)),
        };
        Ok(Self {
            system: SystemClock::new(),
            offset_s: AtomicI64::new(offset_s),
            file: Mutex::new(file.to_owned()),
            shared: None,
            began,
            read_at_us: AtomicU64::new(0),
        })
    }

    /// Opens a clock that other processes move as well, by the same file.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_shared(file: &Path) -> Result<Self, ClockFileError> {
        Ok(Self { shared: Some(file.to_owned()), ..Self::open(file)? })
    }

    /// Takes over what others have made of the offset, unless that was done a moment ago.
    fn follow(&self) {
        if self.shared.is_none() {
            return;
        }
        let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let rest_us = u64::try_from(REST.as_micros()).unwrap_or(u64::MAX);
        let read_at_us = self.read_at_us.load(Ordering::SeqCst);
        if now_us.saturating_sub(read_at_us) >= rest_us {
            self.catch_up();
            // After the reading: nobody goes by a moment whose offset is not there yet.
            self.read_at_us.fetch_max(now_us, Ordering::SeqCst);
        }
    }

    /// Takes over what others have made of the offset. What cannot be read changes nothing.
    fn catch_up(&self) {
        let read = self.shared.as_ref().and_then(|file| fs::read_to_string(file).ok());
        if let Some(offset_s) = read.and_then(|text| parse_offset(&text)) {
            self.offset_s.fetch_max(offset_s, Ordering::SeqCst);
        }
    }
}

impl Clock for MovableSystemClock {
    fn now(&self) -> Time {
        self.follow();
        let offset = SignedDuration::from_secs(self.offset_s.load(Ordering::SeqCst));
        self.system.now().checked_add(offset).unwrap_or(Time::MAX)
    }
}

impl MovableClock for MovableSystemClock {
    fn advance(&self, seconds: i64) -> Result<Time, OutOfRange> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Held until the end: of two who move it at once, the second adds to what the first has written.
        let _turn = self.shared.as_deref().map(turn);
        self.catch_up();
        let offset_s = self.offset_s.load(Ordering::SeqCst).checked_add(seconds).ok_or(OutOfRange)?;
        if seconds < 1 || offset_s > MOVED_S_MAX {
            return Err(OutOfRange);
        }
        if let Err(error) = replace(&file, offset_s) {
            tracing::warn!(?error, "the clock is moved, but a restart will move it back: its file cannot be written");
        }
        self.offset_s.store(offset_s, Ordering::SeqCst);
        if self.shared.is_some() {
            thread::sleep(REST);
        }
        drop(file);
        Ok(self.now())
    }
}

/// Waits until no other process moves the clock. Where locks are not to be had, the clock is moved without one.
fn turn(file: &Path) -> io::Result<File> {
    let lock = File::create(file.with_extension("lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn parse_offset(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|offset_s| (0..=MOVED_S_MAX).contains(offset_s))
}

/// Writes the offset beside the file and puts it in the file's place.
fn replace(file: &Path, offset_s: i64) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut written = File::create(&beside)?;
    writeln!(written, "{offset_s}")?;
    written.sync_all()?;
    fs::rename(&beside, file)?;
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_ahead(clock: &MovableSystemClock) -> i64 {
        clock.offset_s.load(Ordering::SeqCst)
    }

    #[test]
    fn a_restart_keeps_the_offset() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clock-offset");
        let clock = MovableSystemClock::open(&file).expect("a clock without a file");
        let before = clock.now();
        let after = clock.advance(86_400).expect("a day");
        assert!(after.duration_since(before) >= SignedDuration::from_secs(86_400));
        clock.advance(1).expect("a second more");

        let restarted = MovableSystemClock::open(&file).expect("the file it has written");
        assert_eq!(seconds_ahead(&restarted), 86_401);
        assert!(restarted.now() >= after);
    }

    #[test]
    fn it_moves_forward_only_and_at_most_thirty_days_in_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clock-offset");
        let clock = MovableSystemClock::open(&file).expect("a clock without a file");
        for (seconds, moved) in [
            (0, false),
            (-5, false),
            (MOVED_S_MAX + 1, false),
            (MOVED_S_MAX - 10, true),
            (11, false),
            (i64::MAX, false),
            (10, true),
            (1, false),
        ] {
            assert_eq!(clock.advance(seconds).is_ok(), moved, "{seconds}");
        }
        assert_eq!(seconds_ahead(&MovableSystemClock::open(&file).expect("its file")), MOVED_S_MAX);
    }

    #[test]
    fn a_shared_clock_shows_at_once_what_another_has_moved_and_loses_no_second() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clock-offset");
        let [one, other] = [(); 2].map(|()| MovableSystemClock::open_shared(&file).expect("a clock without a file"));
        one.advance(3600).expect("an hour");
        assert!(other.now() >= one.now().checked_sub(SignedDuration::from_secs(5)).expect("a time"));
        let movers: Vec<_> = [one, other]
            .into_iter()
            .map(|clock| {
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        clock.advance(1).expect("a second");
                    }
                })
            })
            .collect();
        for mover in movers {
            mover.join().expect("no panic");
        }
        assert_eq!(seconds_ahead(&MovableSystemClock::open(&file).expect("its file")), 3700);
    }

    #[test]
    fn a_file_that_holds_no_offset_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("clock-offset");
        for text in ["", "soon", "-1", "2592001", "1.5", "99999999999999999999"] {
            fs::write(&file, text).expect("a file");
            assert!(matches!(MovableSystemClock::open(&file), Err(ClockFileError::Malformed(_))), "{text:?}");
        }
        assert!(matches!(MovableSystemClock::open(folder.path()), Err(ClockFileError::Unreadable(..))));
    }

    #[test]
    fn an_offset_that_cannot_be_kept_still_moves_the_clock() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = MovableSystemClock::open(&folder.path().join("gone/clock-offset")).expect("no file is no offset");
        assert!(clock.advance(60).is_ok());
        assert_eq!(seconds_ahead(&clock), 60);
    }
}
