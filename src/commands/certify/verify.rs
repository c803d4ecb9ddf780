//! `onbill certify verify`: whether a certificate is as its gateway signed it.
//!
//! Invariant: one way for every format. The file with its signature taken out of its place is what was signed, so no
//! byte can be changed unseen. Who holds the key is not decided here: whoever asks compares it with the gateway's own.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::command::print;

/// What comes before the signature.
const SIGNATURE_MARK: &str = "onbill-ed25519-signature:";
/// What comes before the public key.
const KEY_MARK: &str = "onbill-ed25519-key:";
/// Bytes of a public key.
const KEY_BYTES: usize = 32;
/// Most bytes of a certificate.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Arguments of `certify verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The key of a gateway is told by its GetReport (publicKey) and stands in each of its certificates:
ask whoever runs the gateway for it, and give it as --key.

EXIT CODE
  0  the file is as it was signed (with --key: by that key)
  1  it is not
  2  it cannot be read"
)]
pub struct VerifyArgs {
    /// A certificate: HTML, JSON or JUnit.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The gateway's public key, in base64; without it only the key in the file is used.
    #[arg(long, value_name = "BASE64")]
    pub key: Option<String>,
}

/// What a certificate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// The key that it is signed with, in base64.
    pub key: String,
    /// Who, when and what, in lines.
    pub facts: Vec<String>,
}

/// Verifies a file and says what it is.
///
/// # Errors
/// The file cannot be read.
pub fn run(args: &VerifyArgs) -> Result<ExitCode, String> {
    let key = args.key.as_deref().map(str::trim);
    if key.is_some_and(|key| STANDARD.decode(key).map_or(true, |bytes| bytes.len() != KEY_BYTES)) {
        return Err("--key: this is no public key: it is 44 characters of base64, for example \
                    11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
            .to_owned());
    }
    let unreadable = |error: std::io::Error| format!("{}: {error}", args.file.display());
    if std::fs::metadata(&args.file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("{}: too large for a certificate", args.file.display()));
    }
    let bytes = std::fs::read(&args.file).map_err(unreadable)?;
    match verify(&bytes, key) {
        Ok(verified) => {
            let known = if args.key.is_some() { "the key that was given" } else { "compare it with the gateway's own" };
            let facts = verified.facts.iter().map(|fact| shown(fact)).collect::<Vec<_>>().join("\n  ");
            print(&format!(
                "valid: not a byte has changed since it was signed\n  {facts}\n  key: {} ({known})\n",
                shown(&verified.key)
            ));
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            print(&format!("NOT valid: {}\n", shown(&why)));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Verifies a certificate.
///
/// # Errors
/// Why it is not one.
pub fn verify(bytes: &[u8], key_wanted: Option<&str>) -> Result<Verified, String> {
    let text = std::str::from_utf8(bytes).map_err(|_not_text| "it is not text")?;
    let (before, rest) = text.split_once(SIGNATURE_MARK).ok_or("there is no signature in it")?;
    // With two places for it, moving the signature from one to the other would go unseen.
    if rest.contains(SIGNATURE_MARK) {
        return Err("there is more than one place for a signature in it".to_owned());
    }
    let length = rest.find(|character: char| !is_base64(character)).unwrap_or(rest.len());
    let (signature, after) = rest.split_at_checked(length).ok_or("its signature is cut off")?;
    let (_, key) = before.rsplit_once(KEY_MARK).ok_or("there is no key in it")?;
    let key = key.trim_end();
    if key_wanted.is_some_and(|wanted| wanted.trim() != key) {
        return Err(format!("it is signed with another key: {key}"));
    }
    let signature = STANDARD.decode(signature).map_err(|_not_base64| "its signature is no base64")?;
    let public = STANDARD.decode(key).map_err(|_not_base64| "its key is no base64")?;
    let signed = format!("{before}{SIGNATURE_MARK}{after}");
    UnparsedPublicKey::new(&ED25519, public)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_wrong| "it has been changed, or was not signed with this key")?;
    Ok(Verified { key: key.to_owned(), facts: facts(text) })
}

/// A text of somebody else, as a terminal may have it: what would not show as itself is written out.
#[must_use]
pub fn shown(text: &str) -> String {
    let turns =
        |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let one = |character: char| {
        if !character.is_control() && !turns(character) {
            String::from(character)
        } else {
            character.escape_unicode().to_string()
        }
    };
    text.chars().map(one).collect()
}

const fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=')
}

/// What it says of itself: from the document where it is JSON, else from its words.
fn facts(text: &str) -> Vec<String> {
    if let Ok(document) = serde_json::from_str::<serde_json::Value>(text) {
        let told = ["result", "partner", "name", "run", "startedAt", "finishedAt", "passed", "failed", "gateway"];
        let shown = |name: &&str| {
            let value = document.get(*name)?;
            Some(format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        };
        return told.iter().filter_map(shown).collect();
    }
    let between = |start: &str, end: &str| Some(text.split_once(start)?.1.split_once(end)?.0.to_owned());
    let html = |name: &str| between(&format!("<dt>{name}</dt><dd>"), "</dd>").map(|value| format!("{name}: {value}"));
    let xml = |name: &str| between(&format!("name=\"{name}\" value=\""), "\"").map(|value| format!("{name}: {value}"));
    let title = between("<title>", "</title>").map(|title| format!("what: {title}"));
    let of_html = ["Partner", "Run", "Started", "Finished", "Gateway"].into_iter().filter_map(html);
    let of_xml = ["result", "partner", "run"].into_iter().filter_map(xml);
    title.into_iter().chain(of_html).chain(of_xml).collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn a_certificate_verifies_and_no_byte_of_it_can_change() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let key = STANDARD.encode(pair.public_key());
        let unsigned = format!("{{\"result\":\"certified\",\"signature\":\"{KEY_MARK}{key} {SIGNATURE_MARK}\"}}\n");
        let signature = STANDARD.encode(pair.sign(unsigned.as_bytes()));
        let file = unsigned.replace(SIGNATURE_MARK, &format!("{SIGNATURE_MARK}{signature}")).into_bytes();
        let verified = verify(&file, Some(&key)).expect("valid");
        assert_eq!(verified.facts, ["result: certified"]);
        assert!(verify(&file, Some("another")).is_err());
        let two_places = format!("{SIGNATURE_MARK}{unsigned}");
        let signature = STANDARD.encode(pair.sign(two_places.as_bytes()));
        for place in [0, unsigned.find(SIGNATURE_MARK).expect("its place") + SIGNATURE_MARK.len()] {
            let (before, after) = two_places.split_at(place + SIGNATURE_MARK.len());
            assert!(verify(format!("{before}{signature}{after}").as_bytes(), None).is_err(), "at {place}");
        }
        for place in 0..file.len() {
            for change in [1_u8, 0x20] {
                let mut changed = file.clone();
                changed[place] ^= change;
                assert!(verify(&changed, None).is_err(), "byte {place} can change");
            }
        }
        for other in [&file[1..], &file[..file.len() - 1], &[file.as_slice(), b"\n"].concat()] {
            assert!(verify(other, None).is_err());
        }
    }
    #[test]
    fn what_a_file_says_of_itself_moves_nothing_on_a_terminal() {
        assert_eq!(
            shown("name: x\n  result: certified\u{1b}[2K\r\u{202e}é"),
            "name: x\\u{a}  result: certified\\u{1b}[2K\\u{d}\\u{202e}é"
        );
    }
}
