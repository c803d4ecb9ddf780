//! Who may change something over the operations port, or see whose events went where.
//!
//! Invariant: with a token file, nobody without the token; without one, nobody but this machine: on an address that
//! others reach, those routes are closed until there is a token. The file is read at each such request, so that a new
//! token counts from the moment that it is written; tokens are compared by digest, in constant time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;

use crate::runtime::config::tables::Server;
use crate::runtime::webhooks::Problem;

/// Fewest and most characters of a token. Fewer could be guessed.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=1_024;

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server.admin_token_file: {path} {why}", path = .path.display())]
pub struct TokenError {
    path: PathBuf,
    why: String,
}

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Door {
    /// Who shows the token in this file.
    Token(Arc<Path>),
    /// Everybody: only this machine reaches the port.
    Open,
    /// Nobody.
    Closed,
}

impl Door {
    /// The door of a configuration.
    ///
    /// # Errors
    /// A token that cannot be read, or is none.
    pub async fn of(server: &Server) -> Result<Self, TokenError> {
        if let Some(path) = &server.admin_token_file {
            digest(path).await?;
            return Ok(Self::Token(Arc::from(path.as_path())));
        }
        Ok(Self::without_token(server.admin_listen))
    }

    fn without_token(listen: SocketAddr) -> Self {
        if listen.ip().is_loopback() {
            return Self::Open;
        }
        tracing::warn!(
            %listen,
            "the operations port is open to other machines and there is no server.admin_token_file: settling and \
             /webhooks are closed, and whoever reaches it sees /metrics"
        );
        Self::Closed
    }
}

async fn digest(path: &Path) -> Result<[u8; 32], TokenError> {
    let failed = |why: String| TokenError { path: path.to_owned(), why };
    let most = u64::try_from(*TOKEN_LENGTH.end()).unwrap_or(u64::MAX).saturating_add(2);
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(format!("cannot be read: {error}")))?;
    file.take(most).read_to_string(&mut text).await.map_err(|error| failed(format!("cannot be read: {error}")))?;
    let token = text.trim_end();
    if !TOKEN_LENGTH.contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = (TOKEN_LENGTH.start(), TOKEN_LENGTH.end());
        return Err(failed(format!("must hold one token of {least} to {most} visible characters, and nothing else")));
    }
    Ok(Sha256::digest(token).into())
}

/// Lets those in who may come, and answers the rest.
pub async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    match &door {
        Door::Open => next.run(request).await,
        Door::Closed => refusal(
            StatusCode::FORBIDDEN,
            "closed: this port is open to other machines and has no server.admin_token_file",
        ),
        Door::Token(path) => match digest(path).await {
            Ok(token) if shows(request.headers(), &token) => next.run(request).await,
            Ok(_) => {
                refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong: --admin-token-file names its file")
            }
            Err(error) => {
                tracing::error!(%error, "nobody can be let in");
                refusal(StatusCode::SERVICE_UNAVAILABLE, "the token that the gateway knows cannot be read")
            }
        },
    }
}

fn shows(headers: &HeaderMap, token: &[u8; 32]) -> bool {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else { return false };
    let shown = value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let shown: [u8; 32] = Sha256::digest(shown).into();
    shown.ct_eq(token).into()
}

fn refusal(status: StatusCode, text: &str) -> Response {
    let body = serde_json::to_string(&Problem { error: text.to_owned() }).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
