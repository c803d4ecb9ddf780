//! Why the ledger's server cannot be used, and why a question to it was not answered.
//!
//! Invariant: an error of opening says what to do. What the server says of an error is kept without its details, since
//! those show rows, and rows hold addresses; secrets of the connection are in no error either. After an error of working
//! nothing may be acknowledged; whether anything was written is told by [`Trouble::is_undone`].

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::ports::Cause;
use crate::ports::ledger::LedgerUnavailable;

/// The ledger cannot be opened. The gateway must not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is none.
    #[error("postgres.url cannot be read ({0}): it must be like postgresql://user@host1,host2:5432/database")]
    Url(String),
    /// The URL names no server.
    #[error("postgres.url names no host and no directory of a socket")]
    NoHost,
    /// The authorities cannot be read.
    #[error("postgres.ca_file cannot be used ({0}): it must hold certificates in PEM")]
    Authorities(String),
    /// No server answers, or none that takes writes.
    #[error("PostgreSQL cannot be reached: {0}; check postgres.url, that the server runs and that it is the primary")]
    Unreachable(String),
    /// The server's certificate is not one to trust.
    #[error(
        "PostgreSQL's certificate is refused ({0}): name its authority in postgres.ca_file, and with postgres.tls = \
         \"verify-full\" a host in postgres.url that the certificate is for"
    )]
    Untrusted(String),
    /// The database has another encoding.
    #[error("the database keeps its texts in {0}: make one with the encoding UTF8")]
    Encoding(String),
    /// There is no schema, or an older one.
    #[error("the database has schema {found}, and this release needs {needed}: run onbill migrate with this release")]
    OlderSchema {
        /// The schema that it has; 0 where it has none.
        found: i32,
        /// The schema that is needed.
        needed: i32,
    },
    /// A newer release has made its schema, and does not let this one work on it.
    #[error(
        "the database has schema {found}, which lets releases from schema {runs_from} on work, and this release knows \
         schemas up to {known}: start a newer release"
    )]
    NewerSchema {
        /// The schema that it has.
        found: i32,
        /// The oldest schema whose releases may work on it.
        runs_from: i32,
        /// The newest schema that is known.
        known: i32,
    },
    /// The tables are somebody else's.
    #[error(
        "the database has a table {0} that is not onbill's: name a database or a schema of its own in postgres.url"
    )]
    NotALedger(String),
    /// Anything else.
    #[error("PostgreSQL refused: {0}")]
    Refused(String),
}

impl OpenError {
    /// What a trouble means to whoever starts a gateway.
    pub(super) fn of(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Connection(_) | Trouble::Slow { .. } => Self::Unreachable(trouble.to_string()),
            Trouble::Untrusted(why) => Self::Untrusted(why.clone()),
            Trouble::Server { .. } | Trouble::Unreadable(_) | Trouble::Busy(_) | Trouble::Stopped => {
                Self::Refused(trouble.to_string())
            }
        }
    }
}

/// A question was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Trouble {
    /// The server says no.
    #[error("the server says: {message} ({})", code.code())]
    Server {
        /// What kind of trouble it is.
        code: SqlState,
        /// In the server's words, without details.
        message: String,
    },
    /// There is no connection, or there is none any more.
    #[error("{0}")]
    Connection(String),
    /// The server's certificate is not one to trust.
    #[error("its certificate is refused: {0}")]
    Untrusted(String),
    /// The answer did not come in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// A row holds what no release of ours has written.
    #[error("column {0} of a row cannot be read")]
    Unreadable(usize),
    /// A bound is reached.
    #[error("{0}")]
    Busy(&'static str),
    /// The gateway stops.
    #[error("the ledger's writers have stopped")]
    Stopped,
}

impl Trouble {
    /// The transaction was given back by the server and may be tried again as it is: it stood in another one's way.
    pub(super) fn is_undone(&self) -> bool {
        self.code()
            .is_some_and(|code| matches!(*code, SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED))
    }

    /// The server refuses the statement: it and its transaction are over. It says so itself where it cannot know.
    pub(super) fn is_a_refusal(&self) -> bool {
        self.code().is_some_and(|code| *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN)
    }

    /// What was to be written breaks the schema: one unit's fault, and no reason for others to suffer.
    pub(super) fn is_a_units_fault(&self) -> bool {
        matches!(self, Self::Unreadable(_))
            || self.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
    }

    /// The connection is of no more use: it is broken, silent, or leads to a server that stops or takes no writes.
    pub(super) fn ends_the_connection(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Untrusted(_) | Self::Slow(_) => true,
            Self::Server { code, .. } => {
                let code = code.code();
                ["08", "57P"].iter().any(|class| code.starts_with(class))
                    || code == SqlState::READ_ONLY_SQL_TRANSACTION.code()
            }
            Self::Unreadable(_) | Self::Busy(_) | Self::Stopped => false,
        }
    }

    const fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server { code, .. } => Some(code),
            Self::Connection(_)
            | Self::Untrusted(_)
            | Self::Slow(_)
            | Self::Unreadable(_)
            | Self::Busy(_)
            | Self::Stopped => None,
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            return Self::Server { code: said.code().clone(), message: said.message().to_owned() };
        }
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if let Some(rustls::Error::InvalidCertificate(why)) = protection(cause) {
                return Self::Untrusted(why.to_string());
            }
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Connection(text)
    }
}

/// The error of the connection's protection that another error carries.
fn protection<'a>(carrier: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    carrier.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

impl From<Trouble> for LedgerUnavailable {
    fn from(trouble: Trouble) -> Self {
        Self(Cause::new(trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str) -> Trouble {
        Trouble::Server { code: SqlState::from_code(code), message: "no".to_owned() }
    }

    #[test]
    fn what_may_be_done_next_follows_from_the_code() {
        for (trouble, undone, fault, ends) in [
            (server("40001"), true, false, false),
            (server("40P01"), true, false, false),
            (server("40003"), false, false, false),
            (server("23514"), false, true, false),
            (server("22P02"), false, true, false),
            (server("25006"), false, false, true),
            (server("57P01"), false, false, true),
            (server("57014"), false, false, false),
            (server("53100"), false, false, false),
            (Trouble::Connection("gone".to_owned()), false, false, true),
            (Trouble::Slow(Duration::from_secs(1)), false, false, true),
            (Trouble::Unreadable(3), false, true, false),
            (Trouble::Busy("full"), false, false, false),
        ] {
            let found = (trouble.is_undone(), trouble.is_a_units_fault(), trouble.ends_the_connection());
            assert_eq!(found, (undone, fault, ends), "{trouble:?}");
        }
    }
}
