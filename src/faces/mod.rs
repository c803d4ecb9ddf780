//! How others reach the gateway: gRPC, and the same over JSON.
//!
//! Invariant: no rule lives here. Faces carry requests in and answers out; both faces run the same services through
//! the same layers.

pub mod stack;
pub mod auth;
pub mod measures;
pub mod grpc;
pub mod wire;
pub mod json;
pub mod certification;
pub mod status;

/// Types generated from `proto/`. They never leave the faces, clients in `commands` aside.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, clippy::nursery)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));

    pub use self::onbill::v1;

    /// The descriptor set of `proto/`, encoded, with comments and options.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/onbill.binpb"));
}
