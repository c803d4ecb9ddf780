//! What is looked for, where, and in which disguises.
//!
//! Invariant: a source that may hold something says what, and why; everything else is searched for everything. A PIN
//! counts only where it stands by itself: six digits occur inside ids and times by chance.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What must not be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A phone number.
    Number,
    /// A PIN.
    Pin,
    /// A key, a password, a file of key bytes.
    Key,
    /// A bearer token, or the part of it that cannot be made by others.
    Token,
    /// The private key of the TLS port.
    TlsKey,
}

/// One thing that must not be found.
#[derive(Debug, Clone)]
pub struct Secret {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

impl Secret {
    pub fn new(kind: Kind, bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind, bytes: bytes.into() }
    }
}

/// Somewhere that something could leak to.
pub struct Source {
    /// What it is.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
    /// What it is there to hold.
    pub holds: &'static [Kind],
}

impl Source {
    /// One that may hold nothing.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into(), holds: &[] }
    }

    /// One that is there to hold these.
    pub fn holding(name: impl Into<String>, bytes: impl Into<Vec<u8>>, holds: &'static [Kind]) -> Self {
        Self { name: name.into(), bytes: bytes.into(), holds }
    }
}

/// Everything that was found where it must not be, and in which form.
pub fn leaks(sources: &[Source], secrets: &[Secret]) -> Vec<String> {
    let looked_for: Vec<_> = secrets
        .iter()
        .flat_map(|secret| forms(secret).into_iter().map(move |(form, bytes)| (secret, form, bytes)))
        .collect();
    let finder = AhoCorasick::new(looked_for.iter().map(|(.., bytes)| bytes)).expect("few and short patterns");
    let mut found = Vec::new();
    for source in sources {
        for hit in finder.find_overlapping_iter(&source.bytes) {
            let (secret, form, _) = &looked_for[hit.pattern()];
            let is_chance = secret.kind == Kind::Pin && !stands_alone(&source.bytes, hit.start(), hit.end());
            if !is_chance && !source.holds.contains(&secret.kind) {
                let around = &source.bytes[hit.start().saturating_sub(80)..(hit.end() + 80).min(source.bytes.len())];
                let around = String::from_utf8_lossy(around);
                found.push(format!("{}: a {:?} as {form}: …{around}…", source.name, secret.kind));
            }
        }
    }
    found
}

/// As it is, and as it would look after somebody has printed its bytes.
fn forms(secret: &Secret) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = &secret.bytes;
    let mut forms = vec![("itself", bytes.clone())];
    forms.push(("a list of bytes", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()));
    let hexadecimal: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(("hexadecimal", hexadecimal.concat().into_bytes()));
    // What stands before it in a longer text would move its base64; it is looked for by itself only.
    forms.push(("base64", STANDARD_NO_PAD.encode(bytes).into_bytes()));
    forms
}

/// Whether what was found is not part of a word: times (`12.493817Z`) and ids have six digits in a row by chance.
fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_word = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    let (before, after) = (start.checked_sub(1).and_then(|at| bytes.get(at)), bytes.get(end));
    !is_word(before) && !is_word(after)
}

#[test]
fn whatever_is_planted_is_found_and_what_only_looks_alike_is_not() {
    let secrets =
        [Secret::new(Kind::Number, "5550142601"), Secret::new(Kind::Pin, "493817"), Secret::new(Kind::Key, "demo-key")];
    let found = |text: &str| leaks(&[Source::new("a source", text)], &secrets).len();
    for planted in [
        "to 5550142601 it went",
        "id55501426010",
        "pin=493817",
        "Pin(\"493817\")",
        "493817",
        "[53, 53, 53, 48, 49, 52, 50, 54, 48, 49]",
        "0x35353530313432363031",
        "NTU1MDE0MjYwMQ",
        "x-api-key: demo-key",
        "ZGVtby1rZXk=",
    ] {
        assert_eq!(found(planted), 1, "{planted}");
    }
    for harmless in ["555*****01", "a4938170", "2026-11-23T04:12:54.493817Z", "5550142602", "demo-ke"] {
        assert_eq!(found(harmless), 0, "{harmless}");
    }
    let number = [Source::holding("a ledger", "5550142601 493817", &[Kind::Number])];
    assert_eq!(leaks(&number, &secrets).len(), 1, "what it is there to hold is no leak");
}
