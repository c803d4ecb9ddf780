//! What a running gateway is made of at the moment, for all who work with it.
//!
//! Invariant: it changes as a whole: whoever takes it sees one configuration for as long as it keeps what it took, and
//! a request keeps it until it is answered. What changes it is `reload`.

use std::sync::Arc;

use tokio::sync::watch;

use crate::faces::stack::Front;
use crate::flows::Gateway;

/// A gateway and the faces before it, of one configuration.
pub struct Living {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its faces.
    pub front: Front,
}

/// Looks at what there is.
#[derive(Clone)]
pub struct Current(watch::Receiver<Arc<Living>>);

/// Puts something else in its place.
pub struct Successor(watch::Sender<Arc<Living>>);

/// Begins with this.
#[must_use]
pub fn begin(living: Living) -> (Successor, Current) {
    let (sender, receiver) = watch::channel(Arc::new(living));
    (Successor(sender), Current(receiver))
}

impl Current {
    /// The gateway as it is now.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.0.borrow().gateway)
    }

    /// Its faces as they are now.
    #[must_use]
    pub fn front(&self) -> Front {
        self.0.borrow().front.clone()
    }

    /// Waits until there is another one than was looked at by this clone before; for ever where there will be none.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Successor {
    /// The gateway as it is now.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.0.borrow().gateway)
    }

    /// From now on this; what is under way goes on with what it began with.
    pub fn succeed(&self, living: Living) {
        self.0.send_replace(Arc::new(living));
    }
}
