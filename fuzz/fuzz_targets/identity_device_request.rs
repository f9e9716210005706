#![no_main]
//! What decodes encodes to the same bytes, and verifying it never panics.

use libfuzzer_sys::fuzz_target;
use undertone::identity::DeviceRequest;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = DeviceRequest::decode(data) {
        assert_eq!(value.encode(), data);
        let _ = value.verify();
    }
});
