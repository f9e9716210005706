#![no_main]
//! What decodes encodes to the same bytes.

use libfuzzer_sys::fuzz_target;
use undertone::identity::Grant;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = Grant::decode(data) {
        assert_eq!(&*value.encode(), data);
    }
});
