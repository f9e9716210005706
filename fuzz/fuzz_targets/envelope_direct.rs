//! Direct bodies and turn bodies: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::{DirectBody, TurnBody};

fuzz_target!(|data: &[u8]| {
    if let Ok(body) = DirectBody::decode(data) {
        assert_eq!(body.encode(), data);
    }
    if let Ok(turn) = TurnBody::decode(data) {
        assert_eq!(turn.encode(), data);
    }
});
