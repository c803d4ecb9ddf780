//! x
use bytes::Bytes;
use prost_reflect::DescriptorPool;
use super::{JsonFaceError, routes::Routes};
pub(super) fn document(_pool: &DescriptorPool, _routes: &Routes, _version: &str) -> Result<Bytes, JsonFaceError> { Ok(Bytes::new()) }
