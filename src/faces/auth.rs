//! Who calls: an API key, looked up by its digest.
//!
//! Invariant: only digests of keys are in memory, and a wrong key costs the same work as a right one of another
//! partner. What a partner may do is not here.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;

use crate::domain::api_key::PartnerKeys;
use crate::domain::directory::{Directory, Partner};
use crate::domain::ids::PartnerId;

/// The header, and the metadata key, that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";

/// Which key is whose.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Known>);

#[derive(Debug)]
struct Known {
    keys: PartnerKeys,
    partners: HashMap<PartnerId, Arc<Partner>>,
}

impl Keys {
    /// The keys of a directory's partners.
    #[must_use]
    pub fn new(keys: PartnerKeys, directory: &Directory) -> Self {
        let known = keys.partners().into_iter().filter_map(|id| directory.partner(id));
        let partners = known.map(|partner| (partner.id.clone(), Arc::clone(partner))).collect();
        Self(Arc::new(Known { keys, partners }))
    }

    /// The partner whose key the request carries; `None` where it carries none, a wrong one, or more than one.
    #[must_use]
    pub fn partner(&self, headers: &HeaderMap) -> Option<&Arc<Partner>> {
        let mut sent = headers.get_all(API_KEY_HEADER).iter();
        let key = sent.next()?;
        if sent.next().is_some() {
            return None;
        }
        self.0.partners.get(self.0.keys.partner_of(key.as_bytes())?)
    }
}
