//! Splits a ratchet message.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let is_long_enough = data.len() >= undertone::dm::MESSAGE_OVERHEAD_LEN_MIN;
    assert!(undertone::dm::RatchetMessage::decode(data).is_err() || is_long_enough);
});
