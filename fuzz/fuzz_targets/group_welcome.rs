//! An MLS Welcome, up to the secrets that only its recipient opens.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = undertone::group::decode_welcome(data);
});
