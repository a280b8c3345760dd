//! Places at which a process can be made to die, for tests of what that costs.
//!
//! Without the feature `fail-points`, which only tests of the binary turn on, none of this exists.

/// The process is at this place. It ends here, as if killed, when the environment says so:
/// `LEDGERFLUX_FAIL_POINT=normalizer-published:3` ends it when it comes by for the third time.
#[cfg(not(feature = "fail-points"))]
#[inline(always)]
pub fn pass(_place: &str) {}

/// The process is at this place. It ends here, as if killed, when the environment says so:
/// `LEDGERFLUX_FAIL_POINT=normalizer-published:3` ends it when it comes by for the third time.
#[cfg(feature = "fail-points")]
pub fn pass(place: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Where, and how often it is passed before.
    static CHOSEN: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let chosen = std::env::var("LEDGERFLUX_FAIL_POINT").ok()?;
        let (place, passes) = chosen.split_once(':')?;
        Some((place.to_owned(), AtomicU32::new(passes.parse().ok()?)))
    });
    if let Some((chosen, passes)) = &*CHOSEN
        && chosen == place
        && passes.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Nothing is flushed, closed or told: the kernel alone cleans up.
        std::process::abort();
    }
}
