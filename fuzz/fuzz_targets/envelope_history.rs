//! Offers and chunks of history: no panic, and one encoding for each value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use undertone::envelope::history::{HistoryChunk, HistoryOffer};

fuzz_target!(|data: &[u8]| {
    if let Ok(chunk) = HistoryChunk::decode(data) {
        assert_eq!(chunk.encode(), data);
    }
    if let Ok(offer) = HistoryOffer::decode(data) {
        assert_eq!(offer.encode().as_slice(), data);
    }
});
