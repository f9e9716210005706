//! Parcels and direct bodies: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::{DirectBody, Parcel};

fuzz_target!(|data: &[u8]| {
    if let Ok(parcel) = Parcel::decode(data) {
        assert_eq!(parcel.encode(), data);
    }
    if let Ok(body) = DirectBody::decode(data) {
        assert_eq!(body.encode(), data);
    }
});
