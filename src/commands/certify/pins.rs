//! Where a PIN comes from when there is no sandbox to read it from: a command, or whoever sits at the terminal.
//!
//! Invariant: a PIN is held no longer than its attempt and written nowhere. A question at the terminal is never asked
//! while another one is open.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::sandbox::pin_in;

/// Longest that a command may take to print a PIN: an SMS on a live network can take this long.
const COMMAND_MAX: Duration = Duration::from_mins(1);

/// Asks a person: the question in, the typed line out.
pub type Ask = Arc<dyn Fn(&str) -> std::io::Result<String> + Send + Sync>;

/// A source of PINs.
#[derive(Clone, Default)]
pub struct Pins {
    command: Option<String>,
    ask: Option<Ask>,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Pins {
    /// PINs from a command, else from a person, else from nowhere.
    #[must_use]
    pub fn new(command: Option<String>, ask: Option<Ask>) -> Self {
        Self { command, ask, one_at_a_time: Arc::default() }
    }

    /// Whether a PIN read here proves by itself that the SMS has come.
    #[must_use]
    pub const fn reads_the_phone(&self) -> bool {
        self.command.is_some()
    }

    /// The PIN that was sent to a number; `shown` is the number as it may be shown.
    ///
    /// # Errors
    /// What is needed, or what went wrong.
    pub async fn fetch(&self, msisdn: &str, shown: &str) -> Result<String, String> {
        if let Some(command) = &self.command {
            return run(command, msisdn).await;
        }
        let Some(ask) = self.ask.clone() else {
            return Err("needs a PIN: a sandbox, --pin-command, or a terminal to ask at".to_owned());
        };
        let _turn = self.one_at_a_time.lock().await;
        let question = format!("PIN sent to {shown}: ");
        let typed = tokio::task::spawn_blocking(move || ask(&question)).await;
        match typed {
            Ok(Ok(line)) if !line.trim().is_empty() => Ok(line.trim().to_owned()),
            _ => Err("needs a PIN, and none was typed".to_owned()),
        }
    }
}

async fn run(command: &str, msisdn: &str) -> Result<String, String> {
    let child = tokio::process::Command::new("sh")
        .args(["-c", &format!("{command} \"$1\""), "sh", msisdn])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(COMMAND_MAX, child).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("needs a PIN: --pin-command did not start: {error}")),
        Err(_) => return Err(format!("needs a PIN: --pin-command took over {} s", COMMAND_MAX.as_secs())),
    };
    if !output.status.success() {
        return Err(format!("needs a PIN: --pin-command ended with {}", output.status));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let pin = pin_in(&printed).unwrap_or_else(|| printed.trim());
    if pin.is_empty() || pin.lines().count() > 1 {
        return Err("needs a PIN: --pin-command printed none".to_owned());
    }
    Ok(pin.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_gets_the_address_and_its_pin_is_found_in_what_it_prints() {
        for (command, pin) in [
            ("printf '%s' 123456; true", Ok("123456".to_owned())),
            ("echo ${1#5550}; :", Ok("100001".to_owned())),
            ("echo Your PIN is 654321, from", Ok("654321".to_owned())),
            ("true", Err("needs a PIN: --pin-command printed none".to_owned())),
            ("false", Err("needs a PIN: --pin-command ended with exit status: 1".to_owned())),
        ] {
            let pins = Pins::new(Some(command.to_owned()), None);
            assert_eq!(pins.fetch("5550100001", "555*****01").await, pin, "{command}");
        }
    }

    #[tokio::test]
    async fn a_person_is_asked_with_the_number_masked() {
        let ask: Ask =
            Arc::new(|question| Ok(if question.contains("555*****01") { " 123456\n" } else { "" }.to_owned()));
        assert_eq!(Pins::new(None, Some(ask)).fetch("5550100001", "555*****01").await, Ok("123456".to_owned()));
        assert!(Pins::default().fetch("5550100001", "555*****01").await.is_err());
    }
}
