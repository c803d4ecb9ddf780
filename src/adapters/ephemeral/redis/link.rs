//! The link to Redis: up, with one connection that all callers share, or down, with somebody who brings it up again.
//!
//! Invariant: nobody waits longer than the bounds allow. Whoever finds the connection broken, or an answer late, takes the
//! link down for all, so that the others hear at once that Redis is away instead of waiting each for itself; the keeper
//! connects anew, four times a second, until an answer comes. A command is sent once: whether one that was lost was
//! carried out is not known, and every verb can bear both.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::connect::{Connection, Connector, Settings};

/// Rest between two attempts to connect, and between two looks whether a Cluster that gave errors is better connected
/// anew.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a link that is up is asked whether it still is.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The link is down.
    #[error("Redis is away: {0}")]
    Away(Arc<str>),
    /// The answer is late.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// Redis, or the connection to it, said no.
    #[error("Redis cannot answer")]
    Failed(#[from] RedisError),
}

#[derive(Clone)]
enum State {
    /// The first attempt to connect is under way.
    Starting,
    Up {
        connection: Connection,
        generation: u64,
    },
    Down(Arc<str>),
}

/// The link.
pub(super) struct Link {
    state: watch::Sender<State>,
    /// Told when a Cluster gave errors.
    suspected: Arc<Notify>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Link {
    /// Begins to connect. Called where a runtime runs.
    pub(super) fn open(connector: Connector, settings: &Settings) -> Arc<Self> {
        let link = Arc::new(Self {
            state: watch::Sender::new(State::Starting),
            suspected: Arc::new(Notify::new()),
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        });
        let hosts = u32::try_from(settings.addresses.len()).unwrap_or(u32::MAX);
        // Nodes are tried one after another.
        let attempt_max = settings.connect_timeout.saturating_mul(hosts.saturating_add(1));
        tokio::spawn(keep(Arc::downgrade(&link), connector, attempt_max));
        link
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, NoAnswer> {
        let (connection, generation) = self.connection().await?;
        let heals_itself = connection.heals_itself();
        let failed = match timeout(self.response_timeout, connection.send(command)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if says_nothing_of_the_link(&error) => return Err(error.into()),
            Ok(Err(error)) => NoAnswer::Failed(error),
            Err(_) => NoAnswer::Late(self.response_timeout),
        };
        if heals_itself {
            self.suspected.notify_one();
        } else {
            self.take_down(generation, &failed);
        }
        Err(failed)
    }

    async fn connection(&self) -> Result<(Connection, u64), NoAnswer> {
        let is_starting = matches!(*self.state.borrow(), State::Starting);
        if is_starting {
            let mut state = self.state.subscribe();
            let settled = state.wait_for(|state| !matches!(state, State::Starting));
            // Still starting after that long is as good as down; what it is, is read below.
            let _ = timeout(self.connect_timeout, settled).await;
        }
        match &*self.state.borrow() {
            State::Up { connection, generation } => Ok((connection.clone(), *generation)),
            State::Down(why) => Err(NoAnswer::Away(Arc::clone(why))),
            State::Starting => Err(NoAnswer::Away(Arc::from("it has not answered yet"))),
        }
    }

    /// Takes the link down, unless it is another connection by now.
    fn take_down(&self, broken: u64, why: &NoAnswer) {
        let why = note(why);
        let taken = self.state.send_if_modified(|state| match state {
            State::Up { generation, .. } if *generation == broken => {
                *state = State::Down(Arc::clone(&why));
                true
            }
            State::Up { .. } | State::Starting | State::Down(_) => false,
        });
        if taken {
            tracing::warn!(%why, "Redis is away");
        }
    }

    fn bring_up(&self, connection: Connection, generation: u64) {
        let before = self.state.send_replace(State::Up { connection, generation });
        if matches!(before, State::Down(_)) {
            tracing::info!("Redis is back");
        }
    }

    /// Nothing could be connected. A Cluster that was connected is kept as it is: its client may know a part that answers.
    fn stay_down(&self, why: &NoAnswer) {
        let why = note(why);
        let is_news = self.state.send_if_modified(|state| match state {
            State::Up { .. } => false,
            State::Down(before) if *before == why => false,
            State::Starting | State::Down(_) => {
                *state = State::Down(Arc::clone(&why));
                true
            }
        });
        if is_news {
            tracing::warn!(%why, "Redis is away");
        }
    }
}

/// An error of the command alone: the next one may go well on the same connection.
fn says_nothing_of_the_link(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
        ),
        // What the client has no name for is still an answer: out of memory, say.
        ErrorKind::Extension => true,
        _ => false,
    }
}

/// An error with all that caused it, in a line.
fn note(error: &dyn std::error::Error) -> Arc<str> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Arc::from(text)
}

/// Keeps the link up for as long as there is one.
async fn keep(link: Weak<Link>, connector: Connector, attempt_max: Duration) {
    let mut generation = 0_u64;
    loop {
        let attempt = timeout(attempt_max, answering(&connector)).await;
        let Some(link) = link.upgrade() else { return };
        generation = generation.saturating_add(1);
        match attempt {
            Ok(Ok(connection)) => link.bring_up(connection, generation),
            Ok(Err(error)) => link.stay_down(&NoAnswer::Failed(error)),
            Err(_) => link.stay_down(&NoAnswer::Late(attempt_max)),
        }
        let (state, suspected) = (link.state.subscribe(), Arc::clone(&link.suspected));
        let watched = Arc::downgrade(&link);
        drop(link);
        if !until_needed(&watched, state, &suspected).await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection on which an answer has come.
async fn answering(connector: &Connector) -> Result<Connection, RedisError> {
    let connection = connector.connect().await?;
    connection.clone().send(&redis::cmd("PING")).await?;
    Ok(connection)
}

/// Waits until a new connection is needed, and looks now and then whether the one there is still answers, so that not
/// a caller has to find out. False: nobody needs one any more.
async fn until_needed(link: &Weak<Link>, mut state: watch::Receiver<State>, suspected: &Notify) -> bool {
    loop {
        tokio::select! {
            down = state.wait_for(|state| matches!(state, State::Down(_))) => return down.is_ok(),
            () = suspected.notified() => return true,
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        let Some(link) = link.upgrade() else { return false };
        // What is wrong takes the link down, or casts suspicion on it.
        let _ = link.send(&redis::cmd("PING")).await;
    }
}
