//! Envelopes, frames and sender tracks: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::{Envelope, Frame, SenderTrack};

fuzz_target!(|data: &[u8]| {
    if let Ok(envelope) = Envelope::decode(data) {
        assert_eq!(envelope.encode(), data);
    }
    if let Ok(frame) = Frame::decode(data) {
        assert_eq!(frame.encode(), data);
    }
    if let Ok(track) = SenderTrack::decode(data) {
        assert_eq!(track.encode(), data);
    }
});
