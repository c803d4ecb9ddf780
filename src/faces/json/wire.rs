//! The protobuf wire format: keys, varints, lengths.
//!
//! Invariant: bytes that are no protobuf are an error, whatever they are, and never a panic or an endless loop.
//! What a field means is not known here: that is in the tables of `schema`. Groups are refused, as nothing of ours
//! uses them (protobuf encoding guide, "Message structure").

/// Bytes that are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(super) struct Broken;

/// One value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Appends field `number` with this value.
pub(super) fn put(out: &mut Vec<u8>, number: u32, value: Wire<'_>) {
    match value {
        Wire::Varint(value) => {
            put_key(out, number, VARINT);
            put_varint(out, value);
        }
        Wire::Fixed64(value) => {
            put_key(out, number, FIXED64);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Wire::Bytes(value) => {
            put_key(out, number, BYTES);
            put_varint(out, u64::try_from(value.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(value);
        }
        Wire::Fixed32(value) => {
            put_key(out, number, FIXED32);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn put_key(out: &mut Vec<u8>, number: u32, kind: u32) {
    put_varint(out, u64::from(number) << 3 | u64::from(kind));
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// Signed → unsigned with small absolute values first, as `sint32` and `sint64` are written.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The other way round.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field number and value; none at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, Broken> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Broken)?;
        let value = match key & 7 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => Wire::Fixed64(self.fixed64()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Broken)?;
                let (value, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
                self.0 = rest;
                Wire::Bytes(value)
            }
            FIXED32 => Wire::Fixed32(self.fixed32()?),
            _ => return Err(Broken),
        };
        match key >> 3 {
            0 => Err(Broken),
            number => Ok(Some((number, value))),
        }
    }

    /// One varint, as packed lists hold them.
    pub(super) fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Broken)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// Eight bytes, as packed lists hold them.
    pub(super) fn fixed64(&mut self) -> Result<u64, Broken> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Broken)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Four bytes, as packed lists hold them.
    pub(super) fn fixed32(&mut self) -> Result<u32, Broken> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Broken)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn varints_and_zigzag_survive_the_round_trip(value in any::<u64>(), number in 1_u32..0x1000_0000) {
            let mut out = Vec::new();
            put(&mut out, number, Wire::Varint(value));
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.field(), Ok(Some((number, Wire::Varint(value)))));
            prop_assert_eq!(reader.field(), Ok(None));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
        }

        #[test]
        fn any_bytes_end_in_fields_or_an_error(bytes in any::<Vec<u8>>()) {
            let mut reader = Reader(&bytes);
            while let Ok(Some((number, _))) = reader.field() {
                prop_assert_eq!(number == 0, false);
            }
        }
    }
}
