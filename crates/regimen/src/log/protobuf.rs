//! The fields of protobuf messages.

/// A protobuf message, built field by field.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A message without fields.
    pub(super) fn new() -> Self {
        Message::default()
    }

    /// Adds an integer, an enumeration or a boolean.
    pub(super) fn varint(mut self, field: u32, value: u64) -> Self {
        self.push(u64::from(field) << 3);
        self.push(value);
        self
    }

    /// Adds a text, bytes or a message.
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.push(u64::from(field) << 3 | 2);
        self.push(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Its encoding.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn push(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_documentation_of_protobuf_says() {
        let message = Message::new().varint(1, 150).bytes(2, b"testing").varint(17, u64::MAX);
        let expected = *b"\x08\x96\x01\x12\x07testing\x88\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(message.as_bytes(), expected);
    }
}
