//! What a receiver makes of dropped, repeated and reordered envelopes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use undertone::envelope::sequence::{DEDUP_WINDOW, GAPS_MAX, Gap};
use undertone::envelope::{DecodeError, DedupId, Observation, SenderSeq, SenderTrack};

#[test]
fn envelopes_in_order_are_in_order() {
    let mut track = SenderTrack::new();
    assert_eq!(track.highest(), None);
    for seq in 1..=200 {
        assert_eq!(take(&mut track, seq), Observation::InOrder);
    }
    assert_eq!(track.highest(), Some(SenderSeq::from_u64(200)));
}

// Row EN-01, spec ENV-27
#[test]
fn a_gap_is_reported_and_filled_by_what_comes_late() {
    let mut track = SenderTrack::new();
    take(&mut track, 1);
    assert_eq!(take(&mut track, 6), Observation::Gap { from: SenderSeq::from_u64(2), to: SenderSeq::from_u64(5) });
    assert_eq!(take(&mut track, 4), Observation::Late);
    assert_eq!(track.gaps(), [gap(2, 3), gap(5, 5)]);
    assert_eq!(take(&mut track, 4), Observation::Duplicate);
    assert_eq!(take(&mut track, 7), Observation::InOrder);
    for seq in [5, 2, 3] {
        assert_eq!(take(&mut track, seq), Observation::Late);
    }
    assert!(track.gaps().is_empty());
}

// A-DM-24, spec ENV-28
#[test]
fn another_envelope_under_a_used_number_is_a_regression_and_changes_nothing() {
    let mut track = SenderTrack::new();
    feed(&mut track, 1..=3);
    for seq in [1, 3] {
        let (observation, next) = track.step(SenderSeq::from_u64(seq), DedupId::from_bytes([0xff; 16]));
        assert_eq!((observation, &next), (Observation::Regression, &track));
    }
    let (observation, next) = track.step(SenderSeq::from_u64(3), dedup(3));
    assert_eq!((observation, &next), (Observation::Duplicate, &track));
    // The id is the envelope: under a new number it is still the same one, and the number stays free.
    let (observation, next) = track.step(SenderSeq::from_u64(4), dedup(3));
    assert_eq!((observation, &next), (Observation::Duplicate, &track));
}

// A-DM-18, spec ENV-28
#[test]
fn numbers_out_of_range_are_regressions() {
    let track = SenderTrack::starting_behind(SenderSeq::from_u64(5));
    for seq in [0, (1 << 53) + 1, u64::MAX] {
        let (observation, next) = track.step(SenderSeq::from_u64(seq), dedup(9));
        assert_eq!((observation, &next), (Observation::Regression, &track));
    }
    assert_eq!(track.observe(SenderSeq::from_u64(5), dedup(5)), Observation::Regression);
    assert_eq!(track.observe(SenderSeq::from_u64(6), dedup(6)), Observation::InOrder);
}

// Row EN-02, spec ENV-26
#[test]
fn a_double_from_before_the_window_is_not_new_either() {
    let mut track = SenderTrack::new();
    feed(&mut track, 1..=DEDUP_WINDOW as u64 + 1);
    assert_eq!(take(&mut track, 1), Observation::Regression);
    assert_eq!(take(&mut track, 2), Observation::Duplicate);
}

// spec ENV-29
#[test]
fn past_the_bound_the_lowest_gap_is_given_up() {
    let mut track = SenderTrack::new();
    feed(&mut track, (1..=GAPS_MAX as u64 + 1).map(|half| half * 2));
    assert_eq!(track.gaps().len(), GAPS_MAX);
    assert_eq!(take(&mut track, 1), Observation::Regression);
    assert_eq!(take(&mut track, 3), Observation::Late);
    // A gap that is split counts as two.
    let mut track = SenderTrack::new();
    take(&mut track, 10);
    feed(&mut track, (6..=GAPS_MAX as u64 + 4).map(|half| half * 2));
    assert_eq!(track.gaps().len(), GAPS_MAX);
    take(&mut track, 5);
    assert_eq!((track.gaps().len(), track.gaps()[0]), (GAPS_MAX, gap(6, 9)));
}

// spec ENV-70, spec ENV-71
#[test]
fn a_damaged_track_is_an_error() {
    let mut track = SenderTrack::new();
    feed(&mut track, [1, 5, 9]);
    let bytes = track.encode();
    assert_eq!(SenderTrack::decode(&bytes), Ok(track));
    for cut in 0..bytes.len() {
        assert!(SenderTrack::decode(&bytes[..cut]).is_err());
    }
    for version in [0, 2, 255] {
        let damaged = [&[version], &bytes[1..]].concat();
        assert_eq!(SenderTrack::decode(&damaged), Err(DecodeError::Version { version }));
    }
    let gaps = |from: u64, to: u64| {
        let mut damaged = bytes.clone();
        damaged[10..18].copy_from_slice(&from.to_be_bytes());
        damaged[18..26].copy_from_slice(&to.to_be_bytes());
        SenderTrack::decode(&damaged)
    };
    assert!(gaps(2, 4).is_ok());
    for (from, to) in [(0, 4), (4, 2), (2, 6), (2, 9), (2, u64::MAX)] {
        assert_eq!(gaps(from, to), Err(DecodeError::Range { field: "gaps" }), "{from} to {to}");
    }
}

proptest! {
    // Rows EN-01 and EN-02, A-RE-05, spec ENV-26, spec ENV-27
    #[test]
    fn any_schedule_shows_each_once_and_reports_exactly_what_is_missing(
        schedule in prop::collection::vec(1..60u64, 0..200),
        restart_every in 1..20usize,
    ) {
        let mut track = SenderTrack::new();
        let mut shown = BTreeSet::new();
        for (index, seq) in schedule.iter().enumerate() {
            let is_first = !shown.contains(seq);
            let observation = take(&mut track, *seq);
            prop_assert_eq!(observation.is_new(), is_first, "{} of {:?}", index, schedule);
            shown.insert(*seq);
            if index % restart_every == 0 {
                track = SenderTrack::decode(&track.encode()).unwrap();
            }
        }
        let highest = shown.last().copied().unwrap_or(0);
        let missing: Vec<u64> = (1..highest).filter(|seq| !shown.contains(seq)).collect();
        let reported: Vec<u64> =
            track.gaps().iter().flat_map(|gap| gap.from.as_u64()..=gap.to.as_u64()).collect();
        prop_assert_eq!(reported, missing);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = 1;
        if let Ok(track) = SenderTrack::decode(&bytes) {
            prop_assert_eq!(track.encode(), bytes);
            let _ = track.step(SenderSeq::FIRST, dedup(1));
        }
    }
}

fn feed(track: &mut SenderTrack, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        take(track, seq);
    }
}

fn take(track: &mut SenderTrack, seq: u64) -> Observation {
    let (observation, next) = track.step(SenderSeq::from_u64(seq), dedup(seq));
    *track = next;
    observation
}

fn dedup(seq: u64) -> DedupId {
    let mut bytes = [1; 16];
    bytes[8..].copy_from_slice(&seq.to_be_bytes());
    DedupId::from_bytes(bytes)
}

fn gap(from: u64, to: u64) -> Gap {
    Gap { from: SenderSeq::from_u64(from), to: SenderSeq::from_u64(to) }
}
