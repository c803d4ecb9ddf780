//! The report of a run as JSON, HTML and JUnit, and the signature in it.
//!
//! Invariant: the signature covers every byte of the file but its own: the file is written with an empty place for it,
//! signed as it is, and then the place is filled. So a reader of any format verifies in one way, and no byte can change
//! unseen. The same run always gives the same file.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::html;
use crate::domain::Time;
use crate::domain::certification::judge::{Judged, Verdict};
use crate::domain::certification::{CASES, Call, RunState};
use crate::flows::certification::Report;
use crate::ports::certification::CertificateSigner;

/// What comes before the signature in every format. It stands in a file once: in the text of a caller it is written by
/// an escape of the format ([`html::escaped`], `json_escaped`), which reads the same and is not the same bytes.
pub const SIGNATURE_MARK: &str = "onbill-ed25519-signature:";
/// How both marks begin.
pub const MARK: &str = "onbill-ed25519-";
/// What comes before the public key.
pub const KEY_MARK: &str = "onbill-ed25519-key:";

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// For people.
    Html,
    /// For CI systems.
    Junit,
}

impl Format {
    /// The format of a word; empty stands for JSON.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "" | "json" => Some(Self::Json),
            "html" => Some(Self::Html),
            "junit" => Some(Self::Junit),
            _ => None,
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Junit => "application/xml",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Junit => "xml",
        }
    }
}

/// A signed file.
pub struct Signed {
    /// A name for it.
    pub file_name: String,
    /// The file.
    pub content: String,
    /// The key that it is signed with, in base64.
    pub public_key: String,
}

/// Writes and signs a report.
#[must_use]
pub fn signed(report: &Report, format: Format, signer: &dyn CertificateSigner) -> Signed {
    let public_key = STANDARD.encode(signer.public_key());
    let marks = format!("{KEY_MARK}{public_key} {SIGNATURE_MARK}");
    let unsigned = match format {
        Format::Json => json_text(report, &marks),
        Format::Html => html::report(report, &marks),
        Format::Junit => junit(report, &marks),
    };
    let signature = STANDARD.encode(signer.sign(unsigned.as_bytes()));
    let place = unsigned.find(SIGNATURE_MARK).map_or(unsigned.len(), |at| at.saturating_add(SIGNATURE_MARK.len()));
    let (before, after) = unsigned.split_at(place);
    let content = format!("{before}{signature}{after}");
    let kind = if report.run.state == RunState::Open { "draft" } else { "certificate" };
    let file_name = format!("{kind}-{}.{}", report.run.id, format.extension());
    Signed { file_name, content, public_key }
}

/// `open` or `finished`.
#[must_use]
pub const fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Open => "open",
        RunState::Finished(_) => "finished",
    }
}

/// What the whole run comes to: `certified` only where it is finished, every use case has passed, and no call was left
/// out that could have broken one; `certified in part` where fewer cases were chosen.
#[must_use]
pub fn result(report: &Report) -> &'static str {
    let all = report.cases.iter().all(|(_, judged)| judged.verdict == Verdict::Passed) && report.run.left_out == 0;
    match (report.run.state, all) {
        (RunState::Open, _) => "draft",
        (RunState::Finished(_), true) if report.cases.len() < usize::from(CASES) => "certified in part",
        (RunState::Finished(_), true) => "certified",
        (RunState::Finished(_), false) => "not certified",
    }
}

/// How many cases have this verdict.
#[must_use]
pub fn count(report: &Report, verdict: Verdict) -> usize {
    report.cases.iter().filter(|(_, judged)| judged.verdict == verdict).count()
}

/// A moment, in whole seconds.
#[must_use]
pub fn when(time: Time) -> String {
    let seconds = Time::from_second(time.as_second()).unwrap_or(time);
    seconds.to_string()
}

/// A call that a verdict rests on.
pub struct Evidence<'a> {
    /// Its place among the calls of the run, from 1.
    pub place: usize,
    /// The call.
    pub call: &'a Call,
    /// Whether it broke the case.
    pub broke_it: bool,
}

/// The calls that a verdict rests on.
pub fn evidence<'a>(report: &'a Report, judged: &'a Judged) -> impl Iterator<Item = Evidence<'a>> {
    judged.evidence.iter().filter_map(|at| {
        let (place, broke_it) = (at.saturating_add(1), judged.broken_by == Some(*at));
        Some(Evidence { place, call: report.calls.get(*at)?, broke_it })
    })
}

fn json_text(report: &Report, marks: &str) -> String {
    let run = &report.run;
    let finished = match run.state {
        RunState::Open => Value::Null,
        RunState::Finished(at) => Value::String(when(at)),
    };
    let cases: Vec<Value> = report
        .cases
        .iter()
        .map(|(known, judged)| {
            let evidence: Vec<Value> = evidence(report, judged)
                .map(|seen| {
                    json!({
                        "place": seen.place, "at": when(seen.call.at), "rpc": seen.call.rpc.word(),
                        "face": seen.call.face.word(), "address": seen.call.address, "status": seen.call.status,
                        "code": seen.call.code, "violations": seen.call.violations, "outcome": seen.call.outcome,
                        "correlationId": seen.call.correlation, "brokeIt": seen.broke_it,
                    })
                })
                .collect();
            json!({
                "case": known.case, "title": known.title, "verdict": judged.verdict.word(), "note": judged.note,
                "expected": known.expected, "evidence": evidence,
            })
        })
        .collect();
    let document = json!({
        "format": "onbill-certificate-v1", "result": result(report), "partner": run.partner.as_str(),
        "run": run.id, "name": run.name, "startedAt": when(run.started_at), "finishedAt": finished,
        "passed": count(report, Verdict::Passed), "failed": count(report, Verdict::Failed),
        "incomplete": count(report, Verdict::Incomplete), "notSeen": count(report, Verdict::NotSeen),
        "calls": report.calls.len(), "callsLeftOut": run.left_out, "interrupted": run.interrupted,
        "gateway": format!("onbill {}", env!("CARGO_PKG_VERSION")), "cases": cases,
    });
    let text = json_escaped(&format!("{document:#}"));
    let members = text.strip_suffix("\n}").unwrap_or_default();
    format!("{members},\n  \"signature\": \"{marks}\"\n}}\n")
}

/// JSON in which nobody's text reads like a mark.
fn json_escaped(text: &str) -> String {
    text.replace(MARK, "onbill\\u002ded25519-")
}

fn junit(report: &Report, marks: &str) -> String {
    let escaped = html::escaped;
    let skipped = count(report, Verdict::NotSeen).saturating_add(count(report, Verdict::Incomplete));
    let (tests, failures) = (report.cases.len(), count(report, Verdict::Failed));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"onbill certification\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"{skipped}\">\n  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"{skipped}\" timestamp=\"{}\">\n    <properties>\n\
         \x20     <property name=\"partner\" value=\"{}\"/>\n      <property name=\"run\" value=\"{}\"/>\n\
         \x20     <property name=\"result\" value=\"{}\"/>\n      <property name=\"interrupted\" value=\"{}\"/>\n\
         \x20     <property name=\"signature\" value=\"{marks}\"/>\n\
         \x20   </properties>\n",
        escaped(&report.run.name),
        when(report.run.started_at).trim_end_matches('Z'),
        escaped(report.run.partner.as_str()),
        escaped(&report.run.id),
        result(report),
        report.run.interrupted,
    );
    for (known, judged) in &report.cases {
        let name = escaped(&format!("{:02} {}", known.case, known.title));
        let class = known.category.replace(' ', "-");
        let inner = match judged.verdict {
            Verdict::Passed => String::new(),
            Verdict::Failed => format!("<failure message=\"{}\"/>", escaped(&judged.note)),
            Verdict::Incomplete | Verdict::NotSeen => format!("<skipped message=\"{}\"/>", escaped(&judged.note)),
        };
        let _ = writeln!(xml, "    <testcase name=\"{name}\" classname=\"onbill.{class}\">{inner}</testcase>");
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}
