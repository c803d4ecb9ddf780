//! The keys of one issuer as they were last fetched.
//!
//! Invariant: a call whose key is known never waits. A call that names an unknown key has the keys fetched anew, at most
//! once a pause whoever asks, and waits for that fetch alone, for at most its timeout; no more than [`WAITING_MAX`]
//! calls wait at a time, and the rest are refused at once. A fetch that fails keeps the keys there are until they are
//! too old; a set that is well formed replaces them whole, an empty one included, since that is how keys are revoked.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::IssuerSettings;
use super::keys::{self, Key};
use super::source::{Fetcher, SourceError};
use crate::domain::token::Algorithm;
use crate::ports::measures::JWKS_FETCHES;
use crate::ports::tokens::NotVerified;

/// Most calls that wait for keys of one issuer.
const WAITING_MAX: usize = 128;

/// What is known of an issuer's keys.
#[derive(Clone, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// When they were fetched; `None`: never.
    fetched_at: Option<Instant>,
    /// How many attempts have ended.
    attempts: u64,
    /// When the last of them ended.
    tried_at: Option<Instant>,
    is_fetching: bool,
}

/// The keys of an issuer, kept up by a task of their own.
pub(super) struct Published {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    waiting: Semaphore,
    pause: Duration,
    patience: Duration,
    stale_max: Duration,
    task: JoinHandle<()>,
}

impl Published {
    pub(super) fn begin(settings: &IssuerSettings) -> Result<Self, SourceError> {
        let fetcher = Fetcher::new(&settings.source)?;
        // The first fetch is under way from the beginning, so that nobody is refused before it has ended.
        let (sender, known) = watch::channel(Known { is_fetching: true, ..Known::default() });
        let wanted = Arc::new(Notify::new());
        let keeper = Keeper {
            name: settings.name.clone(),
            fetcher,
            refresh: settings.refresh,
            pause: settings.pause,
            timeout: settings.timeout,
            sender,
            wanted: Arc::clone(&wanted),
        };
        Ok(Self {
            known,
            wanted,
            waiting: Semaphore::new(WAITING_MAX),
            pause: settings.pause,
            patience: settings.timeout.saturating_add(Duration::from_millis(100)),
            stale_max: settings.stale_max,
            task: tokio::spawn(keeper.keep()),
        })
    }

    /// The keys that may have signed a token. Without a name in the token, it must be the only one that fits.
    pub(super) async fn keys_for(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<Key>, NotVerified> {
        let known = self.known.borrow().clone();
        let found = self.among(&known, kid, algorithm);
        match found {
            Err(NotVerified::UnknownKey | NotVerified::NoKeys) if self.may_wait(&known) => {
                let Ok(_place) = self.waiting.try_acquire() else { return found };
                let mut changes = self.known.clone();
                if !known.is_fetching {
                    self.wanted.notify_one();
                }
                let ended = changes.wait_for(|now| now.attempts != known.attempts);
                // Whatever came of it is looked at below.
                let _ = timeout(self.patience, ended).await;
                let fetched = self.known.borrow().clone();
                self.among(&fetched, kid, algorithm)
            }
            found => found,
        }
    }

    /// Whether a fetch is under way, or may begin now.
    fn may_wait(&self, known: &Known) -> bool {
        known.is_fetching || known.tried_at.is_none_or(|tried_at| tried_at.elapsed() >= self.pause)
    }

    fn among(&self, known: &Known, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<Key>, NotVerified> {
        if known.fetched_at.is_none_or(|fetched_at| fetched_at.elapsed() > self.stale_max) {
            return Err(NotVerified::NoKeys);
        }
        let named: Vec<&Key> = known.keys.iter().filter(|key| kid.is_none() || key.kid() == kid).collect();
        if named.is_empty() {
            return Err(NotVerified::UnknownKey);
        }
        let fitting: Vec<Key> = named.into_iter().filter(|key| key.fits(algorithm)).cloned().collect();
        match (kid, fitting.len()) {
            (_, 0) => Err(NotVerified::Algorithm),
            (None, 2..) => Err(NotVerified::UnknownKey),
            (None | Some(_), _) => Ok(fitting),
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fetches keys for as long as it is let.
struct Keeper {
    name: String,
    fetcher: Fetcher,
    refresh: Duration,
    pause: Duration,
    timeout: Duration,
    sender: watch::Sender<Known>,
    wanted: Arc<Notify>,
}

impl Keeper {
    async fn keep(self) {
        let mut was_well = true;
        loop {
            self.sender.send_modify(|known| known.is_fetching = true);
            let fetched = timeout(self.timeout, self.fetcher.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer in {} ms", self.timeout.as_millis())));
            let read = fetched.and_then(|bytes| keys::read(&bytes));
            let is_well = read.is_ok();
            self.note(&read, was_well);
            self.sender.send_modify(|known| {
                let now = Instant::now();
                if let Ok(keys) = read {
                    (known.keys, known.fetched_at) = (Arc::new(keys), Some(now));
                }
                (known.attempts, known.tried_at) = (known.attempts.saturating_add(1), Some(now));
                known.is_fetching = false;
            });
            was_well = is_well;
            let next = if is_well { self.refresh } else { self.pause };
            // Whoever asks within the pause is answered without a fetch, so nothing is owed to them after it.
            tokio::time::sleep(self.pause.min(next)).await;
            tokio::select! {
                () = tokio::time::sleep(next.saturating_sub(self.pause)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Tells of a fetch; of failures in a row, once.
    fn note(&self, read: &Result<Vec<Key>, String>, was_well: bool) {
        let outcome = match read {
            Ok(keys) => {
                if keys.is_empty() {
                    tracing::warn!(issuer = self.name, "the issuer publishes no key that could have signed a token");
                }
                if !was_well {
                    tracing::info!(issuer = self.name, keys = keys.len(), "the issuer's keys are fetched again");
                }
                "fetched"
            }
            Err(why) => {
                if was_well {
                    tracing::warn!(issuer = self.name, why, "the issuer's keys cannot be fetched; the old ones stay");
                }
                "failed"
            }
        };
        counter!(JWKS_FETCHES.name, "issuer" => self.name.clone(), "outcome" => outcome).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::tokens::Source;

    fn settings(file: &std::path::Path) -> IssuerSettings {
        IssuerSettings {
            name: "id".to_owned(),
            issuer: "https://id.example".to_owned(),
            source: Source::File(file.to_owned()),
            algorithms: Algorithm::ALL.to_vec(),
            types: vec!["jwt".to_owned()],
            client_claim: "azp".to_owned(),
            scope_claims: vec!["scope".to_owned()],
            refresh: Duration::from_mins(5),
            pause: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            stale_max: Duration::from_hours(1),
        }
    }

    fn set(kids: &[&str]) -> String {
        let keys = kids.iter().map(|kid| {
            format!(
                r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#
            )
        });
        format!(r#"{{"keys":[{}]}}"#, keys.collect::<Vec<_>>().join(","))
    }

    async fn count(published: &Published, kid: Option<&str>) -> Result<usize, NotVerified> {
        published.keys_for(kid, Algorithm::EdDsa).await.map(|keys| keys.len())
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_fetched_for_once_a_pause_and_a_known_one_never() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("jwks.json");
        std::fs::write(&file, set(&["a"])).expect("a file");
        let published = Published::begin(&settings(&file)).expect("a file");
        assert_eq!(count(&published, Some("a")).await, Ok(1), "the first fetch is waited for");
        std::fs::write(&file, set(&["a", "b"])).expect("a file");
        assert_eq!(count(&published, Some("b")).await, Err(NotVerified::UnknownKey), "within the pause");
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(published.known.borrow().attempts, 1, "nobody's asking within the pause has a fetch begun after it");
        assert_eq!(count(&published, Some("a")).await, Ok(1));
        assert_eq!(published.known.borrow().attempts, 1, "a known key fetches nothing");
        assert_eq!(count(&published, Some("b")).await, Ok(1), "rotated");
        assert_eq!(count(&published, None).await, Err(NotVerified::UnknownKey), "which of the two?");
        assert_eq!(count(&published, Some("c")).await, Err(NotVerified::UnknownKey));
        assert_eq!(published.known.borrow().attempts, 2);
        assert_eq!(published.keys_for(Some("a"), Algorithm::Rs256).await.err(), Some(NotVerified::Algorithm));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_stay_while_they_cannot_be_fetched_until_they_are_too_old_and_a_set_replaces_them_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("jwks.json");
        std::fs::write(&file, set(&["a"])).expect("a file");
        let published = Published::begin(&settings(&file)).expect("a file");
        assert_eq!(count(&published, Some("a")).await, Ok(1));
        for lie in ["<html>", "", r#"{"keys":7}"#] {
            std::fs::write(&file, lie).expect("a file");
            tokio::time::sleep(Duration::from_mins(6)).await;
            assert_eq!(count(&published, Some("a")).await, Ok(1), "{lie}");
        }
        std::fs::remove_file(&file).expect("it was there");
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(count(&published, Some("a")).await, Ok(1));
        tokio::time::sleep(Duration::from_mins(31)).await;
        assert_eq!(count(&published, Some("a")).await, Err(NotVerified::NoKeys), "older than they may be");
        std::fs::write(&file, set(&["a"])).expect("a file");
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(count(&published, Some("a")).await, Ok(1), "had again without anybody's asking");
        std::fs::write(&file, set(&[])).expect("a file");
        tokio::time::sleep(Duration::from_mins(6)).await;
        assert_eq!(count(&published, Some("a")).await, Err(NotVerified::UnknownKey), "revoked");
    }
}
