#![no_main]
//! What decodes encodes to the same bytes, and has a hash.

use libfuzzer_sys::fuzz_target;
use undertone::identity::DeviceList;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = DeviceList::decode(data) {
        assert_eq!(value.encode(), data);
        let _ = value.hash();
    }
});
