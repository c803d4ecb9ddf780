//! The token of the operations port, for the commands that change something over it.
//!
//! Invariant: it comes from a file and is never on a command line, where every user of the machine could read it.

use std::path::PathBuf;

use http::HeaderValue;

/// Where the token is.
#[derive(Debug, clap::Args)]
pub struct AdminToken {
    /// File of that port's token.
    #[arg(long, value_name = "FILE", env = "ONBILL_ADMIN_TOKEN_FILE", hide_env_values = true)]
    pub admin_token_file: Option<PathBuf>,
}

impl AdminToken {
    /// The header that shows it; `None` where there is none to show.
    ///
    /// # Errors
    /// Why it cannot be shown.
    pub fn header(&self) -> Result<Option<HeaderValue>, String> {
        let Some(path) = &self.admin_token_file else { return Ok(None) };
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--admin-token-file: {shown} cannot be read: {error}"))?;
        let value = HeaderValue::try_from(format!("Bearer {}", text.trim_end()));
        let mut value = value.map_err(|_| format!("--admin-token-file: {shown} holds no token"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
