//! What whoever wants to do harm would send: bytes of every kind, and how much memory reading them took.
//!
//! A test binary that uses [`peak`] or [`allocations`] counts what it allocates:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: hostile::Counting = hostile::Counting;
//!
//! let (bytes, peak) = hostile::peak(|| vec![1_u8; 1000]);
//! assert!(bytes.len() <= peak && peak < 1100);
//! ```

pub mod app;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;

/// The system's allocator, which counts what each thread has.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    /// What this thread allocated and did not free, since it was last asked; less than 0 if it freed more.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most of it.
    static MOST: Cell<isize> = const { Cell::new(0) };
    /// How often this thread allocated.
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    if bytes > 0 {
        let _ = TIMES.try_with(|times| times.set(times.get() + 1));
    }
    // While a thread ends there is nothing left to count with.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: everything is the system's allocator; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side while one is copied to the other.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What `work` answers, and the most bytes that it had allocated at once.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HELD.set(0);
    MOST.set(0);
    let answer = work();
    (answer, MOST.get().cast_unsigned())
}

/// What `work` answers, and how often it allocated.
pub fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    TIMES.set(0);
    let answer = work();
    (answer, TIMES.get())
}

/// What reading so many bytes may take: a small value becomes a structure, with room to grow in a vector and places in
/// maps.
#[must_use]
pub fn justified(bytes: usize) -> usize {
    64 * bytes + (64 << 10)
}

/// One thing done to bytes.
#[derive(Clone, Debug)]
enum Harm {
    /// One bit is the other one.
    Flip(prop::sample::Index, u8),
    /// The end is missing.
    Cut(prop::sample::Index),
    /// Something follows.
    Extend(Vec<u8>),
    /// What is at one place is also at another.
    Splice(prop::sample::Index, prop::sample::Index, usize),
    /// A number is large, in one of the ways in which lengths are written.
    Large(prop::sample::Index, usize),
}

/// Little-endian, big-endian, and variable-length numbers that are larger than anything that follows.
const LARGE: [&[u8]; 6] = [
    &[0xff; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
];

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (index(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        1 => index().prop_map(Harm::Cut),
        1 => vec(any::<u8>(), 1..40).prop_map(Harm::Extend),
        1 => (index(), index(), 1..60_usize).prop_map(|(from, to, length)| Harm::Splice(from, to, length)),
        3 => (index(), 0..LARGE.len()).prop_map(|(at, which)| Harm::Large(at, which)),
    ]
}

fn apply(bytes: &mut Vec<u8>, harm: &Harm) {
    let length = bytes.len() + 1;
    match harm {
        Harm::Flip(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Harm::Flip(..) => {}
        Harm::Cut(at) => bytes.truncate(at.index(length)),
        Harm::Extend(more) => bytes.extend(more),
        Harm::Splice(from, to, length) => {
            let from = from.index(bytes.len() + 1);
            let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
            let to = to.index(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        Harm::Large(at, which) => {
            let at = at.index(length);
            let end = (at + LARGE[*which].len()).min(bytes.len());
            bytes.splice(at..end, LARGE[*which].iter().copied());
        }
    }
}

/// Any bytes at all.
pub fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// Bytes that were valid before somebody laid hands on them, once to four times.
pub fn harmed(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (valid, vec(harm(), 1..5)).prop_map(|(mut bytes, harms)| {
        harms.iter().for_each(|harm| apply(&mut bytes, harm));
        bytes
    })
}

/// Every way to change one bit of `bytes`.
pub fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}
