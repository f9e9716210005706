//! Decodes a bundle body and a one-time item; what decodes has one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(body) = undertone::dm::BundleBody::decode(data) {
        assert_eq!(body.encode(), data);
    }
    if let Ok(item) = undertone::dm::OneTimeItem::decode(data) {
        assert_eq!(item.encode(), data);
    }
});
