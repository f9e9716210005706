//! Parcels: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::Parcel;

fuzz_target!(|data: &[u8]| {
    if let Ok(parcel) = Parcel::decode(data) {
        assert_eq!(parcel.encode(), data);
    }
});
