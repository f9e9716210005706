//! Instants as the application hands them in. The library owns no clock, and no order ever rests on one.

use std::fmt;
use std::time::Duration;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// An instant: milliseconds since 1970-01-01T00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct UnixMs(u64);

impl UnixMs {
    /// The latest instant there is.
    pub const MAX: Self = Self(u64::MAX);

    /// Takes the number of milliseconds.
    pub const fn from_u64(ms: u64) -> Self {
        Self(ms)
    }

    /// The number of milliseconds.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, or [`UnixMs::MAX`].
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_ms(duration)))
    }

    /// The instant `duration` earlier, or the first there is.
    pub const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_ms(duration)))
    }

    /// How long after `earlier` this instant is; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// The milliseconds of a duration, saturating.
const fn whole_ms(duration: Duration) -> u64 {
    let ms = duration.as_millis();
    if ms > u64::MAX as u128 { u64::MAX } else { ms as u64 }
}
