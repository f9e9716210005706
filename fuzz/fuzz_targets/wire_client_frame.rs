//! What a relay decodes from its peer: never panics, and has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_wire::frame::ClientFrame;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = ClientFrame::decode(data) {
        assert_eq!(frame.encode(), data);
    }
});
