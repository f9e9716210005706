//! Decodes a first message with its handshake, and a wrap that stands alone; what decodes has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(first) = undertone::dm::FirstMessage::decode(data) {
        assert_eq!(first.encode(), data);
        assert!(first.start().is_ok());
    }
    if let Ok(wrap) = undertone::dm::wrap::Wrap::decode(data) {
        assert_eq!(wrap.encode(), data);
    }
    if let Ok(handshake) = undertone::dm::Handshake::decode(data) {
        assert_eq!(handshake.encode(), data);
    }
});
