//! Runs a post-quantum ratchet over a network that loses, doubles and changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone_fuzz::Counting;

fuzz_target!(|data: &[u8]| undertone::dm::fuzzing::ratchet(data, &mut Counting(0)));
