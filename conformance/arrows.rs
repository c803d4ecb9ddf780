//! The arrows of the design: who may know whom.
//!
//! Invariant: main → commands → runtime → faces → flows → ports → domain, and never back; adapters see ports and domain
//! only, and never one another; ports and adapters meet in `runtime/wiring.rs` and below it alone; the environment is
//! read in `runtime/config.rs` and below it alone; generated types stay in the faces and in the clients of `commands`, and
//! those that CSPs serve in the gRPC adapter and the sandbox CSP; the certifier knows none of the gateway's own rules; the
//! domain knows no library of the outer layers. The arrows are read from the text of the sources: `crate::` and `onbill::`
//! paths, wherever they stand.

use std::collections::BTreeSet;

use crate::house::sources::{Source, files};

/// The layers, outermost first. A layer may know those after it, adapters aside.
const LAYERS: [&str; 7] = ["main", "commands", "runtime", "faces", "flows", "ports", "domain"];
/// Libraries that the domain must not know.
const NOT_IN_THE_DOMAIN: [&str; 9] =
    ["tonic", "axum", "redis", "tokio", "serde", "tracing", "rusqlite", "hyper", "prost"];

/// What operators share: files beside their folders that know none of them.
const SHARED_BY_OPERATORS: [&str; 1] = ["csp/tls"];

/// What a broken arrow is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Broken {
    path: String,
    why: String,
}

/// Checks one file.
fn check(source: &Source) -> BTreeSet<Broken> {
    let code = without_comments(&source.text);
    let own = layer_of(&source.path);
    let mut broken = BTreeSet::new();
    let mut say = |why: String| {
        broken.insert(Broken { path: source.path.clone(), why });
    };
    for used in used_layers(&code) {
        if !may_know(&own, &source.path, &used) {
            say(format!("{own} must not know {used}"));
        }
    }
    if own == "adapters" {
        let family = family_of(&source.path);
        let strangers = |other: &String| *other != family && !SHARED_BY_OPERATORS.contains(&other.as_str());
        for other in used_adapters(&code).into_iter().filter(strangers) {
            say(format!("adapters/{family} must not know adapters/{other}"));
        }
    }
    if own == "domain" {
        for library in NOT_IN_THE_DOMAIN {
            if mentions(&code, &format!("{library}::")) {
                say(format!("the domain must not know {library}"));
            }
        }
    }
    let reads_environment = ["env::var", "env::vars", "env::var_os", "env::vars_os"];
    if reads_environment.iter().any(|word| mentions(&code, word)) && !source.path.starts_with("src/runtime/config") {
        say("only runtime/config reads the environment".to_owned());
    }
    if mentions(&code, "faces::pb") && !["faces", "commands", "runtime"].contains(&own.as_str()) {
        say("generated types stay in the faces and in the clients of commands".to_owned());
    }
    let may_have_the_csps =
        source.path.starts_with("src/adapters/csp/grpc/") || source.path.starts_with("src/runtime/sandbox_csp/");
    if code.contains("include_proto!(\"onbill.csp.v1\")") && !may_have_the_csps {
        say("generated types of onbill.csp.v1 stay in adapters/csp/grpc and in the sandbox CSP".to_owned());
    }
    if own == "commands" && mentions(&code, "crate::flows") {
        say("commands are clients of the public API or of runtime, never of flows".to_owned());
    }
    let own_rules = ["domain", "flows"].into_iter().filter(|layer| used_layers(&code).contains(*layer));
    for layer in own_rules.filter(|_| source.path.starts_with("src/commands/certify")) {
        say(format!("the certifier judges ours as any other, and must not know {layer}"));
    }
    broken
}

fn layer_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").expect("a file of src");
    let first = inside.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

fn may_know(own: &str, path: &str, used: &str) -> bool {
    if own == used || own == "lib" {
        return true;
    }
    match (own, used) {
        ("adapters", used) => ["ports", "domain"].contains(&used),
        (_, "adapters") => path == "src/runtime/wiring.rs" || path.starts_with("src/runtime/wiring/"),
        _ => {
            let rank = |layer: &str| LAYERS.iter().position(|name| *name == layer);
            matches!((rank(own), rank(used)), (Some(own), Some(used)) if own < used)
        }
    }
}

/// The layers that a text names by an absolute path, alone or in braces.
fn used_layers(code: &str) -> BTreeSet<String> {
    let layers: BTreeSet<&str> = LAYERS.into_iter().chain(["adapters"]).collect();
    let mut used = BTreeSet::new();
    for prefix in ["crate::", "onbill::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            let named: Vec<String> = if rest.starts_with('{') {
                top_level_names(rest)
            } else {
                vec![rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()]
            };
            used.extend(named.into_iter().filter(|name| layers.contains(name.as_str())));
        }
    }
    used
}

/// The names at the first level of a use in braces.
fn top_level_names(braces: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    for character in braces.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(String::new()),
            _ if depth == 1 => names.last_mut().expect("one is open").push(character),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.iter().map(|name| name.trim().split("::").next().unwrap_or_default().trim().to_owned()).collect()
}

/// `adapters/csp/sandbox/bill.rs` is of the family `csp/sandbox`, `adapters/ledger/memory.rs` of `ledger`: operators
/// are strangers to one another, stores of one port may share what is theirs.
fn family_of(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["src", "adapters", "csp", operator, ..] if !operator.contains('.') => format!("csp/{operator}"),
        ["src", "adapters", port, ..] => port.trim_end_matches(".rs").to_owned(),
        _ => String::new(),
    }
}

/// The families that a text names by `crate::adapters::…`.
fn used_adapters(code: &str) -> BTreeSet<String> {
    let prefix = "crate::adapters::";
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let mut names = code[at + prefix.len()..].split("::");
        match (names.next(), names.next()) {
            (Some("csp"), Some(operator)) => {
                let operator = operator.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                used.insert(format!("csp/{operator}"));
            }
            (Some(port), _) => {
                used.insert(port.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().into());
            }
            (None, _) => {}
        }
    }
    used
}

/// Whether a word stands in a text as a word of its own.
fn mentions(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_point_one_way() {
    let broken: Vec<_> = files("src", "rs").iter().flat_map(check).collect();
    assert!(broken.is_empty(), "broken arrows:\n{broken:#?}");
}

#[test]
fn a_broken_arrow_is_found() {
    for (path, text, why) in [
        ("src/domain/pin.rs", "use tokio::time::sleep;", "the domain must not know tokio"),
        ("src/domain/pin.rs", "use crate::ports::clock::Clock;", "domain must not know ports"),
        ("src/flows/charge.rs", "use crate::faces::status::ApiError;", "flows must not know faces"),
        ("src/flows/charge.rs", "let x = crate::adapters::clock::SystemClock;", "flows must not know adapters"),
        ("src/flows/charge.rs", "use crate::{domain::pin, adapters::csp};", "flows must not know adapters"),
        ("src/faces/wire.rs", "use crate::runtime::config::Config;", "faces must not know runtime"),
        ("src/runtime/serve.rs", "use crate::adapters::clock::SystemClock;", "runtime must not know adapters"),
        ("src/adapters/clock/system.rs", "use crate::flows::Gateway;", "adapters must not know flows"),
        (
            "src/adapters/ledger/memory.rs",
            "use crate::adapters::clock::SystemClock;",
            "adapters/ledger must not know adapters/clock",
        ),
        (
            "src/adapters/csp/http/mod.rs",
            "use crate::adapters::csp::sandbox::Bill;",
            "adapters/csp/http must not know adapters/csp/sandbox",
        ),
        (
            "src/flows/charge.rs",
            "tonic::include_proto!(\"onbill.csp.v1\");",
            "generated types of onbill.csp.v1 stay in adapters/csp/grpc and in the sandbox CSP",
        ),
        ("src/faces/auth.rs", "std::env::var(\"KEY\")", "only runtime/config reads the environment"),
        (
            "src/commands/certify/check.rs",
            "use crate::domain::catalogue;",
            "the certifier judges ours as any other, and must not know domain",
        ),
        (
            "src/commands/certify/faces/json.rs",
            "use crate::{faces::pb, flows::charge};",
            "the certifier judges ours as any other, and must not know flows",
        ),
        (
            "src/commands/load.rs",
            "use crate::flows::charge;",
            "commands are clients of the public API or of runtime, never of flows",
        ),
    ] {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let found: Vec<_> = check(&source).into_iter().map(|broken| broken.why).collect();
        assert!(found.contains(&why.to_owned()), "{path}: {text}: {found:?}");
    }
}

#[test]
fn arrows_that_are_allowed_are_not_called_broken() {
    for (path, text) in [
        ("src/runtime/wiring.rs", "use crate::adapters::ledger::sqlite::SqliteLedger; use crate::ports::csp::Csp;"),
        ("src/flows/charge.rs", "use crate::domain::pin; use crate::ports::csp::Csp; use tokio::time::sleep;"),
        ("src/adapters/clock/system.rs", "use crate::ports::clock::Clock; use crate::domain::Time;"),
        ("src/adapters/csp/http/mod.rs", "use crate::adapters::csp::tls::Identity;"),
        ("src/adapters/csp/grpc/mod.rs", "tonic::include_proto!(\"onbill.csp.v1\");"),
        ("src/runtime/config/source.rs", "std::env::vars_os()"),
        ("src/domain/pin.rs", "// Nothing here knows tokio::time.\nuse crate::domain::Time;"),
    ] {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let broken = check(&source);
        assert!(broken.is_empty(), "{path}: {text}: {broken:?}");
    }
}
