//! Explaining the frames of the relay protocol, kind by kind, in the order of `spec/relay.md`.

use undertone_wire::frame::{ClientFrame, RelayFrame, Reply, Request};
use undertone_wire::limits::{PAYLOAD_LEN_MAX, SHELL_OVERHEAD_LEN};

use super::walk::{Field, Walk};

/// Explains a frame of a client, which decoded as `frame`.
pub(super) fn client(bytes: &[u8], frame: &ClientFrame) -> Option<(String, Vec<Field>)> {
    let mut walk = Walk::new(bytes);
    walk.number("version", 1, "")?;
    walk.number("request", 8, "pairs the reply with it")?;
    walk.word("kind", 1, |kind| REQUESTS.get(kind as usize).copied().unwrap_or("?"))?;
    let summary = request(&mut walk, &frame.body)?;
    Some((summary, walk.end()?))
}

/// Explains a frame of the relay, which decoded as `frame`.
pub(super) fn relay(bytes: &[u8], frame: &RelayFrame) -> Option<(String, Vec<Field>)> {
    let mut walk = Walk::new(bytes);
    walk.number("version", 1, "")?;
    walk.word("kind", 1, |kind| FRAMES.get(kind as usize).copied().unwrap_or("?"))?;
    let summary = relay_body(&mut walk, frame)?;
    Some((summary, walk.end()?))
}

/// Explains the payload of an entry, of which nothing can be read.
pub(super) fn payload(bytes: &[u8]) -> Option<Vec<Field>> {
    if bytes.len() <= SHELL_OVERHEAD_LEN || bytes.len() > PAYLOAD_LEN_MAX {
        return None;
    }
    let mut walk = Walk::new(bytes);
    sealed(&mut walk, bytes.len())?;
    walk.end()
}

const REQUESTS: [&str; 13] = [
    "?",
    "create",
    "prove",
    "subscribe",
    "unsubscribe",
    "append",
    "read",
    "ephemeral",
    "publish",
    "take",
    "open inbox",
    "deposit",
    "ack inbox",
];
const FRAMES: [&str; 8] = ["?", "hello", "reply", "entries", "turned", "ephemeral", "ended", "draining"];
const REPLIES: [&str; 8] = ["?", "done", "refused", "proven", "appended", "page", "published", "taken"];
const CLASSES: [&str; 5] = ["?", "control", "critical", "normal", "bulk"];
const SLOTS: [&str; 5] = ["?", "device list", "prekey bundle", "key packages", "inbox address"];
const RIGHTS: [&str; 4] = ["?", "read", "append", "control"];
const LANES: [&str; 3] = ["?", "knock", "contacts"];
const VERDICTS: [&str; 5] = ["?", "granted", "unknown", "bad signature", "stale"];
const REFUSALS: [&str; 14] = [
    "?",
    "malformed",
    "unknown",
    "not proven",
    "stale",
    "bad signature",
    "exists",
    "version conflict",
    "rate limited",
    "quota",
    "trimmed",
    "draining",
    "unsupported",
    "unavailable",
];

fn of(words: &'static [&'static str]) -> impl FnOnce(u64) -> &'static str {
    move |number| usize::try_from(number).ok().and_then(|number| words.get(number)).copied().unwrap_or("?")
}

fn request(walk: &mut Walk<'_>, request: &Request) -> Option<String> {
    Some(match request {
        Request::Create(_) => {
            log(walk)?;
            walk.hex("control key", 32, "public; the log's id is its hash")?;
            gate(walk)?;
            "creates a log; the relay learns its keys, and nobody's name".to_owned()
        }
        Request::Prove { .. } => {
            let count = walk.list("proofs", "proof", |walk| {
                log(walk)?;
                walk.number("generation", 8, "whose gate holds the key")?;
                walk.word("right", 1, of(&RIGHTS))?;
                walk.hex("signature", 64, "over this connection's nonce: worthless on another")
            })?;
            format!("claims {count} rights for this connection")
        }
        Request::Subscribe { from, .. } => {
            log(walk)?;
            walk.number("from", 8, "the first entry wanted")?;
            format!("asks for all entries of a log from {from} on, now and as they come")
        }
        Request::Unsubscribe { .. } => {
            log(walk)?;
            "ends a subscription".to_owned()
        }
        Request::Append(_) => {
            log(walk)?;
            walk.number("generation", 8, "for which every entry was sealed")?;
            let count = walk.list("entries", "entry", |walk| {
                walk.hex("entry id", 16, "random; kept when it is sent again")?;
                walk.word("class", 1, of(&CLASSES))?;
                walk.number("ttl", 4, "seconds; 0 is the relay's default")?;
                vector(walk, "payload", sealed)?;
                turn(walk)
            })?;
            format!("appends {count} sealed entries to a log")
        }
        Request::Read { from, .. } => {
            log(walk)?;
            walk.number("from", 8, "the first entry wanted")?;
            walk.number("limit", 2, "how many at most")?;
            format!("reads a page of a log from entry {from} on")
        }
        Request::Ephemeral { .. } => {
            log(walk)?;
            walk.number("generation", 8, "")?;
            vector(walk, "payload", passing)?;
            "says something passing, such as typing, to who is there; nothing is stored".to_owned()
        }
        Request::Publish(_) => {
            walk.hex("owner", 32, "public; the slot's id is its hash")?;
            walk.word("slot kind", 2, of(&SLOTS))?;
            walk.number("slot version", 8, "")?;
            walk.opaque("body", "public keys and certificates, signed")?;
            let count = walk.list("items", "item", |walk| walk.opaque("item", "public, handed out once"))?;
            walk.hex("signature", 64, "by the owner, over this connection's nonce")?;
            format!("writes a slot of the directory, with {count} one-time items")
        }
        Request::Take { .. } => {
            walk.hex("slot", 32, "the hash of its owner's key")?;
            walk.word("slot kind", 2, of(&SLOTS))?;
            walk.hex("take id", 16, "random; the same gets the same answer for ten minutes")?;
            "takes somebody's public keys out of the directory".to_owned()
        }
        Request::OpenInbox(_) => {
            walk.hex("owner", 32, "public; the inbox's id is its hash")?;
            walk.list("tokens", "token", |walk| {
                walk.word("lane", 1, of(&LANES))?;
                walk.hex("token hash", 32, "the token itself is with those who may deposit")
            })?;
            walk.hex("signature", 64, "by the owner, over this connection's nonce")?;
            "opens the device's inbox".to_owned()
        }
        Request::Deposit(_) => {
            log(walk)?;
            walk.hidden("token", 32, "a bearer token: not shown, whoever has it may deposit")?;
            walk.hex("entry id", 16, "random")?;
            walk.opaque("payload", "sealed to the inbox's device (HPKE, X25519 and ML-KEM-768), the sender inside")?;
            "puts an entry into somebody's inbox; the relay does not learn who".to_owned()
        }
        Request::AckInbox { through, .. } => {
            log(walk)?;
            walk.number("through", 8, "the last entry to delete")?;
            format!("deletes the entries of the inbox up to {through}")
        }
        _ => return None,
    })
}

fn relay_body(walk: &mut Walk<'_>, frame: &RelayFrame) -> Option<String> {
    Some(match frame {
        RelayFrame::Hello(_) => {
            walk.hex("server", 32, "names the relay in every proof")?;
            walk.hex("nonce", 32, "the challenge of this connection")?;
            walk.hex("incarnation", 16, "changes if the relay may have lost entries")?;
            walk.number("now", 8, "ms since 1970, for display only")?;
            "the relay's first words".to_owned()
        }
        RelayFrame::Reply { request, reply } => {
            walk.number("request", 8, "which it answers")?;
            walk.word("reply", 1, of(&REPLIES))?;
            format!("answers request {}: {}", request.as_u64(), relay_reply(walk, reply)?)
        }
        RelayFrame::Entries { .. } => {
            log(walk)?;
            let count = walk.list("entries", "entry", entry)?;
            format!("{count} entries of a log")
        }
        RelayFrame::Turned { .. } => {
            log(walk)?;
            walk.number("generation", 8, "whose proof is needed now")?;
            walk.number("seq", 8, "the entry that began it")?;
            "the log has turned: its members have new keys, and prove that they have them".to_owned()
        }
        RelayFrame::Ephemeral { .. } => {
            log(walk)?;
            walk.number("generation", 8, "")?;
            vector(walk, "payload", passing)?;
            "something passing that a member says".to_owned()
        }
        RelayFrame::Ended { .. } => {
            log(walk)?;
            format!("a subscription ended: {}", refusal(walk)?)
        }
        RelayFrame::Draining { .. } => {
            walk.number("retry after", 4, "ms")?;
            "the relay is about to stop".to_owned()
        }
        _ => return None,
    })
}

fn relay_reply(walk: &mut Walk<'_>, reply: &Reply) -> Option<String> {
    Some(match reply {
        Reply::Done => "done".to_owned(),
        Reply::Refused(_) => format!("refused, {}", refusal(walk)?),
        Reply::Proven { .. } => {
            let count = walk.list("results", "result", |walk| {
                walk.word("verdict", 1, of(&VERDICTS))?;
                walk.number("generation", 8, "the log's")?;
                walk.number("last", 8, "the last entry of the log").map(drop)
            })?;
            format!("{count} proofs checked")
        }
        Reply::Appended { .. } => {
            let count = walk.list("places", "place", |walk| {
                walk.number("seq", 8, "its place in the log")?;
                walk.number("generation", 8, "")?;
                walk.hex("payload hash", 32, "of what is stored")?;
                walk.word("presence", 1, of(&["?", "new", "there already"])).map(drop)
            })?;
            format!("{count} entries are durable")
        }
        Reply::Page { .. } => format!("{} entries", walk.list("entries", "entry", entry)?),
        Reply::Published { .. } => {
            walk.number("slot version", 8, "")?;
            walk.number("items left", 4, "")?;
            "published".to_owned()
        }
        Reply::Taken(_) => {
            walk.number("slot version", 8, "")?;
            walk.opaque("body", "public keys and certificates, signed")?;
            walk.option("item", |walk| walk.opaque("item", "public, handed out once"))?;
            "somebody's public keys".to_owned()
        }
        _ => return None,
    })
}

fn refusal(walk: &mut Walk<'_>) -> Option<&'static str> {
    let code = walk.word("refusal", 2, of(&REFUSALS))?;
    match code {
        4 => {
            walk.number("generation", 8, "the log's")?;
            walk.number("turned at", 8, "the entry that began it")?;
        }
        7 => {
            walk.number("slot version", 8, "which the slot holds")?;
        }
        8 | 9 | 11 | 13 => {
            walk.number("retry after", 4, "ms")?;
        }
        10 => {
            walk.number("first seq", 8, "the first entry that can still be read")?;
            walk.hex("head", 32, "the entry chain before it")?;
        }
        _ => {}
    }
    REFUSALS.get(usize::try_from(code).ok()?).copied()
}

fn entry(walk: &mut Walk<'_>) -> Option<()> {
    walk.number("seq", 8, "its place in the log")?;
    walk.number("generation", 8, "in which it was accepted")?;
    walk.word("class", 1, of(&CLASSES))?;
    walk.hex("entry id", 16, "random")?;
    walk.number("accepted", 8, "ms since 1970 by the relay's clock, for display only")?;
    turn(walk)?;
    match walk.word("content", 1, of(&["?", "payload", "stub"]))? {
        1 => vector(walk, "payload", sealed),
        _ => walk.hex("payload hash", 32, "the payload has expired; its hash keeps the chain whole"),
    }
}

fn log(walk: &mut Walk<'_>) -> Option<()> {
    walk.hex("log", 32, "names a conversation or an inbox, and tells nothing of whose")
}

fn gate(walk: &mut Walk<'_>) -> Option<()> {
    walk.hex("read key", 32, "public; the members derive its secret from their common key")?;
    walk.hex("append key", 32, "public, likewise")
}

fn turn(walk: &mut Walk<'_>) -> Option<()> {
    walk.option("turn", |walk| walk.inside("gate of the next generation", gate)).map(drop)
}

/// A vector whose bytes have a form that shows.
fn vector(walk: &mut Walk<'_>, name: &str, fields: fn(&mut Walk<'_>, usize) -> Option<()>) -> Option<()> {
    let len = walk.length(&format!("length of {name}"))?;
    walk.inside(name, |walk| fields(walk, len))
}

/// A parcel in its shell, or what was sealed to an inbox: from outside they look alike.
fn sealed(walk: &mut Walk<'_>, len: usize) -> Option<()> {
    if len <= SHELL_OVERHEAD_LEN || len > PAYLOAD_LEN_MAX {
        return walk.hidden("payload", len, "opaque");
    }
    walk.hex("nonce", NONCE_LEN, "random")?;
    walk.hidden(
        "ciphertext",
        len - SHELL_OVERHEAD_LEN,
        "padded parcel: sender, kind, counters, receipts and text; only members hold the key of this generation",
    )?;
    walk.hex("tag", TAG_LEN, "binds log, generation, entry id and class")
}

/// Something passing, in its shell.
fn passing(walk: &mut Walk<'_>, len: usize) -> Option<()> {
    if len <= SHELL_OVERHEAD_LEN {
        return walk.hidden("payload", len, "opaque");
    }
    walk.hex("nonce", NONCE_LEN, "random")?;
    walk.hidden("ciphertext", len - SHELL_OVERHEAD_LEN, "padded to one of two sizes; only members hold the key")?;
    walk.hex("tag", TAG_LEN, "")
}

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = SHELL_OVERHEAD_LEN - NONCE_LEN;
