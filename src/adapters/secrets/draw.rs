//! Where random bytes come from: the operating system, or a seed.
//!
//! Invariant: the operating system's source is tried once before it is relied upon, at the start of the gateway, so that
//! a machine without one does not start. The seeded source guards nothing and is for tests and simulation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::SecretsError;

/// A source of random bytes.
pub trait Draw: Send + Sync {
    /// Fills the bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// 128 bits for an id that is shown to everybody.
    fn id_bits(&self) -> u128;
}

/// Ids that are drawn at a time: one question to the operating system for so many calls.
const IDS_AHEAD: usize = 64;

/// The operating system's secure source. Ids are drawn ahead; what stays secret is not, so that none of it lies in memory
/// before it is used.
pub struct SystemDraw {
    ids: Mutex<Vec<[u8; 16]>>,
}

impl SystemDraw {
    /// The source, after it has answered once.
    pub(super) fn checked() -> Result<Self, SecretsError> {
        getrandom::fill(&mut [0; 32]).map_err(SecretsError::NoRandomBytes)?;
        Ok(Self { ids: Mutex::default() })
    }
}

impl Draw for SystemDraw {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system's random source has answered before and does not run dry");
    }

    fn id_bits(&self) -> u128 {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let id = ids.pop().unwrap_or_else(|| {
            let mut drawn = [[0; 16]; IDS_AHEAD];
            self.fill(drawn.as_flattened_mut());
            let [first, rest @ ..] = drawn;
            ids.extend(rest);
            first
        });
        u128::from_be_bytes(id)
    }
}

/// A sequence that a seed decides.
#[derive(Debug)]
pub struct SeededDraw {
    state: AtomicU64,
}

impl SeededDraw {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(mixed(seed)) }
    }
}

impl Draw for SeededDraw {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = mixed(self.state.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
            chunk.iter_mut().zip(drawn).for_each(|(byte, random)| *byte = random);
        }
    }

    fn id_bits(&self) -> u128 {
        let mut bits = [0; 16];
        self.fill(&mut bits);
        u128::from_be_bytes(bits)
    }
}

/// SplitMix64's step from a counter to a number that looks random (Steele, Lea and Flood, 2014).
pub(super) const fn mixed(counter: u64) -> u64 {
    let state = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
