//! Certification as HTML: the parts that the report and the page share, and the report itself.
//!
//! Invariant: every text goes through [`escaped`]. Colour is never the only sign: each verdict is a word.

use std::fmt::Write as _;

use super::report::{self, MARK, count, evidence, when};
use crate::domain::certification::RunState;
use crate::domain::certification::judge::{Judged, Verdict};
use crate::domain::certification::recogniser::Recogniser;
use crate::flows::certification::Report;

/// How both look.
pub const STYLE: &str = include_str!("style.css");

/// A text that cannot become markup, in HTML or XML.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    // Nobody's text reads like the mark of a signature.
    out.replace(MARK, "onbill&#45;ed25519-")
}

/// The class of a verdict.
#[must_use]
pub const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Incomplete => "incomplete",
        Verdict::NotSeen => "not-seen",
    }
}

/// Who, when and what, and how many cases stand how.
#[must_use]
pub fn summary(report: &Report) -> String {
    let run = &report.run;
    let finished = match run.state {
        RunState::Open => "not finished".to_owned(),
        RunState::Finished(at) => when(at),
    };
    let left_out = if run.left_out == 0 { String::new() } else { format!(", {} left out", run.left_out) };
    let mut html = String::from("<ul class=\"tiles\">\n");
    for verdict in [Verdict::Passed, Verdict::Failed, Verdict::Incomplete, Verdict::NotSeen] {
        let (count, class) = (count(report, verdict), class(verdict));
        let _ = writeln!(html, "<li><b>{count}</b> <span class=\"badge {class}\">{}</span></li>", verdict.word());
    }
    html.push_str("</ul>\n<dl class=\"facts\">\n");
    for (name, value) in [
        ("Partner", run.partner.as_str().to_owned()),
        ("Run", run.id.clone()),
        ("Started", when(run.started_at)),
        ("Finished", finished),
        ("Calls seen", format!("{}{left_out}", report.calls.len())),
        ("Gateway", format!("onbill {}", env!("CARGO_PKG_VERSION"))),
    ] {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value));
    }
    html.push_str("</dl>\n");
    if run.interrupted > 0 {
        let times = if run.interrupted == 1 { "once".to_owned() } else { format!("{} times", run.interrupted) };
        let _ = writeln!(
            html,
            "<p class=\"interrupted\"><b>Interrupted {times}:</b> the gateway stopped in disorder while this run was open. Calls \
             that were answered in the last moments before may be missing.</p>"
        );
    }
    html
}

/// All cases, one row each.
#[must_use]
pub fn cases(report: &Report) -> String {
    let mut html = String::from(
        "<table>\n<caption>The use cases of this run</caption>\n<thead><tr><th scope=\"col\">No.</th>\
         <th scope=\"col\">Use case</th><th scope=\"col\">Verdict</th></tr></thead>\n<tbody>\n",
    );
    for (known, judged) in &report.cases {
        let (case, verdict) = (known.case, judged.verdict);
        let _ = writeln!(
            html,
            "<tr id=\"case-{case}\"><th scope=\"row\">{case}</th><td><details><summary>{}</summary>\
             <div class=\"more\">{}</div></details></td><td><span class=\"badge {}\">{}</span></td></tr>",
            escaped(&known.title),
            more(report, known, judged),
            class(verdict),
            verdict.word(),
        );
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

/// What a row shows when it is opened.
#[must_use]
pub fn more(report: &Report, known: &Recogniser, judged: &Judged) -> String {
    let mut html = String::new();
    if judged.verdict != Verdict::NotSeen {
        let _ = write!(html, "<p>{}</p>", escaped(&judged.note));
    }
    let _ = write!(html, "<p><b>Expected:</b> {}</p>", escaped(&known.expected));
    if judged.verdict != Verdict::Passed {
        let _ = write!(html, "<p><b>To show it:</b> {}</p>", escaped(&known.hint));
    }
    let mut calls = String::new();
    for seen in evidence(report, judged) {
        let call = seen.call;
        let (class, word) = if seen.broke_it { (" class=\"broke\"", "<b>Broke it:</b> ") } else { ("", "") };
        let _ = write!(
            calls,
            "<li{class}>{word}{} over {} for {}: <b>{}</b><br><span class=\"quiet\">{}, call {} of the run, \
             correlation id {}</span></li>",
            call.rpc.word(),
            call.face.word(),
            if call.address.is_empty() { "no address".to_owned() } else { escaped(&call.address) },
            escaped(&call.answer()),
            when(call.at),
            seen.place,
            escaped(&call.correlation),
        );
    }
    if !calls.is_empty() {
        let _ = write!(html, "<p><b>Evidence:</b></p><ol class=\"calls\">{calls}</ol>");
    }
    html
}

/// The report as one file that needs nothing else.
#[must_use]
pub fn report(report: &Report, marks: &str) -> String {
    let name = escaped(&report.run.name);
    let (title, text) = match report::result(report) {
        "certified" => ("Certified", "Every use case of this run was shown, and the OTT behaved as expected."),
        "certified in part" => {
            ("Certified in part", "The use cases of this run were shown as expected; the others were not asked for.")
        }
        "draft" => ("Draft", "The run is not finished: this is no certificate."),
        _ => ("Not certified", "Not every use case of this run was shown as expected, or calls were left out."),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}: {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Certification of an OTT: {name}</h1>\n<p class=\"verdict\"><strong>{title}.</strong> {text}</p>\n\
         {}{}<footer><p>Addresses are masked; PINs are not kept. Signed with Ed25519; \
         <code>onbill certify verify FILE</code> checks it.</p>\n<p><code>{marks}</code></p></footer>\n\
         </main>\n</body>\n</html>\n",
        summary(report),
        cases(report),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_text_cannot_become_markup() {
        assert_eq!(escaped("<b>\"'&\u{0}"), "&lt;b&gt;&quot;&#39;&amp;\u{fffd}");
        assert_eq!(escaped("onbill-ed25519-key:"), "onbill&#45;ed25519-key:");
    }
}
