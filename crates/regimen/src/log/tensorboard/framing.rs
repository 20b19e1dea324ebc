//! Records: a length, a payload, and a masked CRC-32C of each.

/// Appends a record with the payload that `fill` appends.
pub(super) fn record(bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 12]);
    fill(bytes);
    let payload = start + 12;
    let length = ((bytes.len() - payload) as u64).to_le_bytes();
    bytes[start..start + 8].copy_from_slice(&length);
    bytes[start + 8..payload].copy_from_slice(&masked(&length));
    let checksum = masked(&bytes[payload..]);
    bytes.extend(checksum);
}

/// A checksum of bytes that hold checksums themselves is rotated and shifted.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C, of Castagnoli's polynomial. `crc32fast` has the other one, that of zip and PNG.
fn crc32c(bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = !0;
    for eight in eights {
        let first = u64::from_le_bytes(*eight) ^ u64::from(crc);
        let bytes = first.to_le_bytes();
        crc = (0..8).fold(0, |crc, n| crc ^ TABLES[7 - n][usize::from(bytes[n])]);
    }
    !rest.iter().fold(crc, |crc, byte| TABLES[0][(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

/// `TABLES[n][byte]` is the remainder of a byte with `n` zeros behind it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut n = 0;
    while n < 8 * 256 {
        let (table, byte) = (n / 256, n % 256);
        let (mut crc, mut bits) = if table == 0 { (byte as u32, 8) } else { (tables[table - 1][byte], 0) };
        while bits > 0 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bits -= 1;
        }
        tables[table][byte] = if table == 0 { crc } else { tables[0][(crc & 255) as usize] ^ (crc >> 8) };
        n += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
        ] {
            assert_eq!(crc32c(bytes), expected);
        }
        assert_eq!(u32::from_le_bytes(masked(b"123456789")), 0xc78a_b0e5);
    }

    /// Bit by bit.
    fn slow(bytes: &[u8]) -> u32 {
        let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
    }

    proptest! {
        #[test]
        fn records_are_read_back(payloads: Vec<Vec<u8>>) {
            let mut bytes = Vec::new();
            payloads.iter().for_each(|payload| record(&mut bytes, |bytes| bytes.extend(payload)));
            let mut rest = &bytes[..];
            let mut take = |length: usize| {
                let (taken, after) = rest.split_at(length);
                rest = after;
                taken
            };
            let mask = |bytes| slow(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
            for payload in &payloads {
                let length = take(8);
                prop_assert_eq!(length, (payload.len() as u64).to_le_bytes());
                prop_assert_eq!(take(4), mask(length));
                prop_assert_eq!(take(payload.len()), &payload[..]);
                prop_assert_eq!(take(4), mask(payload));
            }
            prop_assert_eq!(rest, &[] as &[u8]);
        }
    }
}
