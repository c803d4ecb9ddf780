//! `onbill sandbox-csp`: its arguments, and what it says on the terminal when it listens.
//!
//! Invariant: what is printed can be pasted into a gateway's configuration; a key is never printed.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Outcome, chain};
use crate::domain::Time;
use crate::domain::api_key::KeyDigest;
use crate::domain::money::Currency;
use crate::runtime::sandbox_csp::{self, Listening, Options, Protocol};

/// Arguments of `sandbox-csp`.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --protocol http it serves deploy/csp/csp-api-v1.yaml: POST /account/validate,
POST /transaction, GET /transaction/{transactionId} and POST …/void, POST /notification. With
--protocol grpc it serves onbill.csp.v1.CspService of proto/onbill/csp/v1/csp.proto, with
reflection. Its accounts are those of the sandbox: a number is 555, five free digits, and two
digits that say what it is (5550100001).

Beside it, for whoever tests, over HTTP/1.1 on the same port with either protocol:
  GET  /bill                   every line of every bill, one JSON object a line
  GET  /bill?address=N         the bill of a number, with its total
  GET  /messages?address=N     what a number has received, newest first
  POST /reset                  {\"address\":N} makes a number as new
  GET  /clock                  its time; POST /clock/advance {\"seconds\":n} moves it forward
  POST /faults                 has requests go wrong; GET shows the orders, DELETE forgets them

An order for a fault: {\"fault\":F,\"verb\":V,\"address\":N,\"reference\":R,\"nth\":1,\"count\":1}; all
but the fault is optional. V is account, charge, refund, inquire, void or notify. F is one of
  answer-lost    done, never answered         request-lost     not done, never answered
  cut-before     closed, not done             cut-after        done, then closed
  cut-answer     closed within the answer     late             closed, done after delayMs
  delay          answered after delayMs       twice            done twice under its reference
  not-applied    not done, may be repeated    status           answers status; done if applied
  (status is an HTTP status, or with --protocol grpc a number of gRPC, 1 to 16)
  wrong-amount, wrong-reference, broken-json  done, answered wrongly

Examples:
  onbill sandbox-csp --data-dir ./operator
  curl -s http://127.0.0.1:8090/faults -d '{\"fault\":\"cut-after\",\"verb\":\"charge\",\"count\":3}'
  onbill sandbox-csp --data-dir ./operator --protocol grpc
  onbill sandbox-csp --data-dir ./operator --listen 127.0.0.1:0 --api-key secret --currency JPY
  curl -s http://127.0.0.1:8090/bill

Exit codes: 0 shut down in order, 1 failed, 2 wrong arguments.")]
pub struct Arguments {
    /// Where gateways call.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// How gateways speak to it.
    #[arg(long, value_enum, default_value_t = Speaks::Http)]
    pub protocol: Speaks,
    /// Where its bill is kept.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Key that gateways must send as X-API-KEY [default: none is asked for].
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Currency of its bills.
    #[arg(long, value_name = "CODE", default_value = "MXN", value_parser = currency)]
    pub currency: Currency,
    /// A time at which its clock stands until it is moved [default: it goes].
    #[arg(long, value_name = "TIME")]
    pub standing_clock: Option<Time>,
}

/// How gateways speak to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Speaks {
    /// The CSP API v1 over HTTP/1.1.
    Http,
    /// onbill.csp.v1 over gRPC.
    Grpc,
}

fn currency(code: &str) -> Result<Currency, String> {
    Currency::from_code(code).ok_or_else(|| "must be a currency of ISO 4217 that has a minor unit, like MXN".to_owned())
}

/// Runs the operator.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(arguments: Arguments, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let options = Options {
        listen: arguments.listen,
        protocol: match arguments.protocol {
            Speaks::Http => Protocol::Http,
            Speaks::Grpc => Protocol::Grpc,
        },
        data_dir: arguments.data_dir,
        api_key: arguments.api_key.map(|key| KeyDigest::of(key.as_bytes())),
        currency: arguments.currency,
        standing_at: arguments.standing_clock,
    };
    let lived = sandbox_csp::run(&options, |listening| {
        // Whoever started the operator may have stopped listening to it; it serves all the same.
        let _ = out.write_all(Started(listening).to_string().as_bytes()).and_then(|()| out.flush());
    });
    match lived {
        Ok(()) => Ok(Outcome::Done),
        Err(error) => {
            writeln!(err, "onbill stopped: {}", chain(&error))?;
            Ok(Outcome::Failed)
        }
    }
}

/// What an operator that listens says on the terminal.
struct Started<'a>(&'a Listening);

impl fmt::Display for Started<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(formatter, "onbill {version} (sandbox CSP: no real money moves)")?;
        writeln!(formatter, "  CSP API        http://{}", self.0.listen)?;
        writeln!(formatter, "  bill           {}", self.0.bill.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_it_is_and_where_its_bill_is() {
        let listen = "127.0.0.1:8090".parse().expect("an address");
        let text = Started(&Listening { listen, bill: PathBuf::from("/data/bill") }).to_string();
        assert!(text.contains("  CSP API        http://127.0.0.1:8090\n") && text.contains("/data/bill"), "{text}");
    }

    #[test]
    fn a_currency_must_be_one() {
        assert!(currency("MXN").is_ok() && currency("XXQ").is_err() && currency("").is_err());
    }
}
