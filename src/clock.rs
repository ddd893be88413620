//! The clock: the only `SystemTime::now` of the program.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// The time to the millisecond, as a saved observation keeps it: decided again, it must give the same.
///
/// From the first call on the clock that nobody sets counts: a first boot is when the wall clock is often set, and that
/// must neither end a grace nor prolong it.
pub fn now() -> SystemTime {
    static FIRST: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));
    let (wall, first) = *FIRST;
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + first.elapsed();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}
