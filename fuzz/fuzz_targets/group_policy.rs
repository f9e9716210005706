//! A group policy: what is read encodes to the same bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;
use undertone::group::Policy;

fuzz_target!(|data: &[u8]| {
    if let Ok(policy) = Policy::decode(data) {
        assert_eq!(policy.encode(), data);
    }
});
