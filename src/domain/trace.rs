//! The trace that a request is part of, as W3C Trace Context and B3 write it.
//!
//! Invariant: a trace that exists has ids that both forms allow: neither is zero. What a caller sends is taken up only
//! where all of it is well formed, and made anew otherwise. How spans are recorded is not here.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::ids::CorrelationId;

/// Most bytes of a `tracestate` that are sent on: what W3C Trace Context, section 3.3.1.5, asks of everybody.
const STATE_BYTES_MAX: usize = 512;

/// What those before us have noted on a trace for themselves (W3C `tracestate`). It is theirs: it is sent on as it came,
/// and neither read nor logged here.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceState(Arc<str>);

impl TraceState {
    /// Takes it from the lines of the header, in their order; one list in many lines is one list. One that is longer than
    /// 512 bytes loses whole members from its end, where the oldest are. `None`: there is nothing to send on.
    #[must_use]
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut whole = String::new();
        for line in lines {
            if !whole.is_empty() {
                whole.push(',');
            }
            whole.push_str(line);
            if whole.len() > STATE_BYTES_MAX {
                // The comma behind the last member that fits may be the very next byte.
                let head = whole.get(..=STATE_BYTES_MAX).unwrap_or_default();
                let end = head.rfind(',').unwrap_or_default();
                whole.truncate(end);
                break;
            }
        }
        (!whole.trim().is_empty()).then(|| Self(Arc::from(whole)))
    }

    /// As the header carries it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long it is; what is in it is nobody's here.
impl fmt::Debug for TraceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

/// Where a call stands in a trace: as it was received, or as it was begun here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    parent_span: Option<u64>,
    sampled: bool,
    choice: Choice,
}

/// Who has chosen whether the spans of a trace are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Whoever began it, or this gateway.
    Made,
    /// Nobody: B3 leaves it to whoever comes next.
    Left,
    /// Nobody: it begins here.
    Begun,
}

impl Trace {
    /// Reads W3C `traceparent`: version, trace, span and flags. A later version may say more; what it says here counts.
    #[must_use]
    pub fn from_w3c(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex(version, 2)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let span = u64::try_from(hex(span, 16)?).ok()?;
        let sampled = hex(flags, 2)? & 1 == 1;
        Self { id: hex(trace, 32)?, span, parent_span: None, sampled, choice: Choice::Made }.valid()
    }

    /// Reads the headers of B3. A trace of 64 bits is one whose upper half is zero; one of which nobody says whether it
    /// is sampled is.
    #[must_use]
    pub fn from_b3(trace: &str, span: &str, parent: Option<&str>, sampled: Option<&str>) -> Option<Self> {
        let number = hex(trace, 32).or_else(|| hex(trace, 16))?;
        let id = |text: &str| u64::try_from(hex(text, 16)?).ok();
        let choice = if sampled.is_some() { Choice::Made } else { Choice::Left };
        let sampled = !matches!(sampled, Some("0" | "false"));
        Self { id: number, span: id(span)?, parent_span: parent.and_then(id), sampled, choice }.valid()
    }

    /// A trace that begins with a request that came with none: its ids follow from the correlation id, so that whoever
    /// has the one finds the other.
    #[must_use]
    pub fn begun_by(correlation: &CorrelationId) -> Self {
        // One that the gateway has drawn is as good as any id already.
        if let Some(id) = hex(correlation.as_str(), 32).filter(|id| *id != 0) {
            let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
            let span = low.rotate_left(32).max(1);
            return Self { id, span, parent_span: None, sampled: true, choice: Choice::Begun };
        }
        let digest = Sha256::digest(correlation.as_str().as_bytes());
        let (pieces, _) = digest.as_chunks::<8>();
        let number = |index: usize| u64::from_be_bytes(pieces.get(index).copied().unwrap_or_default());
        let id = (u128::from(number(0)) << 64) | u128::from(number(1));
        Self { id: id.max(1), span: number(2).max(1), parent_span: None, sampled: true, choice: Choice::Begun }
    }

    /// As `traceparent` carries it.
    #[must_use]
    pub fn to_w3c(self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.trace_id(), self.span, u8::from(self.sampled))
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> impl fmt::Display {
        Hex(self.id, 32)
    }

    /// The caller's span within it: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(self) -> impl fmt::Display {
        Hex(u128::from(self.span), 16)
    }

    /// The span that the caller's is part of, where B3 has told it.
    #[must_use]
    pub fn parent_span_id(self) -> Option<impl fmt::Display> {
        self.parent_span.map(|id| Hex(u128::from(id), 16))
    }

    /// The same trace one step further down: another span, whose parent is the one that this is at.
    #[must_use]
    pub const fn child(self, span: u64) -> Self {
        Self { span, parent_span: Some(self.span), ..self }
    }

    /// The same trace with a choice about its spans.
    #[must_use]
    pub const fn decided(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// Whether somebody has chosen already whether its spans are recorded.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        matches!(self.choice, Choice::Made)
    }

    /// Whether it began here: then its span is nobody else's.
    #[must_use]
    pub const fn is_begun_here(self) -> bool {
        matches!(self.choice, Choice::Begun)
    }

    /// The trace's id as a number.
    #[must_use]
    pub const fn id(self) -> u128 {
        self.id
    }

    /// The span's id as a number.
    #[must_use]
    pub const fn span(self) -> u64 {
        self.span
    }

    /// Whether its spans are to be recorded.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.sampled
    }

    fn valid(self) -> Option<Self> {
        (self.id != 0 && self.span != 0).then_some(self)
    }
}

struct Hex(u128, usize);

impl fmt::Display for Hex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:0width$x}", self.0, width = self.1)
    }
}

/// Exactly so many hexadecimal digits, in lower case as both forms want them.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let well_formed = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_taken_up_only_where_all_of_it_is_well_formed() {
        for (text, sent_on) in [
            (W3C, Some(W3C)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", None),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", Some(W3C)),
        ] {
            let read = Trace::from_w3c(text).map(Trace::to_w3c);
            assert_eq!(read.as_deref(), Some(sent_on.unwrap_or(text)), "{text}");
        }
        for text in [
            "",
            "00-1-2-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(Trace::from_w3c(text), None, "{text}");
        }
    }

    #[test]
    fn a_state_is_sent_on_as_it_came_and_loses_its_oldest_members_only_where_it_is_too_long() {
        let sent_on =
            |lines: &[&str]| TraceState::of_lines(lines.iter().copied()).map(|state| state.as_str().to_owned());
        for (lines, expected) in [
            (vec!["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")),
            (vec!["a=1 , b=2", "c=3"], Some("a=1 , b=2,c=3")),
            (vec![], None),
            (vec![""], None),
            (vec![" "], None),
        ] {
            assert_eq!(sent_on(&lines).as_deref(), expected, "{lines:?}");
        }
        let member = |name: char, bytes: usize| format!("{name}={}", "x".repeat(bytes - 2));
        let exact = format!("{},{}", member('a', 255), member('b', 256));
        assert_eq!(sent_on(&[&exact]).as_deref(), Some(exact.as_str()), "512 bytes");
        assert_eq!(sent_on(&[&exact, "c=3"]).as_deref(), Some(exact.as_str()));
        let long = format!("{},{}", member('a', 255), member('b', 257));
        assert_eq!(sent_on(&[&long]), Some(member('a', 255)));
        assert_eq!(sent_on(&[&member('a', 513)]), None);
        assert_eq!(format!("{:?}", TraceState::of_lines(["a=5550100001"].into_iter()).expect("a state")), "12 bytes");
    }

    #[test]
    fn b3_says_the_same_in_other_headers() {
        let read = |trace, span, sampled| Trace::from_b3(trace, span, Some("0000000000000007"), sampled);
        let whole = read("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", None).expect("well formed");
        assert_eq!(whole.to_w3c(), W3C);
        assert_eq!(whole.parent_span_id().map(|id| id.to_string()).as_deref(), Some("0000000000000007"));
        let short = read("463ac35c9f6413ad", "00f067aa0ba902b7", Some("0")).expect("well formed");
        assert_eq!(short.to_w3c(), "00-0000000000000000463ac35c9f6413ad-00f067aa0ba902b7-00");
        assert_eq!(read("463ac35c9f6413", "00f067aa0ba902b7", None), None);
        assert_eq!(read("463ac35c9f6413ad", "", None), None);
    }

    #[test]
    fn a_trace_that_is_begun_here_is_well_formed_and_the_same_for_its_correlation_id() {
        let begun = |id| Trace::begun_by(&CorrelationId::parse(id).expect("well formed"));
        assert_eq!(begun("a"), begun("a"));
        assert_ne!(begun("a"), begun("b"));
        assert!(Trace::from_w3c(&begun("a").to_w3c()).is_some_and(|read| read.to_w3c() == begun("a").to_w3c()));
    }
}
