//! The protobuf wire format.

use crate::decode::Unreadable;

/// A value before its schema is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Raw<'a> {
    /// A varint or fixed number.
    Number(u64),
    /// Anything with a length.
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8], Unreadable> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(damaged("a number where bytes were expected")),
        }
    }

    pub(super) fn number(&self) -> Result<u64, Unreadable> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Bytes(_) => Err(damaged("bytes where a number was expected")),
        }
    }
}

/// A field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Raw<'a>,
}

/// The fields of a message, in order; ends after the first fault.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Unreadable>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, Unreadable> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).map_err(|_| damaged("a field number is too large"))?;
    let value = match key & 7 {
        0 => Raw::Number(varint(rest)?),
        1 => Raw::Number(fixed(take(rest, 8)?)),
        2 => {
            let len = usize::try_from(varint(rest)?).map_err(|_| damaged("a length is too large"))?;
            Raw::Bytes(take(rest, len)?)
        }
        5 => Raw::Number(fixed(take(rest, 4)?)),
        _ => return Err(damaged("an unknown wire type")),
    };
    Ok(Field { number, value })
}

/// Takes a varint off the front.
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a number is too long"))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Unreadable> {
    let (taken, left) = rest.split_at_checked(len).ok_or_else(|| damaged("unexpected end"))?;
    *rest = left;
    Ok(taken)
}

fn fixed(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn damaged(why: &str) -> Unreadable {
    Unreadable(format!("protobuf: {why}"))
}
