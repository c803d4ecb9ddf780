//! What all attempts of a run share: clients, sandbox, numbers, PINs, and who watches.
//!
//! Invariant: nothing here changes during a run, so that attempts go on side by side without waiting for one another,
//! numbers of a file aside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::accounts::Accounts;
use super::cases::{CaseId, Contract};
use super::faces::{Client, Face};
use super::pins::Pins;
use super::sandbox::Sandbox;
use super::verdict::CaseResult;

/// What is known when a run begins.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// So many results will come.
    pub results: usize,
    /// Where the gateway is.
    pub target: String,
    /// The faces that are certified.
    pub faces: Vec<Face>,
    /// Whether inbox, bill and clock can be seen.
    pub sandbox: bool,
    /// Whether numbers come from a file.
    pub accounts_listed: bool,
}

/// Hears how a run goes on.
pub trait Watch: Send + Sync {
    /// The run begins.
    fn begun(&self, beginning: &Beginning);
    /// A case is done.
    fn finished(&self, result: &CaseResult);
    /// A case waits for real time to pass; called once a second.
    fn waiting(&self, id: CaseId, face: Face, left: Duration);
}

/// Hears and says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Watch for Silent {
    fn begun(&self, _beginning: &Beginning) {}
    fn finished(&self, _result: &CaseResult) {}
    fn waiting(&self, _id: CaseId, _face: Face, _left: Duration) {}
}

/// What attempts share.
pub struct Bench {
    /// Tables of the cases.
    pub contract: Arc<Contract>,
    /// A client for each face that is certified.
    pub clients: BTreeMap<Face, Client>,
    /// The sandbox as seen from each face that shows it.
    pub sandboxes: BTreeMap<Face, Sandbox>,
    /// Numbers.
    pub accounts: Accounts,
    /// PINs where there is no sandbox.
    pub pins: Pins,
    /// How long a PIN lives.
    pub pin_ttl: Duration,
    /// Most beginnings of one case for want of an answer.
    pub attempts_max: u32,
    /// Names the run.
    pub run_id: String,
    /// Who watches.
    pub watch: Arc<dyn Watch>,
}

impl Bench {
    /// The sandbox, through this face where it shows it, else through the other.
    #[must_use]
    pub fn sandbox(&self, face: Face) -> Option<&Sandbox> {
        self.sandboxes.get(&face).or_else(|| self.sandboxes.get(&face.other()))
    }
}
