//! What tells whether bytes are as they were written, and what makes them others.

/// FNV-1a. No single bit that changes leaves it the same.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Makes another bit of one of `bytes`; false if there are none.
pub(crate) fn flip(bytes: &mut [u8], number: u64) -> bool {
    if bytes.is_empty() {
        return false;
    }
    let at = (number >> 8) as usize % bytes.len();
    bytes[at] ^= 1 << (number % 8);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_flips_is_noticed() {
        for number in 0..1000_u64 {
            let mut bytes = *b"what was written";
            assert!(flip(&mut bytes, number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            assert_ne!(checksum(&bytes), checksum(b"what was written"));
        }
        assert!(!flip(&mut [], 7));
    }
}
