//! Every bound of the relay protocol, with its unit and its reason. A decoder refuses what is past them.

/// Bytes of the plaintext parcel after padding: hides what it is, and keeps one entry far below a frame.
pub const PARCEL_LEN_MAX: usize = 65_536;

/// Bytes that the shell adds: a 24-byte nonce and a 16-byte tag.
pub const SHELL_OVERHEAD_LEN: usize = 40;

/// Bytes of one payload as the relay stores it.
pub const PAYLOAD_LEN_MAX: usize = PARCEL_LEN_MAX + SHELL_OVERHEAD_LEN;

/// Bytes of one ephemeral payload: 1 024 padded, and the shell.
pub const EPHEMERAL_LEN_MAX: usize = 1_024 + SHELL_OVERHEAD_LEN;

/// Entries of one `append`, all or nothing.
pub const APPEND_ENTRIES_MAX: usize = 64;

/// Bytes of all payloads of one `append`: one relay transaction stays small.
pub const APPEND_LEN_MAX: usize = 1 << 20;

/// Entries in one `Entries` frame or `read` reply.
pub const READ_ENTRIES_MAX: usize = 64;

/// Bytes of payloads in one `Entries` frame or `read` reply, unless one entry alone is larger.
pub const READ_LEN_MAX: usize = 256 << 10;

/// Proofs in one `prove`: each costs the relay one signature verification.
pub const PROOFS_MAX: usize = 256;

/// Logs to which one connection subscribes.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Bytes of one frame in either direction, the WebSocket header aside.
pub const FRAME_LEN_MAX: usize = APPEND_LEN_MAX + (64 << 10);

/// Bytes of the static part of a directory slot.
pub const SLOT_BODY_LEN_MAX: usize = 64 << 10;

/// One-time items in one `publish`.
pub const PUBLISH_ITEMS_MAX: usize = 128;

/// Bytes of one one-time item: a hybrid key package takes about 4 kB.
pub const ITEM_LEN_MAX: usize = 16 << 10;

/// One-time items that one slot and kind may hold.
pub const SLOT_ITEMS_MAX: usize = 256;

/// Tokens of one inbox.
pub const INBOX_TOKENS_MAX: usize = 1_024;

/// Generations and sequence numbers above this are refused, so that counting on never overflows.
pub const COUNTER_MAX: u64 = 1 << 53;
