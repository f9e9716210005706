//! An MLS message of a member, given to a device that is in no group: parsing, and the refusal.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = undertone::group::decode_message(data);
});
