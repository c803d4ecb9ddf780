//! Is there a gateway, and does it let us in? Asked before the first case, so that a wrong address is one line.
//!
//! Invariant: a flawed gateway is still a gateway: only what no gateway would answer is refused here. Nothing is done
//! at the target but one refused request.

use std::fmt;
use std::time::Duration;

use http::Uri;

use super::answer::{Answer, Body, NoAnswer};
use super::cases::Contract;
use super::check::shown;
use super::document::Document;
use super::faces::{Client, Face};

const TRIES_MAX: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Why a run cannot begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    /// Nobody answers there.
    NotReachable(String),
    /// The key is not taken.
    NotAuthorised(String),
    /// Somebody answers, but no gateway.
    NotAGateway(String),
    /// The options do not make sense.
    Options(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReachable(why) => write!(formatter, "not reachable: {why}"),
            Self::NotAuthorised(why) => write!(formatter, "not authorised: {why}"),
            Self::NotAGateway(why) => write!(formatter, "not a gateway: {why}"),
            Self::Options(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for TargetError {}

/// Asks for the validation of nothing, which every gateway refuses.
///
/// # Errors
/// Why a run cannot begin.
pub async fn probe(client: &Client, face: Face, url: &Uri, contract: &Contract) -> Result<(), TargetError> {
    let place = format!("{face} at {}", url.to_string().trim_end_matches('/'));
    let rpc =
        contract.rpc.get("ValidateAccount").ok_or_else(|| TargetError::Options("no ValidateAccount".to_owned()))?;
    let mut tries = 0_u32;
    let answer = loop {
        tries = tries.saturating_add(1);
        match client.call(rpc, &Document::object([]), "certify").await {
            Ok(answer) => break answer,
            Err(error) if tries >= TRIES_MAX || matches!(error, NoAnswer::TimedOut(_)) => {
                return Err(silent(&error, &place, url));
            }
            Err(_) => tokio::time::sleep(TRY_AGAIN_AFTER).await,
        }
    };
    judge(&answer, &format!("{place}: {}", client.call_name(rpc)))
}

/// What silence says of a target, and what to try next.
fn silent(error: &NoAnswer, place: &str, url: &Uri) -> TargetError {
    let encrypted = url.scheme_str() == Some("https");
    match error {
        NoAnswer::NotConnected(why) if why.contains("peer certificate") => {
            let hint = "is it for this host name, and trusted? --ca FILE adds one to the public authorities";
            TargetError::NotReachable(format!("{place}: {why}: {hint}"))
        }
        // What answers a TLS greeting with something else.
        NoAnswer::NotConnected(why) if encrypted && why.contains("corrupt message") => {
            TargetError::NotReachable(format!("{place}: this port does not speak TLS: try http://"))
        }
        NoAnswer::NotConnected(why) => {
            TargetError::NotReachable(format!("{place}: {why}: is the gateway running, and is this its port?"))
        }
        NoAnswer::TimedOut(_) => TargetError::NotReachable(format!("{place}: {error}: is this a gateway's port?")),
        // Somebody is there, who speaks another protocol.
        NoAnswer::Lost(why) if encrypted => TargetError::NotAGateway(format!("{place}: {why}")),
        NoAnswer::Lost(why) => {
            TargetError::NotAGateway(format!("{place}: {why}: does this port speak TLS? then try https://"))
        }
    }
}

fn judge(answer: &Answer, call: &str) -> Result<(), TargetError> {
    let found = || {
        let body: String = shown(&answer.body).chars().take(100).collect();
        format!("{call} answered {} {}", answer.status, body.replace(['\n', '\r'], " "))
    };
    match answer.status.as_str() {
        "401" | "403" | "UNAUTHENTICATED" | "PERMISSION_DENIED" => {
            Err(TargetError::NotAuthorised(format!("{call} answered {}: is the API key right?", answer.status)))
        }
        "UNIMPLEMENTED" | "UNKNOWN" | "INTERNAL" | "UNAVAILABLE" => Err(TargetError::NotAGateway(found())),
        status if status.starts_with(|first: char| first.is_ascii_digit()) => {
            let code = answer.body.document().and_then(|body| body.get("code"));
            let told = code.is_some_and(|code| code.text().is_some()) && !matches!(answer.body, Body::Empty);
            // A web server, or the gateway's own port for operations.
            let other = || TargetError::NotAGateway(format!("{}: is this its main port?", found()));
            if told { Ok(()) } else { Err(other()) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;

    fn judged(status: &str, body: Body) -> Result<(), TargetError> {
        let (status, headers, bytes) = (status.to_owned(), BTreeMap::new(), Bytes::new());
        judge(&Answer { status, headers, body, bytes, come_back_after: None, remarks: Vec::new() }, "POST /x")
    }

    #[test]
    fn a_flawed_gateway_is_a_gateway_and_a_web_server_is_none() {
        let error = || Body::Document(Document::object([("code", "invalid-request".into())]));
        assert_eq!(judged("400", error()), Ok(()));
        assert_eq!(judged("422", error()), Ok(()));
        assert_eq!(judged("INVALID_ARGUMENT", Body::Empty), Ok(()));
        assert!(matches!(judged("401", error()), Err(TargetError::NotAuthorised(_))));
        assert!(matches!(judged("404", Body::Unreadable("<html>".to_owned())), Err(TargetError::NotAGateway(_))));
        assert!(matches!(judged("200", Body::Document(Document::object([]))), Err(TargetError::NotAGateway(_))));
        assert!(matches!(judged("UNIMPLEMENTED", Body::Empty), Err(TargetError::NotAGateway(_))));
    }
}
