//! The outcome as one page that a partner manager can read.
//!
//! Invariant: the page stands alone: no script, no other host, nothing but what it holds; and no text of a gateway gets
//! into it unescaped. Colour is never the only sign.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::super::cases::CaseId;
use super::super::check::Difference;
use super::super::diff::{self, Line, Mark};
use super::super::faces::Face;
use super::super::progress::seconds;
use super::super::select::LAST;
use super::super::verdict::{CaseResult, Outcome, StepRecord, Subject, Verdict};

const STYLE: &str = include_str!("page.css");

/// The outcome as a page.
#[must_use]
pub fn render(outcome: &Outcome) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(outcome, &mut page);
    page
}

fn write_page(outcome: &Outcome, page: &mut String) -> fmt::Result {
    let target = escaped(&outcome.run.target);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Certification of {target}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    page.push_str(match outcome.run.subject {
        Subject::Gateway => "<h1>Certification of a carrier-billing gateway</h1>\n",
        Subject::Csp => "<h1>Certification of a CSP</h1>\n",
    });
    let (by, when) = (escaped(&outcome.run.by), when(&outcome.run.started_at));
    writeln!(page, "<p class=\"quiet\">Run by <b>{by}</b> on <b>{when}</b> against <b>{target}</b></p>")?;
    verdict(outcome, page)?;
    facts(outcome, page)?;
    let mut category = "";
    for case in by_case(outcome) {
        let Some(first) = case.first() else { continue };
        if first.category != category {
            category = &first.category;
            writeln!(page, "<h2>{}</h2>", escaped(category))?;
        }
        use_case(&case, outcome.run.subject, page)?;
    }
    write!(
        page,
        "<footer><p>Phone numbers and PINs are masked. Written by onbill {}.</p></footer>\n</main>\n</body>\n</html>\n",
        escaped(&outcome.run.certifier_version)
    )
}

fn verdict(outcome: &Outcome, page: &mut String) -> fmt::Result {
    let totals = outcome.totals;
    let (class, title, text) = match (totals.failed, totals.not_checked) {
        (0, 0) => ("passed", "All cases hold", "Every use case that was run is answered as it must be."),
        (0, _) => ("not-checked", "Not all could be checked", "No case failed, but some could not be run."),
        _ => ("failed", "Not all cases hold", "The failed cases are open below, with what differs."),
    };
    writeln!(page, "<div class=\"card verdict {class}\"><strong>{title}</strong><p>{text}</p>")?;
    let faces: Vec<&str> = outcome.run.faces.iter().map(|face| face_name(*face)).collect();
    let (run, faces) = (by_case(outcome).len(), faces.join(" and on "));
    match outcome.run.subject {
        Subject::Gateway => {
            writeln!(page, "<p>{run} of the {LAST} use cases were run, on {faces}; each counts once a face.</p>")?;
        }
        Subject::Csp => writeln!(page, "<p>{run} cases were run, over {faces}.</p>")?,
    }
    links("Failed", Verdict::Failed, outcome, page)?;
    links("Not checked", Verdict::NotChecked, outcome, page)?;
    links("Not offered", Verdict::NotOffered, outcome, page)?;
    page.push_str("</div>\n");
    let last = match outcome.run.subject {
        Subject::Gateway => (totals.with_unseen_effects, "with effects unseen", "not-checked"),
        Subject::Csp => (totals.not_offered, "not offered", "not-checked"),
    };
    let tiles = [
        (totals.passed, "passed", "passed"),
        (totals.failed, "failed", "failed"),
        (totals.not_checked, "not checked", "not-checked"),
        last,
    ];
    page.push_str("<ul class=\"tiles\">\n");
    for (count, label, class) in tiles {
        let class = if count == 0 { "quiet" } else { class };
        writeln!(page, "<li class=\"card\"><b>{count}</b><span class=\"badge {class}\">{label}</span></li>")?;
    }
    page.push_str("</ul>\n");
    Ok(())
}

/// `Failed: 8, 14`, each leading to its case.
fn links(label: &str, verdict: Verdict, outcome: &Outcome, page: &mut String) -> fmt::Result {
    let ids: BTreeSet<CaseId> =
        outcome.results.iter().filter(|result| result.verdict == verdict).map(|result| result.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let links: Vec<String> = ids.iter().map(|id| format!("<a href=\"#case-{id}\">{id}</a>")).collect();
    writeln!(page, "<p>{label}: {}</p>", links.join(", "))
}

fn facts(outcome: &Outcome, page: &mut String) -> fmt::Result {
    let run = &outcome.run;
    let faces: Vec<&str> = run.faces.iter().map(|face| face_name(*face)).collect();
    let sandbox = if run.sandbox { "yes: bill, phone and clock were used" } else { "no: effects could not be seen" };
    let entries = [
        ("Run by", run.by.clone()),
        ("When", when(&run.started_at)),
        ("Target", run.target.clone()),
        ("Version of the target", run.target_version.clone().unwrap_or_else(|| "not told".to_owned())),
        ("Took", seconds(run.elapsed_ms)),
        ("Faces", faces.join(" and ")),
        ("Sandbox", sandbox.to_owned()),
        ("Certifier", format!("onbill {}", run.certifier_version)),
        ("Run id, in the logs of the target", run.run_id.clone()),
    ];
    page.push_str("<dl class=\"card facts\">\n");
    // A CSP says no version, and its bill is seen by what it lets one spend alone.
    let is_told = |name: &str| run.subject == Subject::Gateway || !["Version of the target", "Sandbox"].contains(&name);
    for (name, value) in entries.into_iter().filter(|(name, _)| is_told(name)) {
        writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(&value))?;
    }
    page.push_str("</dl>\n");
    Ok(())
}

/// `2020-05-18 15:05:03 UTC`.
fn when(started_at: &str) -> String {
    started_at.replace('T', " ").replace('Z', " UTC")
}

/// Results side by side that are of one case.
fn by_case(outcome: &Outcome) -> Vec<Vec<&CaseResult>> {
    let mut cases: Vec<Vec<&CaseResult>> = Vec::new();
    for result in &outcome.results {
        match cases.last_mut() {
            Some(case) if case.first().is_some_and(|first| first.id == result.id) => case.push(result),
            _ => cases.push(vec![result]),
        }
    }
    cases
}

fn use_case(results: &[&CaseResult], subject: Subject, page: &mut String) -> fmt::Result {
    let Some(first) = results.first() else { return Ok(()) };
    let open = if results.iter().all(|result| matches!(result.verdict, Verdict::Passed | Verdict::NotOffered)) {
        ""
    } else {
        " open"
    };
    writeln!(page, "<details class=\"card\" id=\"case-{}\"{open}>", first.id)?;
    let title = escaped(&first.title);
    write!(page, "<summary><span class=\"number\">{}</span><span class=\"title\">{title}</span>", first.id)?;
    page.push_str("<span class=\"badges\">");
    for result in results {
        let (class, word) = verdict_words(result);
        write!(page, "<span class=\"badge {class}\">{} {word}</span>", face_name(result.face))?;
    }
    page.push_str("</span></summary>\n<div class=\"body\">\n");
    writeln!(page, "<p>{}</p>", escaped(&first.given))?;
    let label = match subject {
        Subject::Gateway => "What the OTT does next",
        Subject::Csp => "Why",
    };
    writeln!(page, "<p class=\"quiet\">{label}: {}</p>", escaped(&first.behaviour))?;
    for result in results {
        on_face(result, page)?;
    }
    page.push_str("</div>\n</details>\n");
    Ok(())
}

fn on_face(result: &CaseResult, page: &mut String) -> fmt::Result {
    let (class, word) = verdict_words(result);
    write!(page, "<h3>{} <span class=\"badge {class}\">{word}</span> ", face_name(result.face))?;
    let account = result.account.as_ref().map(|account| format!(", account {account}")).unwrap_or_default();
    writeln!(page, "<span class=\"quiet\">{}{}</span></h3>", seconds(result.elapsed_ms), escaped(&account))?;
    if let Some(needs) = &result.needs {
        let word = if result.verdict == Verdict::NotOffered { "Not offered" } else { "Not checked" };
        writeln!(page, "<p>{word}: {}.</p>", escaped(needs))?;
    }
    marks("remark", &result.notes, page)?;
    for step in &result.steps {
        self::step(step, page)?;
    }
    Ok(())
}

fn step(step: &StepRecord, page: &mut String) -> fmt::Result {
    let class = if step.differences.is_empty() { "" } else { " failed" };
    let kind = if step.prepare { " (preparation)" } else { "" };
    writeln!(page, "<div class=\"step{class}\">")?;
    writeln!(
        page,
        "<h4>{}{kind} <code>{}</code> <span class=\"quiet\">{}</span></h4>",
        escaped(&step.name),
        escaped(&step.call),
        seconds(step.elapsed_ms)
    )?;
    let differences: Vec<String> = step
        .differences
        .iter()
        .map(|difference| format!("{}: expected {}, was {}", difference.at, difference.expected, difference.actual))
        .collect();
    marks("differs", &differences, page)?;
    let answers_differ = step.differences.iter().any(|difference| !is_effect(difference));
    let (expected, actual) = if answers_differ {
        diff::sides(&step.expected, &step.actual)
    } else {
        (plain(&step.expected), plain(&step.actual))
    };
    page.push_str("<div class=\"sides\">\n");
    side("Request", "request", &plain(&step.request), "", page)?;
    side("Expected", "expected", &expected, "minus", page)?;
    side("Actual", "actual", &actual, "plus", page)?;
    page.push_str("</div>\n");
    marks("held", &step.effects, page)?;
    marks("unseen", &step.not_checked, page)?;
    marks("remark", &step.remarks, page)?;
    page.push_str("</div>\n");
    Ok(())
}

fn is_effect(difference: &Difference) -> bool {
    matches!(difference.at.as_str(), "bill" | "inbox")
}

fn plain(text: &str) -> Vec<Line> {
    text.lines().map(|line| Line { text: line.to_owned(), mark: Mark::Same }).collect()
}

fn side(label: &str, class: &str, lines: &[Line], mark_class: &str, page: &mut String) -> fmt::Result {
    write!(page, "<div class=\"{class}\"><span class=\"label\">{label}</span><div class=\"text\">")?;
    for line in lines {
        match &line.mark {
            Mark::Same => write!(page, "<div>{}</div>", escaped(&line.text))?,
            Mark::Only => write!(page, "<div class=\"{mark_class}\">{}</div>", escaped(&line.text))?,
            Mark::Changed(range) => {
                let part = |from: usize, to: usize| -> String {
                    escaped(&line.text.chars().skip(from).take(to.saturating_sub(from)).collect::<String>())
                };
                let end = line.text.chars().count();
                let (before, changed, after) =
                    (part(0, range.start), part(range.start, range.end), part(range.end, end));
                write!(page, "<div class=\"{mark_class}\">{before}")?;
                if !changed.is_empty() {
                    write!(page, "<mark>{changed}</mark>")?;
                }
                write!(page, "{after}</div>")?;
            }
        }
    }
    page.push_str("</div></div>\n");
    Ok(())
}

fn marks(class: &str, texts: &[String], page: &mut String) -> fmt::Result {
    if texts.is_empty() {
        return Ok(());
    }
    page.push_str("<ul class=\"marks\">");
    for text in texts {
        write!(page, "<li class=\"{class}\">{}</li>", escaped(text))?;
    }
    page.push_str("</ul>\n");
    Ok(())
}

fn verdict_words(result: &CaseResult) -> (&'static str, &'static str) {
    match result.verdict {
        Verdict::Passed if result.not_checked().next().is_some() => ("passed", "passed, effects unseen"),
        Verdict::Passed => ("passed", "passed"),
        Verdict::Failed => ("failed", "failed"),
        Verdict::NotChecked => ("not-checked", "not checked"),
        Verdict::NotOffered => ("not-checked", "not offered"),
    }
}

const fn face_name(face: Face) -> &'static str {
    match face {
        Face::Json => "JSON",
        Face::Grpc => "gRPC",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{0}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_text_cannot_become_markup() {
        assert_eq!(escaped("<script>\"'&\0"), "&lt;script&gt;&quot;&#39;&amp;\u{fffd}");
    }

    #[test]
    fn what_differs_within_a_line_is_marked_on_its_side() {
        let (expected, actual) = diff::sides("a: \"x.\"", "a: \"x\"");
        let mut page = String::new();
        side("Expected", "expected", &expected, "minus", &mut page).expect("a string");
        side("Actual", "actual", &actual, "plus", &mut page).expect("a string");
        assert!(page.contains("<div class=\"minus\">a: &quot;x<mark>.</mark>&quot;</div>"), "{page}");
        assert!(page.contains("<div class=\"plus\">a: &quot;x&quot;</div>"), "{page}");
    }
}
