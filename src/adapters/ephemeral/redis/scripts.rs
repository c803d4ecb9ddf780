//! The scripts, and how they are run.
//!
//! Invariant: a script is sent by its digest, in one round trip; a server that does not know it (a fresh one, or one
//! that was flushed) is sent the text, once. Each touches only the keys that it is given, which share their slot.

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use super::link::{Link, NoAnswer};

/// A script and its digest.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

/// All of them.
pub(super) struct Scripts {
    pub(super) issue: Script,
    pub(super) redeem: Script,
    pub(super) begin: Script,
    pub(super) end: Script,
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) lease: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            issue: Script::new(include_str!("scripts/issue.lua")),
            redeem: Script::new(include_str!("scripts/redeem.lua")),
            begin: Script::new(include_str!("scripts/begin.lua")),
            end: Script::new(include_str!("scripts/end.lua")),
            claim: Script::new(include_str!("scripts/claim.lua")),
            settle: Script::new(include_str!("scripts/settle.lua")),
            lease: Script::new(include_str!("scripts/lease.lua")),
        }
    }
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs it on these keys with what `arguments` adds.
    pub(super) async fn run(
        &self,
        link: &Link,
        keys: &[String],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, NoAnswer> {
        let command = |verb: &str, script: &str| {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(keys.len()).arg(keys);
            arguments(&mut command);
            command
        };
        match link.send(&command("EVALSHA", &self.digest)).await {
            Err(NoAnswer::Failed(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.send(&command("EVAL", self.text)).await
            }
            answer => answer,
        }
    }
}
