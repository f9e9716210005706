//! A key package out of the directory, with all its checks.
#![no_main]
use libfuzzer_sys::fuzz_target;
use undertone::time::UnixMs;

fuzz_target!(|data: &[u8]| {
    let _ = undertone::group::verify_key_package(data, UnixMs::from_u64(1_767_225_600_000));
});
