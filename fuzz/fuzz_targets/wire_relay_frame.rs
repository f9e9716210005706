//! What a client decodes from its peer: never panics, and has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_wire::frame::RelayFrame;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = RelayFrame::decode(data) {
        assert_eq!(frame.encode(), data);
    }
});
