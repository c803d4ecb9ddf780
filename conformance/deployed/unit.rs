//! The systemd unit: systemd itself reads it and judges how exposed the service is, and the gateway says what the unit
//! waits for.
//!
//! Invariant: no systemd runs here, so the unit is not started: what is claimed is what `systemd-analyze` can tell
//! without one, and what the process does on its own side.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::gateway::process::Setup;

const UNIT: &str = include_str!("../../deploy/systemd/onbill.service");
/// Where the unit says that the binary is.
const INSTALLED: &str = "/usr/local/bin/onbill";

/// The unit in a directory of its own, with the built binary in place of the installed one.
fn unit(directory: &tempfile::TempDir) -> PathBuf {
    let file = directory.path().join("onbill.service");
    std::fs::write(&file, UNIT.replace(INSTALLED, env!("CARGO_BIN_EXE_onbill"))).expect("a unit");
    file
}

fn analyze(arguments: &[&str], file: &PathBuf) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(file)
        .output()
        .expect("systemd-analyze, which conformance/install installs")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let directory = tempfile::tempdir().expect("a directory");
    let verified = analyze(&["verify", "--man=no"], &unit(&directory));
    assert!(verified.status.success() && told(&verified).is_empty(), "{}", told(&verified));
    std::fs::write(directory.path().join("onbill.service"), UNIT.replace("PrivateTmp", "PrivateTemp")).expect("a unit");
    let wrong = analyze(&["verify", "--man=no"], &directory.path().join("onbill.service"));
    assert!(told(&wrong).contains("PrivateTemp"), "it would say what it does not understand: {}", told(&wrong));
}

#[test]
fn the_service_may_do_what_it_needs_and_little_else() {
    let directory = tempfile::tempdir().expect("a directory");
    // In tenths: 1.5 is what systemd calls OK; what is left is the network, which the service is for.
    let judged = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &unit(&directory));
    assert!(judged.status.success(), "{}", told(&judged));
    let exposed: Vec<String> = told(&judged)
        .lines()
        .filter(|line| line.starts_with('✗'))
        .map(|line| line.chars().skip(2).take(36).collect())
        .collect();
    let of_network = ["RestrictAddressFamilies", "PrivateNetwork", "IPAddressDeny"];
    let of_files = ["RootDirectory", "PrivateMounts", "DeviceAllow"];
    for line in &exposed {
        assert!(of_network.iter().chain(&of_files).any(|known| line.starts_with(known)), "{line}");
    }
}

/// A setting of the unit, in seconds or as it stands.
fn setting(name: &str) -> &'static str {
    let line = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has no {name}"))
}

#[test]
fn a_stop_may_take_as_long_as_a_drain_and_a_lease() {
    let sample = include_str!("../../deploy/onbill.toml");
    let default = |key: &str| -> u64 {
        let line = sample.lines().find_map(|line| line.strip_prefix(&format!("#{key} = ")));
        line.unwrap_or_else(|| panic!("{key}")).parse().expect("seconds")
    };
    let stop: u64 = setting("TimeoutStopSec").parse().expect("seconds");
    assert!(stop > default("drain_s") + default("lease_s"), "{stop}");
    assert_eq!((setting("KillSignal"), setting("ExecReload")), ("SIGTERM", "/bin/kill -HUP $MAINPID"));
    assert_eq!(setting("Type"), "notify");
}

#[test]
fn a_gateway_says_when_it_listens_and_when_it_begins_to_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("a socket");
    supervisor.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound");
    let hear = || {
        let mut buffer = [0; 64];
        let length = supervisor.recv(&mut buffer).expect("a word");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let gateway = Setup::default().environment("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).start();
    assert_eq!(hear(), "READY=1");
    assert!(gateway.stop().success());
    assert_eq!(hear(), "STOPPING=1");
}
