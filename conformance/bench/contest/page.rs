//! The report as one page that needs nothing else: plots are SVG in the page itself.
//!
//! Invariant: everything on the page comes from the outcome, and colour is never the only sign.

use std::fmt::Write as _;

use super::bars::Limit;
use super::contenders::CONTENDERS;
use super::sample::Kind;
use super::table::{Held, Outcome, label, shown};

const WIDTH: f64 = 420.0;
const ROW: usize = 26;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #d8dee4}
th:first-child,td:first-child,td.what{text-align:left}svg{width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:#1b1f24}
.not{font-weight:700}li{margin:.2rem 0}";

/// The page.
pub fn render(outcome: &Outcome) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>onbill: speed</title><style>{STYLE}</style></head><body><h1>onbill: speed</h1><p>{}</p>",
        escaped(&outcome.machine)
    );
    page.push_str("<h2>Beside what each is held against</h2>");
    page.push_str(&bars(&outcome.held()));
    for (title, kind, factor) in [
        ("Calls a second", Kind::PerS, 1.0),
        ("p99, milliseconds", Kind::P99, 1e-3),
        ("CPU milliseconds of the server for 1000 calls", Kind::Cpu, 1e3),
    ] {
        let _ = write!(page, "<h2>{title}</h2>");
        page.push_str(&plot(outcome, kind, factor));
    }
    page.push_str(&figures(outcome));
    page.push_str("<h2>What casts doubt</h2><ul>");
    for doubt in &outcome.doubts {
        let _ = write!(page, "<li>{}</li>", escaped(doubt));
    }
    if outcome.doubts.is_empty() {
        page.push_str("<li>nothing that was looked for</li>");
    }
    page.push_str("</ul></body></html>\n");
    page
}

fn bars(held: &[Held]) -> String {
    let mut text = String::from("<table><tr><th></th><th>measured</th><th>least, most</th><th>bar</th><th></th></tr>");
    for held in held {
        let verdict = match (held.met, held.bar.limit) {
            (Some(true), _) => "met",
            (Some(false), _) => "<span class=\"not\">not met</span>",
            (None, Limit::Told | Limit::AtLeast(_) | Limit::AtMost(_) | Limit::Absolute(_)) => "",
        };
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{:.2}</td><td>{:.2}, {:.2}</td><td>{}</td><td>{verdict}</td></tr>",
            escaped(&label(held.bar)),
            held.found.median,
            held.found.least,
            held.found.greatest,
            escaped(&shown(held.bar.limit)),
        );
    }
    text + "</table>"
}

/// Bars from nothing to the greatest median, with a line from the least to the greatest of each.
fn plot(outcome: &Outcome, kind: Kind, factor: f64) -> String {
    let rows: Vec<_> =
        CONTENDERS.iter().filter_map(|contender| Some((contender, outcome.spread(contender.name, kind)?))).collect();
    let most = rows.iter().map(|(_, spread)| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = format!("<svg viewBox=\"0 0 900 {}\" role=\"img\">", rows.len() * ROW + 4);
    for (place, (contender, spread)) in rows.iter().enumerate() {
        let (y, x) = (place * ROW, |value: f64| 330.0 + value / most * WIDTH);
        let fill =
            if contender.what.contains("bare") || contender.what.contains("raw") { "#9aa4af" } else { "#2f6fb5" };
        let _ = write!(
            svg,
            "<text x=\"322\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"330\" y=\"{}\" width=\"{:.1}\" height=\"16\" fill=\"{fill}\"><title>{}</title></rect>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{2}\" y2=\"{2}\" stroke=\"#1b1f24\" transform=\"translate(0 8)\"/>\
             <text x=\"{:.1}\" y=\"{0}\">{:.*}</text>",
            y + 17,
            escaped(contender.name),
            y + 4,
            x(spread.median) - 330.0,
            escaped(contender.what),
            x(spread.least),
            x(spread.greatest),
            x(spread.greatest) + 8.0,
            if spread.median * factor < 100.0 { 2 } else { 0 },
            spread.median * factor,
        );
    }
    svg + "</svg>"
}

fn figures(outcome: &Outcome) -> String {
    let mut text = String::from(
        "<h2>All figures</h2><table><tr><th></th><th>per s</th><th>p50 us</th><th>p99 us</th><th>p99.9 us</th>\
         <th>CPU ms for 1000</th><th>peak MiB</th><th>other</th><th></th></tr>",
    );
    for contender in CONTENDERS.iter().filter(|contender| outcome.samples.contains_key(contender.name)) {
        let _ = write!(text, "<tr><td>{}</td>", escaped(contender.name));
        for (kind, factor, digits) in [
            (Kind::PerS, 1.0, 0),
            (Kind::P50, 1.0, 0),
            (Kind::P99, 1.0, 0),
            (Kind::P999, 1.0, 0),
            (Kind::Cpu, 1e3, 1),
            (Kind::Peak, 1.0 / 1024.0, 1),
            (Kind::Figure, 1.0, 1),
        ] {
            let shown = outcome.spread(contender.name, kind);
            let shown = shown.map_or_else(String::new, |spread| format!("{:.digits$}", spread.median * factor));
            let _ = write!(text, "<td>{shown}</td>");
        }
        let _ = write!(text, "<td class=\"what\">{}</td></tr>", escaped(contender.what));
    }
    text + "</table>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
