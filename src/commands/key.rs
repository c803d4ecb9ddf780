//! `onbill key new`: makes an API key for a partner.
//!
//! Invariant: a key is 256 bits of the system's own randomness, is printed once and is kept nowhere; the configuration
//! gets its digest. A key that could not be drawn or printed whole is no key.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::Outcome;
use crate::domain::api_key::KeyDigest;

/// Bytes of randomness in a key.
const KEY_BYTES: usize = 32;
/// What every key begins with, so that a scanner for leaked secrets can find it.
const KEY_PREFIX: &str = "onb_";

/// Commands about API keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an API key for a partner, with the line that goes into the configuration.
    ///
    /// The key is printed once and kept nowhere.
    #[command(after_help = "A key is 256 random bits, written as onb_ and 43 characters of base64url. The partner
sends it in the header X-API-KEY (gRPC: the metadata x-api-key). The configuration holds
its digest only: SHA-256 of the whole text, onb_ included, without a line break. A partner
may have two keys while it changes from one to the other, each with an end and with
scopes of its own where it is written as a table.

Examples:
  onbill key new
  onbill key new --json
  printf %s \"$KEY\" | sha256sum        the digest of a key that you have already

Exit codes: 0 made, 1 no randomness, or nowhere to print to.")]
    New(New),
}

/// Arguments of `key new`.
#[derive(Debug, clap::Args)]
pub struct New {
    /// Answer in JSON: key, sha256, toml.
    #[arg(long)]
    pub json: bool,
}

/// A key and what goes into the configuration. It does not print by itself.
#[derive(Serialize)]
struct FreshKey {
    key: String,
    sha256: String,
    toml: String,
}

impl FreshKey {
    fn from_bits(bits: [u8; KEY_BYTES]) -> Self {
        let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        let sha256 = KeyDigest::of(key.as_bytes()).to_string();
        let toml = format!("key_sha256 = [\"{sha256}\"]");
        Self { key, sha256, toml }
    }
}

/// Draws a key and prints it.
///
/// # Errors
/// An output that cannot be written to.
pub fn new(arguments: &New, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let mut bits = [0; KEY_BYTES];
    if let Err(error) = getrandom::fill(&mut bits) {
        writeln!(err, "no key was made: the system gives no randomness: {error}")?;
        return Ok(Outcome::Failed);
    }
    let fresh = FreshKey::from_bits(bits);
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &fresh)?;
        writeln!(out)?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "API key, for the partner. It is shown this once and kept nowhere:

  {}

Its SHA-256 digest (of the whole text, {KEY_PREFIX} included), for the partner's table in the configuration:

  {}

or, for a key that ends, or that is good for some calls only:

  [partner.ID.key.NAME]
  sha256 = \"{}\"
  expires_at = \"2027-01-31T00:00:00Z\"
  scopes = [\"accounts\", \"pins\", \"transactions:write\", \"transactions:read\", \"notifications\"]",
        fresh.key, fresh.toml, fresh.sha256
    )?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_bits_in_base64url_and_its_digest_covers_all_of_it() {
        let fresh = FreshKey::from_bits([255; KEY_BYTES]);
        assert_eq!(fresh.key, format!("onb_{}8", "_".repeat(42)));
        assert_eq!(fresh.sha256, KeyDigest::of(fresh.key.as_bytes()).to_string());
        assert_eq!(fresh.toml, format!("key_sha256 = [\"{}\"]", fresh.sha256));
    }
}
