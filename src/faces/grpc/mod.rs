//! The gRPC services: one thin file each.

pub mod codec;
