//! Does a write-ahead log end where a crash could have ended it?
//!
//! SQLite takes the log up to the first frame whose checksum fails, and forgets the rest: right after a crash, wrong when
//! a byte in the middle has rotted, for then commits that were acknowledged vanish without a word and ratchets go back.
//! The two can be told apart: each commit is synced before the next one begins, so a crash tears the last commit only.
//! A frame that fails with a *finished* commit behind it is damage.
//!
//! ```text
//! header, 32 bytes: magic 4 ‖ version 4 ‖ page size 4 ‖ checkpoint 4 ‖ salts 8 ‖ checksum 8
//! frame, 24 + page: page number 4 ‖ pages after commit, or 0: 4 ‖ salts 8 ‖ checksum 8 ‖ page
//! ```
//! All big-endian. The checksum of a frame runs on from the one before it. Frames with other salts are older than the
//! header and dead. Leaves out: rot inside the very last commit, which looks like a tear and is treated as one; and a log
//! that somebody removed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::open::OpenError;

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
/// The magic of a log whose checksums read words in little-endian order; the lowest bit set means big-endian.
const MAGIC: u32 = 0x377f_0682;
const PAGE_LEN_MAX: u32 = 65_536;

/// Passes if there is no log, or if what SQLite would drop of it is at most the commit that a crash interrupted.
///
/// # Errors
/// [`OpenError::Unreadable`] if finished commits would be lost; [`OpenError::Medium`] if the log cannot be read.
pub(crate) fn check(log: &Path) -> Result<(), OpenError> {
    let mut file = match File::open(log) {
        Ok(file) => std::io::BufReader::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(OpenError::Medium),
    };
    let mut header = [0; HEADER_LEN];
    if !fill(&mut file, &mut header)? {
        return Ok(());
    }
    let Some(log) = Log::parse(&header) else {
        // The header is synced before the first frame is written. Without frames behind it, it may be torn.
        let mut byte = [0];
        return if fill(&mut file, &mut byte)? { Err(OpenError::Unreadable) } else { Ok(()) };
    };
    let mut frame = vec![0; FRAME_HEADER_LEN + log.page_len];
    let mut sum = log.sum;
    let mut tail = Tail::Intact;
    while fill(&mut file, &mut frame)? {
        let lives = frame[8..16] == log.salts;
        let commits = word(&frame, 4) != 0;
        if tail == Tail::Intact {
            let next = log.checksum(log.checksum(sum, &frame[..8]), &frame[FRAME_HEADER_LEN..]);
            if lives && next == (word(&frame, 16), word(&frame, 20)) {
                sum = next;
                continue;
            }
            tail = Tail::Torn;
        }
        tail = match tail {
            _ if !lives => tail,
            Tail::Finished => return Err(OpenError::Unreadable),
            _ if commits => Tail::Finished,
            other => other,
        };
    }
    Ok(())
}

/// What stands behind the last frame whose checksum holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing yet.
    Intact,
    /// Parts of one commit.
    Torn,
    /// Parts of one commit, its last frame among them. Any further live frame is of a later commit, and a later commit
    /// begins only when this one was synced whole.
    Finished,
}

struct Log {
    big_endian: bool,
    page_len: usize,
    salts: [u8; 8],
    sum: (u32, u32),
}

impl Log {
    fn parse(header: &[u8; HEADER_LEN]) -> Option<Self> {
        let magic = word(header, 0);
        let page_len = word(header, 8);
        if magic & !1 != MAGIC || !page_len.is_power_of_two() || page_len > PAGE_LEN_MAX {
            return None;
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        let mut log = Self { big_endian: magic & 1 == 1, page_len: page_len as usize, salts, sum: (0, 0) };
        log.sum = log.checksum((0, 0), &header[..24]);
        (log.sum == (word(header, 24), word(header, 28))).then_some(log)
    }

    fn checksum(&self, sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let read = |bytes: &[u8], at| if self.big_endian { word(bytes, at) } else { word(bytes, at).swap_bytes() };
        bytes.chunks_exact(8).fold(sum, |(first, second), pair| {
            let first = first.wrapping_add(read(pair, 0)).wrapping_add(second);
            (first, second.wrapping_add(read(pair, 4)).wrapping_add(first))
        })
    }
}

/// The big-endian word at `at`.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Fills the buffer, or says that the file ended before.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> Result<bool, OpenError> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(_) => Err(OpenError::Medium),
    }
}
