//! What is measured: CPU time of this thread, on one core, the best of several rounds. Other work on the machine only ever
//! makes a round slower, so that the best one is the nearest to what the code costs.

use rustix::time::{ClockId, clock_gettime};

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds, of which the best counts.
    pub(crate) rounds: usize,
    /// Messages of a round, where messages are cheap.
    pub(crate) messages: usize,
    /// Handshakes or round trips of a round.
    pub(crate) handshakes: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 40, messages: 500, handshakes: 10 };
    pub(crate) const QUICK: Self = Self { rounds: 2, messages: 50, handshakes: 2 };
}

/// CPU time in nanoseconds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Nanos(pub(crate) f64);

impl Nanos {
    const NEVER: Self = Self(f64::INFINITY);

    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

/// Keeps this thread on the core where it is, so that no other core's caches and clock come in.
pub(crate) fn pin() {
    #[cfg(target_os = "linux")]
    {
        let mut core = rustix::thread::CpuSet::new();
        core.set(rustix::thread::sched_getcpu());
        if let Err(error) = rustix::thread::sched_setaffinity(None, &core) {
            eprintln!("versus: not pinned to a core: {error}");
        }
    }
}

/// CPU time that `work` took on this thread.
pub(crate) fn time(work: impl FnOnce()) -> Nanos {
    let before = now();
    work();
    Nanos(now() - before)
}

/// Runs one round of each in turns, another one first every time; the best round of each, per item.
///
/// A round does `items` things, sets up what it needs, and says what the things themselves took. Rounds are short, so that
/// each has its chance to run undisturbed.
pub(crate) fn contest<const N: usize>(
    effort: Effort,
    items: usize,
    rounds: [&mut dyn FnMut() -> Nanos; N],
) -> [Nanos; N] {
    let mut best = [Nanos::NEVER; N];
    for round in 0..effort.rounds {
        for turn in 0..N {
            let who = (round + turn) % N;
            best[who] = best[who].min(rounds[who]());
        }
    }
    best.map(|Nanos(total)| Nanos(total / items as f64))
}

/// The best round of one, per item.
pub(crate) fn solo(effort: Effort, items: usize, mut round: impl FnMut() -> Nanos) -> Nanos {
    let best = (0..effort.rounds).map(|_| round()).fold(Nanos::NEVER, Nanos::min);
    Nanos(best.0 / items as f64)
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
