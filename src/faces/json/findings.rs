//! What is wrong with the shape of a JSON request, on its way to the layer that answers it.
//!
//! Invariant: findings are in the contract's order (known fields by their number, then unknown ones as they came) and
//! never more than [`FINDINGS_MAX`]. Nothing is answered here: authentication comes first, and the rules of the domain
//! may have more to say about the same request (contract sections 2 and 3).

use std::borrow::Cow;

use crate::domain::catalogue::{Violation, field, reason};

/// Most findings of one request; what comes after them is left out.
pub const FINDINGS_MAX: usize = 100;

/// Most characters of an unknown name that are repeated to the caller; the rest is cut off.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Everything that is wrong with the shape of one request. It travels in the extensions of the in-process request, and
/// only where there is at least one finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The body as a whole could not be read. The one finding listed then stands for the request, whose fields are
    /// all absent for that reason alone: what the domain would say about them must not be added.
    pub whole_body: bool,
    /// In the order in which they are answered.
    pub listed: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the request's field in its proto, by which violations of the domain are merged in; `u32::MAX` for an
    /// unknown field.
    pub position: u32,
    /// The violation as it is answered.
    pub violation: Violation,
}

impl Findings {
    /// The body as a whole is wrong.
    pub(super) fn of_body(reason: &'static str) -> Self {
        let violation = Violation::on(field::BODY, reason);
        Self { whole_body: true, listed: vec![Finding { position: 0, violation }] }
    }

    /// Nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

/// Collects findings in any order.
#[derive(Debug, Default)]
pub(super) struct Collector {
    known: Vec<Finding>,
    unknown: Vec<Finding>,
}

impl Collector {
    /// A field of the request does not hold what it must.
    pub(super) fn known(&mut self, position: u32, name: String, reason: Cow<'static, str>) {
        if self.known.len() < FINDINGS_MAX {
            self.known.push(Finding { position, violation: Violation::on_named(name, reason) });
        }
    }

    /// The request has no such field.
    pub(super) fn unknown(&mut self, name: &str) {
        if self.unknown.len() < FINDINGS_MAX {
            let name = name.chars().take(NAME_CHARACTERS_MAX).collect();
            let violation = Violation::on_named(name, reason::UNKNOWN_FIELD);
            self.unknown.push(Finding { position: u32::MAX, violation });
        }
    }

    /// All of them, in order.
    pub(super) fn finish(self) -> Findings {
        let mut listed = self.known;
        listed.sort_by_key(|finding| finding.position);
        listed.extend(self.unknown);
        listed.truncate(FINDINGS_MAX);
        Findings { whole_body: false, listed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields_come_by_number_and_unknown_ones_last_as_they_came() {
        let mut collector = Collector::default();
        collector.unknown("zebra");
        collector.known(6, "amount".to_owned(), Cow::Borrowed(reason::DECIMAL));
        collector.unknown("apple");
        collector.known(1, "extTransactionId".to_owned(), Cow::Borrowed(reason::STRING));
        let findings = collector.finish();
        let seen: Vec<_> = findings.listed.iter().map(|f| (f.position, f.violation.field.as_ref())).collect();
        assert_eq!(seen, [(1, "extTransactionId"), (6, "amount"), (u32::MAX, "zebra"), (u32::MAX, "apple")]);
    }

    #[test]
    fn there_are_never_more_than_the_bound_and_names_are_cut() {
        let mut collector = Collector::default();
        for _ in 0..FINDINGS_MAX {
            collector.unknown(&"é".repeat(1000));
        }
        collector.unknown("one too many");
        collector.known(2, "type".to_owned(), Cow::Borrowed(reason::STRING));
        let findings = collector.finish();
        assert_eq!(findings.listed.len(), FINDINGS_MAX);
        assert_eq!(findings.listed[0].position, 2);
        assert_eq!(findings.listed[1].violation.field, "é".repeat(NAME_CHARACTERS_MAX));
    }
}
