//! A number for a state, for tests that compare replicas.

/// FNV-1a over bytes: what an app implements [`ReplicatedApp::digest`](crate::ReplicatedApp::digest) with. It tells
/// states apart that differ by mistake, not by intent.
///
/// ```
/// use replicated_app::Digest;
///
/// let mut digest = Digest::default();
/// digest.take(b"ab");
/// digest.take(b"c");
/// assert_eq!(digest.value(), Digest::of(b"abc"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// That of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::default();
        digest.take(bytes);
        digest.value()
    }

    /// Goes on with more bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Of all that was taken.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}
