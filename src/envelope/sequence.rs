//! What a receiver remembers of each sending device: gaps, late ones, doubles (rules ENV-26 to ENV-29).
//!
//! Exactly once does not depend on how many dedup ids are kept: a number up to `highest` that is not among the gaps never
//! counts as new. The last [`DEDUP_WINDOW`] ids only tell a harmless double from a sender that gave one number to two
//! envelopes. Ids outside the window give [`Observation::Regression`], and nothing is shown twice either way.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::codec::{self, DecodeError, require};
use super::envelope::{DedupId, SenderSeq};

/// The version of a stored track, its first byte.
pub const VERSION: u8 = 1;

/// Envelopes whose dedup ids are remembered for each sender.
pub const DEDUP_WINDOW: usize = 64;

/// Gaps that are remembered for each sender; past them the oldest is given up for lost.
pub const GAPS_MAX: usize = 64;

/// Bytes of an encoded track: counts, [`GAPS_MAX`] gaps of 16 bytes, [`DEDUP_WINDOW`] entries of 24.
const TRACK_LEN_MAX: usize = 32 + GAPS_MAX * 16 + DEDUP_WINDOW * 24;

/// What is known of the envelopes of one device in one conversation.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct SenderTrack {
    highest: u64,
    gaps: Vec<Gap>,
    window: Vec<Seen>,
}

/// Envelopes that have not come, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Gap {
    /// The first.
    pub from: SenderSeq,
    /// The last.
    pub to: SenderSeq,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Seen {
    seq: SenderSeq,
    dedup: DedupId,
}

/// What an envelope is to its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observation {
    /// New, and the next one.
    InOrder,
    /// New; those from `from` to `to` have not come.
    Gap {
        /// The first that has not come.
        from: SenderSeq,
        /// The last that has not come.
        to: SenderSeq,
    },
    /// New; it fills a gap that was reported before.
    Late,
    /// Known: dropped in silence.
    Duplicate,
    /// Another envelope under a number that was used before, or a number out of range: dropped, and reported; the sender
    /// was cloned, restored from a backup, or cheats.
    Regression,
}

impl Observation {
    /// Whether the envelope is new and goes to the app.
    pub const fn is_new(self) -> bool {
        matches!(self, Self::InOrder | Self::Gap { .. } | Self::Late)
    }
}

impl Default for SenderTrack {
    fn default() -> Self {
        Self::new()
    }
}

impl SenderTrack {
    /// Of a sender from whom nothing has come yet.
    pub const fn new() -> Self {
        Self { highest: 0, gaps: Vec::new(), window: Vec::new() }
    }

    /// Of a sender of whom nothing is expected up to and including `seq`: a member that joined later begins there.
    pub const fn starting_behind(seq: SenderSeq) -> Self {
        Self { highest: seq.as_u64(), gaps: Vec::new(), window: Vec::new() }
    }

    /// The highest number seen, if any was.
    pub fn highest(&self) -> Option<SenderSeq> {
        (self.highest > 0).then(|| SenderSeq::from_u64(self.highest))
    }

    /// What has not come, rising; at most [`GAPS_MAX`].
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// What an envelope is, without taking note of it.
    pub fn observe(&self, seq: SenderSeq, dedup: DedupId) -> Observation {
        if self.window.iter().any(|seen| seen.dedup == dedup) {
            return Observation::Duplicate;
        }
        if !seq.is_bounded() {
            return Observation::Regression;
        }
        let expected = SenderSeq::from_u64(self.highest).next();
        if seq == expected {
            Observation::InOrder
        } else if seq > expected {
            Observation::Gap { from: expected, to: SenderSeq::from_u64(seq.as_u64() - 1) }
        } else if self.gaps.iter().any(|gap| gap.contains(seq)) {
            Observation::Late
        } else {
            Observation::Regression
        }
    }

    /// What an envelope is, and the track after it. Unless [`Observation::is_new`], the track is unchanged.
    pub fn step(&self, seq: SenderSeq, dedup: DedupId) -> (Observation, Self) {
        let observation = self.observe(seq, dedup);
        let mut next = self.clone();
        match observation {
            Observation::InOrder => next.highest = seq.as_u64(),
            Observation::Gap { from, to } => {
                next.highest = seq.as_u64();
                next.gaps.push(Gap { from, to });
                let given_up = next.gaps.len().saturating_sub(GAPS_MAX);
                next.gaps.drain(..given_up);
            }
            Observation::Late => next.fill(seq),
            Observation::Duplicate | Observation::Regression => return (observation, next),
        }
        if next.window.len() == DEDUP_WINDOW {
            next.window.remove(0);
        }
        next.window.push(Seen { seq, dedup });
        (observation, next)
    }

    /// Encodes the track for the store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes a stored track.
    ///
    /// # Errors
    /// [`DecodeError`]: the store is damaged, or a later release wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let track: Self = codec::decode_versioned(VERSION, bytes, TRACK_LEN_MAX)?;
        require(track.highest == 0 || SenderSeq::from_u64(track.highest).is_bounded(), "highest")?;
        let rises = track.gaps.is_sorted_by(|before, after| before.to < after.from);
        let is_whole = track
            .gaps
            .iter()
            .all(|gap| gap.from >= SenderSeq::FIRST && gap.from <= gap.to && gap.to.as_u64() < track.highest);
        require(track.gaps.len() <= GAPS_MAX && rises && is_whole, "gaps")?;
        require(track.window.len() <= DEDUP_WINDOW, "window")?;
        Ok(track)
    }

    /// Takes one number out of the gaps; a gap in the middle becomes two, and past the bound the oldest is given up.
    fn fill(&mut self, seq: SenderSeq) {
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(seq)) else {
            return;
        };
        let Gap { from, to } = self.gaps[index];
        let below = (from < seq).then(|| Gap { from, to: SenderSeq::from_u64(seq.as_u64() - 1) });
        let above = (seq < to).then(|| Gap { from: seq.next(), to });
        self.gaps.splice(index..=index, below.into_iter().chain(above));
        let given_up = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..given_up);
    }
}

impl Gap {
    fn contains(&self, seq: SenderSeq) -> bool {
        self.from <= seq && seq <= self.to
    }
}
