//! Fields of protocol buffers, appended to bytes.

/// A varint: seven bits per byte, the lowest first.
pub(super) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A field of a whole number or a truth value.
pub(super) fn integer(bytes: &mut Vec<u8>, field: u64, number: u64) {
    varint(bytes, field << 3);
    varint(bytes, number);
}

/// A field of eight bytes.
pub(super) fn double(bytes: &mut Vec<u8>, field: u64, number: f64) {
    varint(bytes, field << 3 | 1);
    bytes.extend(number.to_le_bytes());
}

/// A field of four bytes.
pub(super) fn float(bytes: &mut Vec<u8>, field: u64, number: f32) {
    varint(bytes, field << 3 | 5);
    bytes.extend(number.to_le_bytes());
}

/// A field of text or bytes.
pub(super) fn text(bytes: &mut Vec<u8>, field: u64, text: impl AsRef<[u8]>) {
    message(bytes, field, |bytes| bytes.extend_from_slice(text.as_ref()));
}

/// A field that holds what `fill` appends.
pub(super) fn message(bytes: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    varint(bytes, field << 3 | 2);
    let start = bytes.len();
    fill(bytes);
    // Its length is known only now, and stands before it.
    let end = bytes.len();
    varint(bytes, (end - start) as u64);
    let length = bytes.len() - end;
    bytes[start..].rotate_right(length);
}

/// A message, built field by field.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message without fields.
    pub(super) fn new() -> Self {
        Message::default()
    }

    /// Adds an integer, an enumeration or a boolean.
    pub(super) fn varint(mut self, field: u64, value: u64) -> Self {
        integer(&mut self.0, field, value);
        self
    }

    /// Adds a text, bytes or a message.
    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        text(&mut self.0, field, value);
        self
    }

    /// Its encoding.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varints_are_those_of_the_specification() {
        for (number, expected) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (150, &[0x96, 0x01]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut bytes = Vec::new();
            varint(&mut bytes, number);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn fields_are_encoded_as_the_documentation_of_protobuf_says() {
        let message = Message::new().varint(1, 150).bytes(2, b"testing").varint(17, u64::MAX);
        let expected = *b"\x08\x96\x01\x12\x07testing\x88\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(message.as_bytes(), expected);
    }

    /// Takes a varint from the front of `bytes`.
    fn take(bytes: &mut &[u8]) -> u64 {
        let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = bytes.split_at(length);
        *bytes = rest;
        number.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
    }

    proptest! {
        #[test]
        fn messages_are_read_back(number: u64, content: Vec<u8>, depth in 0..4) {
            fn nested(bytes: &mut Vec<u8>, depth: u64, number: u64, content: &[u8]) {
                match depth {
                    0 => text(bytes, 1, content),
                    _ => message(bytes, number >> 4, |bytes| nested(bytes, depth - 1, number, content)),
                }
            }
            let (mut bytes, number) = (b"before".to_vec(), number >> 8);
            nested(&mut bytes, depth as u64, number, &content);
            let mut rest = bytes.strip_prefix(b"before").unwrap();
            for _ in 0..depth {
                prop_assert_eq!(take(&mut rest), number >> 4 << 3 | 2);
                prop_assert_eq!(take(&mut rest), rest.len() as u64);
            }
            prop_assert_eq!((take(&mut rest), take(&mut rest)), (1 << 3 | 2, content.len() as u64));
            prop_assert_eq!(rest, &content[..]);
        }
    }
}
