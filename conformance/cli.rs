//! Claims about the built binary: what it prints, where, and what it ends with.
//!
//! Invariant: each run has an environment of its own, with nothing in it that the test does not name.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use onbill::domain::api_key::KeyDigest;

fn onbill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
    command.args(arguments).env_clear().current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("gateway.toml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn version_and_help_answer_on_standard_output_with_0() {
    let version = format!("onbill {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut onbill(&["--version"])), (0, version, String::new()));
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["sandbox-csp", "--help"],
        &["load", "--help"],
        &["config", "--help"],
        &["config", "check", "--help"],
        &["key", "new", "--help"],
        &["completions", "--help"],
    ] {
        let (code, out, err) = run(&mut onbill(arguments));
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        assert!(out.contains("Usage: onbill"), "{arguments:?}: {out}");
        let too_wide: Vec<_> = out.lines().filter(|line| line.chars().count() > 100).collect();
        assert_eq!(too_wide, [""; 0], "{arguments:?}: a terminal would break these");
    }
}

#[test]
fn every_command_says_how_it_ends_and_shows_examples() {
    for arguments in [
        &["serve", "--help"][..],
        &["sandbox-csp", "--help"],
        &["load", "--help"],
        &["config", "check", "--help"],
        &["key", "new", "--help"],
    ] {
        let (_, out, _) = run(&mut onbill(arguments));
        assert!(out.contains("Examples:") && out.contains("Exit codes:"), "{arguments:?}: {out}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_a_hint() {
    for (arguments, hint) in [
        (&["sevre"][..], "similar subcommand exists: 'serve'"),
        (&["serve", "--lisen", "127.0.0.1:1"], "similar argument exists: '--listen'"),
        (&["serve", "--listen", "localhost"], "invalid value 'localhost' for '--listen <IP:PORT>'"),
        (&["completions", "csh"], "possible values: bash, elvish, fish, powershell, zsh"),
        (&["config", "check"], "<FILE>"),
        (&[], "Usage: onbill <COMMAND>"),
        (&["key"], "Usage: onbill key <COMMAND>"),
    ] {
        let (code, out, err) = run(&mut onbill(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(hint), "{arguments:?}: {err}");
    }
}

#[test]
fn a_good_file_is_ok_and_the_sample_is_one() {
    let (code, out, err) = run(&mut onbill(&["config", "check", "deploy/onbill.toml"]));
    let expected = "ok: deploy/onbill.toml: CSPs: 1 (sandbox); partners: 2 (demo-ott, other-ott); sandbox on\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
    let (code, out, _) = run(&mut onbill(&["config", "check", "--show", "deploy/onbill.toml"]));
    assert_eq!(code, 0);
    assert!(out.contains("\nsandbox.enabled = true  # file deploy/onbill.toml\n"), "{out}");
}

#[test]
fn a_bad_file_is_refused_with_2_and_one_line_for_each_problem() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), "[sandbox]\nenabled = true\n[server]\ndrain_s = 0\nlisen = 'x'\n");
    let (code, out, err) = run(&mut onbill(&["config", "check", &path]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(err.contains("server.drain_s: is 0, must be a whole number from 1 to 600 (seconds)"), "{err}");
    assert!(err.contains("server.lisen: unknown key; known here: listen, "), "{err}");
    let (code, out, err) = run(&mut onbill(&["config", "check", "--json", &path]));
    assert_eq!((code, err.as_str()), (2, ""));
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["problems"][0]["key"], "server.drain_s");
    assert_eq!(answer["problems"][0]["origin"], format!("file {path}"));
}

#[test]
fn check_and_serve_refuse_the_same_for_the_same_reason() {
    let variable = ("ONBILL__SERVER__DRAIN_S", "soon");
    let (code, _, checked) = run(onbill(&["config", "check", "deploy/onbill.toml"]).env(variable.0, variable.1));
    assert_eq!(code, 2);
    assert_eq!(
        checked,
        "server.drain_s: is \"soon\", must be a whole number from 1 to 600 (seconds) \
         (from environment variable ONBILL__SERVER__DRAIN_S)\n"
    );
    let (code, out, served) = run(onbill(&["serve", "--config", "deploy/onbill.toml"]).env(variable.0, variable.1));
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(served, format!("onbill cannot start with this configuration:\n{checked}"));
}

#[test]
fn a_new_key_is_256_bits_and_its_line_is_taken_by_a_configuration() {
    let made = || {
        let (code, out, err) = run(&mut onbill(&["key", "new", "--json"]));
        assert_eq!((code, err.as_str()), (0, ""));
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON")
    };
    let (one, other) = (made(), made());
    assert_ne!(one["key"], other["key"]);
    let key = one["key"].as_str().expect("a text");
    let random = key.strip_prefix("onb_").expect("the prefix");
    assert!(random.len() == 43 && random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "43 of 64");
    assert_eq!(one["sha256"], KeyDigest::of(key.as_bytes()).to_string());
    let line = one["toml"].as_str().expect("a text");
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("[sandbox]\nenabled = true\n[partner.mine]\ncsps = ['sandbox']\n{line}\n");
    let (code, out, err) = run(&mut onbill(&["config", "check", &file(dir.path(), &text)]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("partners: 3 (demo-ott, mine, other-ott)"), "{out}");
}

#[test]
fn a_new_key_is_shown_with_its_digest_and_the_line_to_paste() {
    let (code, out, err) = run(&mut onbill(&["key", "new"]));
    assert_eq!((code, err.as_str()), (0, ""));
    let key = out.split_whitespace().find(|word| word.starts_with("onb_") && word.len() == 47).expect("a key");
    let line = format!("  key_sha256 = [\"{}\"]\n", KeyDigest::of(key.as_bytes()));
    assert!(out.contains(&line), "the digest of the key that is shown");
}

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = run(&mut onbill(&["completions", shell]));
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        for word in ["serve", "config", "check", "key", "new", "completions", "admin-listen"] {
            assert!(out.contains(word), "{shell} does not know {word}");
        }
    }
}
