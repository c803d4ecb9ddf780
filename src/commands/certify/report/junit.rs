//! The outcome as JUnit XML, as CI systems read it: a suite a face, a test case a use case.
//!
//! Invariant: well-formed XML 1.0 whatever a gateway has answered: characters that XML cannot hold are replaced.

use std::fmt::Write as _;

use super::super::faces::Face;
use super::super::verdict::{CaseResult, Outcome, Subject, Verdict};

/// The outcome as JUnit XML.
#[must_use]
pub fn render(outcome: &Outcome) -> String {
    let totals = outcome.totals;
    let name = match outcome.run.subject {
        Subject::Gateway => "onbill certify",
        Subject::Csp => "onbill certify csp",
    };
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">",
        outcome.results.len(),
        totals.failed,
        totals.not_checked.saturating_add(totals.not_offered),
        seconds(outcome.run.elapsed_ms),
    );
    for face in &outcome.run.faces {
        suite(outcome, *face, &mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(outcome: &Outcome, face: Face, xml: &mut String) {
    let results: Vec<&CaseResult> = outcome.results.iter().filter(|result| result.face == face).collect();
    let count = |verdict: Verdict| results.iter().filter(|result| result.verdict == verdict).count();
    let time = results.iter().fold(0_u64, |sum, result| sum.saturating_add(result.elapsed_ms));
    let timestamp = outcome.run.started_at.trim_end_matches('Z');
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{face}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\" \
         timestamp=\"{timestamp}\" hostname=\"{}\">",
        results.len(),
        count(Verdict::Failed),
        count(Verdict::NotChecked).saturating_add(count(Verdict::NotOffered)),
        seconds(time),
        escaped(&outcome.run.target),
    );
    for result in results {
        test_case(result, xml);
    }
    xml.push_str("  </testsuite>\n");
}

fn test_case(result: &CaseResult, xml: &mut String) {
    let name = escaped(&format!("{:02} {}", result.id, result.title));
    let class = format!("onbill.{}.{}", result.face, result.category.replace(' ', "-"));
    let _ = write!(
        xml,
        "    <testcase name=\"{name}\" classname=\"{}\" time=\"{}\"",
        escaped(&class),
        seconds(result.elapsed_ms)
    );
    let unseen: Vec<&str> = result.not_checked().collect();
    match result.verdict {
        Verdict::Passed if unseen.is_empty() => xml.push_str("/>\n"),
        Verdict::Passed => {
            let _ = writeln!(xml, "><system-out>{}</system-out></testcase>", escaped(&unseen.join("\n")));
        }
        Verdict::Failed => {
            let differences: Vec<String> = result
                .differences()
                .map(|(step, difference)| {
                    let (at, expected, actual) = (&difference.at, &difference.expected, &difference.actual);
                    format!("{} ({}): {at}\n- {expected}\n+ {actual}", step.name, step.call)
                })
                .collect();
            let places: Vec<&str> = result.differences().map(|(_, difference)| difference.at.as_str()).collect();
            let _ = writeln!(
                xml,
                "><failure type=\"difference\" message=\"{}\">{}</failure></testcase>",
                escaped(&places.join(", ")),
                escaped(&differences.join("\n")),
            );
        }
        Verdict::NotChecked => {
            let needs = result.needs.as_deref().unwrap_or("needs a run");
            let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escaped(needs));
        }
        Verdict::NotOffered => {
            let lacks = result.needs.as_deref().unwrap_or_default();
            let _ = writeln!(xml, "><skipped message=\"not offered: {}\"/></testcase>", escaped(lacks));
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(' '),
            // XML 1.0, production 2: what is no Char.
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escaped("a<b>&\"\u{1}\n\u{ffff}é"), "a&lt;b&gt;&amp;&quot;\u{fffd}&#10;\u{fffd}é");
    }
}
