//! The scanner lets pass only what encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::content::scanner::{BODY_DEPTH_MAX, CONTENT_DEPTH_MAX, scan};
use undertone::content::Value;

fuzz_target!(|data: &[u8]| {
    for depth_max in [BODY_DEPTH_MAX, CONTENT_DEPTH_MAX] {
        match Value::decode(data, depth_max) {
            Ok(value) => assert_eq!(value.encode(), data),
            Err(error) => assert_eq!(scan(data, depth_max), Err(error)),
        }
    }
});
