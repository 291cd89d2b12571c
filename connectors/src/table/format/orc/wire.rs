//! Protocol buffers, as far as the footers of ORC need them: field numbers, numbers and bytes.

use std::io;

/// The numbers with these field numbers; 0 if one is not there.
pub(super) fn numbers<const N: usize>(message: &[u8], wanted: [u64; N]) -> io::Result<[u64; N]> {
    let mut found = [0; N];
    for field in Message(message) {
        if let (number, Value::Number(value)) = field?
            && let Some(place) = wanted.iter().position(|wanted| *wanted == number)
        {
            found[place] = value;
        }
    }
    Ok(found)
}

/// The fields of a message, by number.
pub(super) struct Message<'a>(pub(super) &'a [u8]);

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    fn field(&mut self) -> io::Result<(u64, Value<'a>)> {
        let key = varint(&mut self.0)?;
        let size = match key & 7 {
            0 => return Ok((key >> 3, Value::Number(varint(&mut self.0)?))),
            1 => 8, // of fixed size; ORC has none
            2 => usize::try_from(varint(&mut self.0)?).unwrap_or(usize::MAX),
            5 => 4,
            _ => return Err(impossible("its footer is garbled")),
        };
        let (bytes, rest) =
            self.0.split_at_checked(size).ok_or_else(|| impossible("its footer is garbled"))?;
        self.0 = rest;
        Ok((key >> 3, Value::Bytes(bytes)))
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = io::Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

pub(super) fn varint(bytes: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0;
    for group in 0..10 {
        let Some((&byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(impossible("its footer is garbled"))
}

/// An error about the content of a file.
pub(super) fn impossible(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Appends a number.
pub(super) fn put_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends a field.
pub(super) fn put(number: u64, value: &Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Number(value) => {
            put_varint(number << 3, to);
            put_varint(*value, to);
        }
        Value::Bytes(bytes) => {
            put_varint(number << 3 | 2, to);
            put_varint(bytes.len() as u64, to);
            to.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_found_and_garbage_is_an_error() {
        let mut message = Vec::new();
        put(3, &Value::Number(u64::MAX), &mut message);
        put(4, &Value::Bytes(b"abc"), &mut message);
        put(5, &Value::Number(0), &mut message);
        assert_eq!(numbers(&message, [5, 3, 9]).unwrap(), [0, u64::MAX, 0]);
        let bytes = Message(&message).find_map(|field| match field.unwrap() {
            (4, Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        });
        assert_eq!(bytes, Some(b"abc".as_slice()));
        assert!(numbers(&[0xff; 12], [1]).is_err(), "a number without an end");
        assert!(numbers(&[0x12, 200, 1], [1]).is_err(), "bytes beyond the end");
    }
}
