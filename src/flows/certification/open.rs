//! The runs that take calls, and the calls of each that are under way.
//!
//! Invariant: a call that came before its run was being finished is under way until it has been noted; one that comes
//! later is no member. So whoever finishes a run knows of every call of it that is not noted yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::certification::Run;
use crate::domain::ids::PartnerId;

/// A run that is open.
pub(super) struct OpenRun {
    pub(super) id: String,
    pub(super) partner: PartnerId,
    /// Tells of changes; gone once nobody is to watch any more.
    changed: Mutex<Option<watch::Sender<()>>>,
    /// Calls that were answered and are not kept.
    pub(super) left_out: AtomicU32,
    under_way: AtomicU32,
    /// Somebody finishes it: it takes no more calls.
    closing: AtomicBool,
}

impl OpenRun {
    fn of(run: &Run) -> Self {
        Self {
            id: run.id.clone(),
            partner: run.partner.clone(),
            changed: Mutex::new(Some(watch::Sender::new(()))),
            left_out: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn tell_change(&self) {
        if let Some(changed) = self.changed.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            changed.send_replace(());
        }
    }

    pub(super) fn changes(&self) -> Option<watch::Receiver<()>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(watch::Sender::subscribe)
    }

    /// Whoever watches looks once more and ends.
    pub(super) fn end_watchers(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Calls that were taken and are not noted yet.
    pub(super) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Takes calls, or does not.
    pub(super) fn set_closing(&self, closing: bool) {
        self.closing.store(closing, Ordering::SeqCst);
    }
}

/// An open run, as somebody who belongs to it has it.
#[derive(Clone)]
pub struct Member(pub(super) Arc<OpenRun>);

/// A call of a run that was not noted yet.
pub struct UnderWay(Member);

impl UnderWay {
    /// Its run.
    #[must_use]
    pub const fn member(&self) -> &Member {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a call belongs.
pub(super) enum Place {
    /// To an open run.
    In(UnderWay),
    /// It names a run that takes no more calls, or none at all.
    Late,
    /// It names no run, and none takes all.
    Nowhere,
}

/// The runs that are open.
#[derive(Default)]
pub(super) struct OpenRuns {
    by_id: HashMap<String, Arc<OpenRun>>,
    /// The one that takes every call of its partner.
    taking_all: HashMap<PartnerId, String>,
}

impl OpenRuns {
    pub(super) fn insert(&mut self, run: &Run) {
        self.by_id.insert(run.id.clone(), Arc::new(OpenRun::of(run)));
        if run.takes_all {
            self.taking_all.insert(run.partner.clone(), run.id.clone());
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.taking_all.retain(|_, taking| taking != id);
        if let Some(run) = self.by_id.remove(id) {
            run.end_watchers();
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<OpenRun>> {
        self.by_id.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<OpenRun>> {
        self.by_id.values()
    }

    pub(super) fn takes_all(&self, partner: &PartnerId) -> bool {
        self.taking_all.contains_key(partner)
    }

    /// Where a call belongs: to the run that it names, else to the one that takes all.
    pub(super) fn place(&self, partner: &PartnerId, named: Option<&str>) -> Place {
        let run = named.or_else(|| self.taking_all.get(partner).map(String::as_str)).and_then(|id| self.by_id.get(id));
        match run.filter(|run| run.partner == *partner && !run.closing.load(Ordering::SeqCst)) {
            Some(run) => {
                run.under_way.fetch_add(1, Ordering::SeqCst);
                Place::In(UnderWay(Member(Arc::clone(run))))
            }
            None if named.is_some() => Place::Late,
            None => Place::Nowhere,
        }
    }
}
