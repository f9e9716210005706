//! Ephemeral messages, padded and signed or not, as they stand inside the light shell: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::ephemeral::{Ephemeral, UnverifiedEphemeral};
use undertone_wire::id::{Generation, LogId};

fuzz_target!(|data: &[u8]| {
    let _ = Ephemeral::decode(data);
    if let Ok(message) = UnverifiedEphemeral::decode(LogId::from_bytes([0; 32]), Generation::FIRST, data) {
        let _ = message.unsigned();
    }
});
