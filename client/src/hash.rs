//! Which partition a key belongs to.

/// The partition of `key` in an app with `partition_count` partitions.
///
/// FNV-1a (64 bits) over the key's bytes, the result mixed by splitmix64's finalizer (FNV's low bits alone
/// are uneven for short keys), modulo the number of partitions. This never changes: data lies where it says.
/// docs/client-protocol.md has it in words, with the test vectors below.
///
/// # Panics
/// If `partition_count` is 0.
#[must_use]
pub fn partition_of(key: &[u8], partition_count: u32) -> u32 {
    let partition = mix(fnv1a(key)) % u64::from(partition_count);
    u32::try_from(partition).expect("smaller than partition_count")
}

fn fnv1a(key: &[u8]) -> u64 {
    key.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, its mixed hash, its partition of 1, 4, 8 and 1000.
    const VECTORS: &[(&[u8], u64, [u32; 4])] = &[
        (b"", 0xf52a_15e9_a9b5_e89b, [0, 3, 3, 203]),
        (b"a", 0x02c0_bdbf_4814_20f8, [0, 0, 0, 736]),
        (b"visits", 0x9d04_40f7_2a42_53a8, [0, 0, 0, 216]),
        (b"counter", 0x1065_f1c7_1d27_5ad8, [0, 0, 0, 576]),
        (b"likes", 0xf69e_ede1_8551_3cdf, [0, 3, 7, 143]),
        (b"\x00\xff", 0xa70b_ee94_c6c8_447b, [0, 3, 3, 523]),
        ("\u{e4}".as_bytes(), 0xe60a_42a1_8e38_1bcd, [0, 1, 5, 517]),
    ];

    #[test]
    fn the_test_vectors_hold() {
        for (key, hash, partitions) in VECTORS {
            assert_eq!(mix(fnv1a(key)), *hash, "{key:?}");
            assert_eq!([1, 4, 8, 1000].map(|count| partition_of(key, count)), *partitions, "{key:?}");
        }
    }

    #[test]
    fn keys_that_differ_little_spread_evenly() {
        let mut counts = [0u32; 8];
        for number in 0..8000 {
            counts[partition_of(format!("k{number}").as_bytes(), 8) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
