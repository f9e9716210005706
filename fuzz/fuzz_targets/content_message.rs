//! Messages, status lists, typing states and profiles: no panic, one encoding, and never a message without a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::content::{Content, Profile, StatusList, Typing};

fuzz_target!(|data: &[u8]| {
    if let Ok(content) = Content::decode(data) {
        assert_eq!(content.encode().as_deref(), Ok(data));
        assert!(!content.accessible_text().trim().is_empty());
        let _ = content.intent();
    }
    if let Ok(list) = StatusList::decode(data) {
        assert_eq!(list.encode(), data);
    }
    let _ = Typing::decode(data);
    let _ = Profile::decode(data);
});
