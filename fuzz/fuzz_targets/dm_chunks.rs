//! Collects chunks that a peer made up.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| undertone::dm::fuzzing::collect(data));
