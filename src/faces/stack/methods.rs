//! What is known of each method before any call: one look-up by path, and everything that the layers ask of it.
//!
//! Invariant: what is here is there, needs a key, and is known by the path of the descriptors alone; nothing is made of a
//! path that a caller has sent.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::super::auth::methods::scope_of;
use super::super::measures::{Measures, OfMethod};
use super::auditing;
use crate::domain::certification::Rpc;
use crate::domain::scope::Scope;

/// A method that needs a key.
pub(super) struct Method {
    /// Its path in gRPC.
    pub(super) path: String,
    /// The scope that it needs; `None` grants it to nobody.
    pub(super) scope: Option<Scope>,
    /// Its fields in the order in which violations are listed.
    pub(super) fields: Vec<String>,
    /// Its name in the audit log, where it changes something.
    pub(super) changing: Option<&'static str>,
    /// What certification knows it as.
    pub(super) rpc: Option<Rpc>,
    /// Where its calls are counted.
    pub(super) measures: OfMethod,
}

impl Method {
    /// Service and method, without the package's slash: `onbill.v1.PinService/SendPin`.
    pub(super) fn full_name(&self) -> &str {
        self.path.trim_start_matches('/')
    }

    /// The method's own name.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// All methods that need a key.
pub(super) struct Methods(HashMap<String, Method, RandomState>);

impl Methods {
    /// Those of these services, by their descriptors.
    pub(super) fn read(
        descriptors: &[u8],
        services: &[&str],
        measures: &Measures,
    ) -> Result<Self, prost_reflect::DescriptorError> {
        let pool = prost_reflect::DescriptorPool::decode(descriptors)?;
        let mut methods = HashMap::with_hasher(RandomState::default());
        let known = services.iter().filter_map(|name| pool.get_service_by_name(name));
        for method in known.flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let made = Method {
                scope: scope_of(&path),
                fields: method.input().fields().map(|field| field.json_name().to_owned()).collect(),
                changing: auditing::changing(method.name()),
                rpc: Rpc::parse(method.name()),
                measures: measures.of(path.trim_start_matches('/')),
                path: path.clone(),
            };
            methods.insert(path, made);
        }
        Ok(Self(methods))
    }

    /// The method of a path.
    pub(super) fn get(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }
}
