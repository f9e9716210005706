#![no_main]
//! An invitation that parses prints as one that parses to the same.

use libfuzzer_sys::fuzz_target;
use undertone::identity::Invitation;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(invitation) = text.parse::<Invitation>() {
        assert_eq!(invitation.to_string().parse::<Invitation>(), Ok(invitation));
    }
});
