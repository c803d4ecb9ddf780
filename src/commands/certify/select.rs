//! Which cases are wanted: `14,19-23`.
//!
//! Invariant: a selection names cases of the page only, each once, in their order. Nothing else of a run is chosen here.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::cases::CaseId;

/// The last case of the page.
pub const LAST: CaseId = 28;

/// The cases to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(BTreeSet<CaseId>);

impl Selection {
    /// Whether this case is wanted.
    #[must_use]
    pub fn has(&self, id: CaseId) -> bool {
        self.0.contains(&id)
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self((1..=LAST).collect())
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut chosen = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part}: the range ends before it begins"));
            }
            chosen.extend(first..=last);
        }
        Ok(Self(chosen))
    }
}

/// Cases as a selection is written: `14,19-23`. They must be in order.
#[must_use]
pub fn written(ids: &[CaseId]) -> String {
    let mut ranges: Vec<(CaseId, CaseId)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*id) => *last = *id,
            _ => ranges.push((*id, *id)),
        }
    }
    let text = |(first, last): &(CaseId, CaseId)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

fn number(text: &str) -> Result<CaseId, String> {
    match text.trim().parse() {
        Ok(id) if (1..=LAST).contains(&id) => Ok(id),
        _ => Err(format!("`{text}` is not a case: they are 1 to {LAST}, for example 14,19-23")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read() {
        for (text, wanted) in [
            ("14", vec![14]),
            ("14,19-23", vec![14, 19, 20, 21, 22, 23]),
            (" 3 , 1-2, 2", vec![1, 2, 3]),
            ("1-28", (1..=28).collect()),
        ] {
            assert_eq!(text.parse::<Selection>().expect("a selection").0.into_iter().collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn cases_are_written_as_they_are_read() {
        for text in ["", "14", "14,19-23", "1-28", "1,3,5-6"] {
            let ids: Vec<CaseId> = text.parse::<Selection>().map(|it| it.0.into_iter().collect()).unwrap_or_default();
            assert_eq!(written(&ids), text);
        }
    }

    #[test]
    fn what_is_no_case_is_refused() {
        for text in ["", "0", "29", "5-3", "1-", "-1", "a", "1,,2", "1-99", "999"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }
}
