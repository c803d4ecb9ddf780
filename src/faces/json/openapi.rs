//! x
use super::{JsonFaceError, routes::Routes};
use bytes::Bytes;
use prost_reflect::DescriptorPool;
pub(super) fn document(_pool: &DescriptorPool, _routes: &Routes, _version: &str) -> Result<Bytes, JsonFaceError> {
    Ok(Bytes::new())
}
