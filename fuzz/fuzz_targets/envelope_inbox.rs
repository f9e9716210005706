//! Inbox entries and addresses, introductions and Welcome notes: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::address::InboxAddress;
use undertone::envelope::first_contact::{Introduction, WelcomeNote};
use undertone::envelope::inbox::InboxEntry;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = InboxEntry::decode(data) {
        assert_eq!(entry.encode(), data);
    }
    if let Ok(address) = InboxAddress::decode(data) {
        assert_eq!(address.encode(), data);
    }
    if let Ok(introduction) = Introduction::decode(data) {
        assert_eq!(introduction.encode().as_slice(), data);
    }
    if let Ok(note) = WelcomeNote::decode(data) {
        assert_eq!(note.encode(), data);
    }
});
