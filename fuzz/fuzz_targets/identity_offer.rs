#![no_main]
//! An offer of a new device that parses prints as one that parses to the same.

use libfuzzer_sys::fuzz_target;
use undertone::identity::linking::Offer;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(offer) = text.parse::<Offer>() {
        assert_eq!(offer.to_string().parse::<Offer>(), Ok(offer));
    }
});
