//! The codec of every method: prost, with the contract's refusals in place of tonic's.
//!
//! Invariant: bytes that are no message of ours are the caller's fault and answered as `invalid-request`
//! (INVALID_ARGUMENT), never as INTERNAL or OUT_OF_RANGE. Which fields are wrong is not decided here.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::domain::catalogue::{Violation, field, reason};
use crate::faces::status::ApiError;

/// Room that a message is given at first, each way, and from which on more than one is sent at a time: most messages are a
/// fraction of it, and tonic's 8 KiB cost more than what is written into them.
const ROOM_BYTES: usize = 512;
const SENT_FROM_BYTES: usize = 32 * 1024;

fn room() -> BufferSettings {
    BufferSettings::new(ROOM_BYTES, SENT_FROM_BYTES)
}

/// Encodes `T`, decodes `U`.
#[derive(Debug, Clone)]
pub struct ContractCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ContractCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ContractCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ContractDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(room())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ContractDecoder(PhantomData)
    }
}

/// Decodes `U`.
#[derive(Debug)]
pub struct ContractDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for ContractDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(source).map(Some).map_err(|error| unreadable(&error))
    }

    fn buffer_settings(&self) -> BufferSettings {
        room()
    }
}

/// prost keeps the kind of a decode error to itself: its text is the only place that tells a bad string from a bad frame.
pub(super) fn unreadable(error: &prost::DecodeError) -> Status {
    let text = error.to_string();
    let reason = if text.contains("UTF-8") { reason::BODY_UTF8 } else { reason::BODY_PROTOBUF };
    ApiError::invalid(vec![Violation::on(field::BODY, reason)]).into_status()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::pb::v1::SendPinRequest;

    #[test]
    fn broken_utf8_is_told_from_broken_framing() {
        for (bytes, reason) in
            [(&[0x0a, 0x02, 0xff, 0xfe][..], reason::BODY_UTF8), (&[0x0a, 0x7f, 0x00][..], reason::BODY_PROTOBUF)]
        {
            let error = SendPinRequest::decode(bytes).expect_err("not a message");
            assert_eq!(ApiError::from_status(&unreadable(&error)).violations[0].reason, reason);
        }
    }
}
