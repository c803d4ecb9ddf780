//! `onbill serve`: its arguments, and what it says on the terminal when it listens.
//!
//! Invariant: what is printed can be pasted: addresses that answer, keys that are taken. Demo keys are printed in a
//! sandbox only, and no other key is known here.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::{Outcome, chain};
use crate::runtime::config::{Config, DEMO_KEYS, Environment, Overrides, Sources};
use crate::runtime::lifecycle::{self, Listening};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  onbill serve                       a sandbox, with demo keys and nothing to set up
  onbill serve --data-dir ./data     a sandbox that keeps its ledger
  onbill serve --config gateway.toml --listen 0.0.0.0:8080
  ONBILL__LOG__FORMAT=json onbill serve --config gateway.toml

Every setting can come from the file or from the environment as ONBILL__SECTION__KEY, like
ONBILL__SERVER__DRAIN_S=30 or ONBILL__CSP__SANDBOX__CURRENCY=JPY. The command line wins over
the environment, the environment over the file. deploy/onbill.toml shows every setting;
onbill config check says what is wrong with a file.

Exit codes: 0 shut down in order, 1 failed, 2 wrong arguments or configuration.")]
pub struct Arguments {
    /// Configuration file (TOML); without one, a sandbox.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where partners call, gRPC and JSON [default: 127.0.0.1:8080].
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where health and metrics are [default: 127.0.0.1:9090].
    #[arg(long, value_name = "IP:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Ledger and permanent key [default: temporary, in a sandbox].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Arguments {
    /// Where the configuration is read from.
    fn sources(self, environment: Environment) -> Sources {
        let Self { config, listen, admin_listen, data_dir } = self;
        Sources { file: config, environment, overrides: Overrides { listen, admin_listen, data_dir } }
    }
}

/// Reads the configuration and runs the gateway.
///
/// # Errors
/// An output that cannot be written to.
pub fn run(
    arguments: Arguments,
    environment: Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    let sources = arguments.sources(environment);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(problems) => {
            writeln!(err, "onbill cannot start with this configuration:\n{problems}")?;
            return Ok(Outcome::Refused);
        }
    };
    let lived = lifecycle::run(&config, sources, |listening| {
        // Whoever started the gateway may have stopped listening to it; it serves all the same.
        let _ = write!(out, "{}", Started(listening)).and_then(|()| out.flush());
    });
    match lived {
        Ok(()) => Ok(Outcome::Done),
        Err(error) => {
            writeln!(err, "onbill stopped: {}", chain(&error))?;
            Ok(Outcome::Failed)
        }
    }
}

/// What a gateway that listens says on the terminal.
struct Started<'a>(&'a Listening);

impl fmt::Display for Started<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let kind = if self.0.is_sandbox { " (sandbox: no real money moves)" } else { "" };
        writeln!(formatter, "onbill {version}{kind}")?;
        writeln!(formatter, "  gRPC and JSON  {}://{}", self.scheme(), self.0.listen)?;
        writeln!(formatter, "  operations     http://{}  /healthz /readyz /metrics", self.0.admin_listen)?;
        let fate = if self.0.is_temporary { "  (temporary: gone when onbill stops; --data-dir keeps it)" } else { "" };
        writeln!(formatter, "  data           {}{fate}", self.0.data_dir.display())?;
        if self.0.is_sandbox { self.sandbox(formatter) } else { Ok(()) }
    }
}

impl Started<'_> {
    const fn scheme(&self) -> &'static str {
        if self.0.is_encrypted { "https" } else { "http" }
    }

    fn sandbox(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(first, key), (second, other_key)] = DEMO_KEYS;
        let (scheme, target) = (self.scheme(), reachable(self.0.listen));
        let plain = if self.0.is_encrypted { "" } else { " --http2-prior-knowledge" };
        writeln!(formatter, "  certification  {scheme}://{target}/certification/")?;
        writeln!(formatter, "  keys           {key} (partner {first}), {other_key} (partner {second})")?;
        write!(
            formatter,
            "
A first charge, over JSON:

  curl -s {scheme}://{target}/transaction -H 'X-API-KEY: {key}' -H 'Content-Type: application/json' \\
    -d '{{\"extTransactionId\":\"first-1\",\"type\":\"MSISDN\",\"address\":\"5550100001\",\
\"partnerProduct\":\"ott-basic\",\"amount\":\"9.99\",\"currency\":\"MXN\"}}'

The same charge, seen over gRPC:

  buf curl --protocol grpc{plain} -H 'x-api-key: {key}' \\
    -d '{{\"extTransactionId\":\"first-1\"}}' \\
    {scheme}://{target}/onbill.v1.TransactionService/GetTransaction
"
        )
    }
}

/// An address that can be called where a listener may be on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(is_sandbox: bool) -> Listening {
        Listening {
            listen: "0.0.0.0:8081".parse().expect("an address"),
            admin_listen: "127.0.0.1:9090".parse().expect("an address"),
            data_dir: PathBuf::from("/data"),
            is_temporary: is_sandbox,
            is_sandbox,
            is_encrypted: false,
        }
    }

    #[test]
    fn a_sandbox_says_where_it_is_and_gives_two_calls_to_paste() {
        let text = Started(&listening(true)).to_string();
        for part in [
            "http://0.0.0.0:8081",
            "demo-key (partner demo-ott)",
            "temporary",
            "curl -s http://127.0.0.1:8081/transaction",
            "http://127.0.0.1:8081/onbill.v1.TransactionService/GetTransaction",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn behind_tls_the_calls_to_paste_are_https() {
        let text = Started(&Listening { is_encrypted: true, ..listening(true) }).to_string();
        assert!(text.contains("curl -s https://127.0.0.1:8081/") && !text.contains("prior-knowledge"), "{text}");
    }

    #[test]
    fn outside_the_sandbox_no_key_is_printed() {
        let text = Started(&listening(false)).to_string();
        assert!(!text.contains("key"), "{text}");
    }
}
