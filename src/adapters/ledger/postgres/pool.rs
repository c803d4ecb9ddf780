//! Connections that read, and that write what is no unit of work.
//!
//! Invariant: they are bounded, and so is every wait: for a free one, for the server to be connected to, and for its
//! answer. One that has failed is never used again; one that was closed while it was idle is replaced unseen, so that a
//! server that was started again is found again by itself. What is asked is not here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::connect::{Connection, Connector};
use super::error::Trouble;
use super::statements::BY_KEY_ONLY;

/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS_KEPT: usize = 64;
/// Times that a statement is tried which the server has given back, or whose connection was lost before its answer.
const TRIES_MAX: u32 = 5;
/// The rest before it is tried again, for each try.
const TRY_PAUSE: Duration = Duration::from_millis(5);

/// What a statement does, and so whether it may be sent again where its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// How statements are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plans {
    /// Once for a connection: rows are looked up by their keys, and there is one way to do that.
    Kept,
    /// Each time, by what the tables hold by then.
    Anew,
}

/// A bounded number of connections.
pub(super) struct Pool {
    connector: Connector,
    plans: Plans,
    places: Semaphore,
    idle: Mutex<Vec<Prepared>>,
}

/// A connection with what is prepared on it.
struct Prepared {
    connection: Connection,
    statements: HashMap<String, Statement>,
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize, plans: Plans) -> Arc<Self> {
        Arc::new(Self { connector, plans, places: Semaphore::new(size.max(1)), idle: Mutex::new(Vec::new()) })
    }

    /// Asks for rows.
    pub(super) async fn query(
        &self,
        does: Does,
        text: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let trouble = match self.attempt(text, values).await {
                Ok(rows) => return Ok(rows),
                Err(trouble) => trouble,
            };
            // A server that is silent is not asked again; one that has closed the connection is, over another.
            let is_silent = matches!(trouble, Trouble::Slow(_));
            let again = trouble.is_undone() || (does == Does::Read && trouble.ends_the_connection() && !is_silent);
            if !again || tries >= TRIES_MAX {
                return Err(trouble);
            }
            tokio::time::sleep(TRY_PAUSE.saturating_mul(tries)).await;
        }
    }

    async fn attempt(&self, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let (mut one, place) = self.take().await?;
        let patience = self.connector.statement_timeout().saturating_mul(2);
        let asked = tokio::time::timeout(patience, one.query(text, values)).await;
        let answer = asked.unwrap_or(Err(Trouble::Slow(patience)));
        if !answer.as_ref().is_err_and(Trouble::ends_the_connection) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
        drop(place);
        answer
    }

    async fn take(&self) -> Result<(Prepared, SemaphorePermit<'_>), Trouble> {
        let waited = tokio::time::timeout(self.connector.statement_timeout(), self.places.acquire()).await;
        let place = match waited {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Trouble::Stopped),
            Err(_) => return Err(Trouble::Busy("every connection to PostgreSQL is at work")),
        };
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(one) if one.connection.client.is_closed() => {}
                Some(one) => return Ok((one, place)),
                None => break,
            }
        }
        let connection = self.connector.connect().await?;
        if self.plans == Plans::Kept {
            connection.client.batch_execute(BY_KEY_ONLY).await?;
        }
        Ok((Prepared { connection, statements: HashMap::new() }, place))
    }
}

impl Prepared {
    async fn query(&mut self, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let client = &self.connection.client;
        let statement = if let Some(statement) = self.statements.get(text) {
            statement.clone()
        } else {
            let statement = client.prepare(text).await?;
            if self.statements.len() < STATEMENTS_KEPT {
                self.statements.insert(text.to_owned(), statement.clone());
            }
            statement
        };
        Ok(client.query(&statement, values).await?)
    }
}
