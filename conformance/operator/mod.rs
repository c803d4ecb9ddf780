//! The sandbox CSP as the process that is built: started, spoken to and stopped as a user would.
//!
//! Invariant: nothing here reaches into it; it is on a port of its own, with a bill of its own.

mod books;
mod faults;

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::gateway::client::{Answer, Partner};

/// The key that the operators of these tests ask for.
pub const KEY: &str = "operator-key";

/// An operator that runs, until it is dropped.
pub struct Operator {
    child: Child,
    /// Kept open, so that it can finish what it has to say.
    _output: Lines<BufReader<ChildStdout>>,
    listen: String,
    own: Option<TempDir>,
}

impl Operator {
    /// One whose bill goes away with it.
    pub fn start(arguments: &[&str]) -> Self {
        let own = TempDir::new().expect("a temporary directory");
        let mut operator = Self::start_in(own.path(), arguments);
        operator.own = Some(own);
        operator
    }

    /// One whose bill is in this directory.
    pub fn start_in(data_dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onbill"));
        command.args(["sandbox-csp", "--listen", "127.0.0.1:0", "--api-key", KEY, "--data-dir"]).arg(data_dir);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("the built operator");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.by_ref().find_map(|line| line.expect("text").split("http://").nth(1).map(str::to_owned));
        Self { child, _output: lines, listen: line.expect("where it listens"), own: None }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.listen
    }

    /// Whoever has its key.
    pub fn client(&self) -> Partner {
        Partner::at(&self.listen, KEY)
    }

    /// Kills it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to stop and waits for its exit.
    pub fn stop(mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        self.child.wait().expect("its status")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Already gone where a test has stopped or killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the bill of all numbers.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub address: String,
    pub reference: String,
    pub reference_id: Option<String>,
    pub amount: String,
    pub description: String,
}

/// All lines of the bill.
pub async fn all_lines(client: &Partner) -> Vec<Line> {
    let Answer { status, body, .. } = client.get("/bill").await;
    assert_eq!(status, 200, "{body}");
    body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
