//! Every bound of the library, with its unit and its reason. A decoder refuses what is past them; the bounds that the
//! relay shares stand in [`undertone_wire::limits`].

use std::time::Duration;

// content

/// Bytes of one encoded content: it fits into a parcel with everything around it. More goes to an attachment.
pub const CONTENT_LEN_MAX: usize = 48 << 10;

// group

/// Bytes of a group's name, in UTF-8.
pub const GROUP_NAME_LEN_MAX: usize = 128;

/// Devices in one group: joining checks every leaf against every other, so that its cost grows with the square.
pub const GROUP_DEVICES_MAX: usize = 1_000;

/// Accounts with a role other than the default.
pub const GROUP_ROLES_MAX: usize = GROUP_DEVICES_MAX;

/// Devices that one commit adds: each costs the committer an HPKE seal and a Welcome of its own.
pub const GROUP_ADDS_MAX: usize = 32;

/// Bytes of one MLS message: a commit in a sparse tree of 1 000 devices stays below.
pub const GROUP_MESSAGE_LEN_MAX: usize = 1 << 20;

/// Bytes of one Welcome, which carries the whole tree: 1 000 leaves of about 1 kB.
pub const GROUP_WELCOME_LEN_MAX: usize = 2 << 20;

/// Key packages that one call makes, the last resort aside: what a directory slot takes in one `publish`.
pub const KEY_PACKAGES_MAX: usize = undertone_wire::limits::PUBLISH_ITEMS_MAX;

/// How long a key package may be used to add its device.
pub const KEY_PACKAGE_VALIDITY: Duration = Duration::from_secs(90 * 86_400);

/// How much before its making a key package is valid already, for clocks that run slow.
pub const KEY_PACKAGE_SKEW: Duration = Duration::from_secs(86_400);

/// How long after its validity the secrets of a key package are kept, for a Welcome on its way.
pub const KEY_PACKAGE_GRACE: Duration = Duration::from_secs(30 * 86_400);

/// Messages of one sender that may arrive out of order within an epoch, their keys kept.
pub const GROUP_OUT_OF_ORDER_MAX: u32 = 64;

/// Messages of one sender that may be missing in front of one that opens.
pub const GROUP_FORWARD_MAX: u32 = 2_000;

// dm

/// Messages under one header key: its 96-bit nonces are random (rule DM-21).
pub const DM_CHAIN_MESSAGES_MAX: u32 = 1 << 20;

/// Messages that one message may pass over in a chain: bounds the work that a peer can cause.
pub const DM_JUMP_MAX: u32 = 2_000;

/// Stored seeds of skipped messages in one chain.
pub const DM_SKIPPED_PER_CHAIN_MAX: u32 = 1_000;

/// Stored seeds of skipped messages in one session: about 160 kB of rows.
pub const DM_SKIPPED_PER_SESSION_MAX: u32 = 2_000;

/// Stored seeds of skipped messages in all sessions with one peer device: two full ones. An account of 16 devices can so
/// make us keep 64 000, about 10 MB.
pub const DM_SKIPPED_PER_DEVICE_MAX: u32 = 4_000;

/// How long a skipped seed is kept, 30 days: as long as a relay keeps messages.
pub const DM_SKIPPED_AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Old receiving chains whose header keys are tried: a forged message costs one small AEAD for each.
pub const DM_OLD_CHAINS_MAX: usize = 5;

/// Keys of post-quantum epochs that a session keeps, the present one included: a message may come as many old chains late.
pub const DM_PQ_EPOCHS_KEPT: usize = 8;

/// Sessions with one peer device: one that sends, and those of crossed or repeated first contacts.
pub const DM_SESSIONS_PER_DEVICE_MAX: usize = 9;

/// Bytes of one ratchet message, its overhead included: more than a padded parcel is never carried.
pub const DM_MESSAGE_LEN_MAX: usize = undertone_wire::limits::PARCEL_LEN_MAX;

/// Bytes of one encoded handshake: 1 138 in this version.
pub const DM_HANDSHAKE_LEN_MAX: usize = 2_048;

/// Bytes of an encoded bundle body: 1 397 in this version.
pub const DM_BUNDLE_LEN_MAX: usize = 4_096;

/// Bytes of an encoded one-time item: 1 307 in this version.
pub const DM_ITEM_LEN_MAX: usize = 2_048;

/// First messages that are remembered against replay for one signed prekey; 64 knocks a day at the relay are far below.
pub const DM_REPLAY_MEMORY_MAX: usize = 8_192;

/// One-time pairs made at once: the items of one `publish`.
pub const DM_ONE_TIME_COUNT_MAX: usize = undertone_wire::limits::PUBLISH_ITEMS_MAX;

/// Time after which a signed prekey is replaced, 7 days.
pub const DM_PREKEY_ROTATION: Duration = Duration::from_secs(7 * 86_400);

/// How long a bundle may be used, 30 days: its owner may be offline for so long.
pub const DM_PREKEY_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// How long a one-time pair may be used, 90 days: it waits at the relay until somebody takes it.
pub const DM_ONE_TIME_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// How long a secret outlives the use of its prekey, 30 days: a first message waits so long in an inbox.
pub const DM_PREKEY_GRACE: Duration = Duration::from_secs(30 * 86_400);

/// Messages under one sending chain after which a session is worn: the peer has not answered for so long, and if they expire
/// unread it could not follow. The 500 up to [`DM_JUMP_MAX`] are for what is sealed until another session begins.
pub const DM_WORN_AFTER: u32 = 1_500;

/// Messages after which the handshake of an unanswered session is carried again in a log: 18 bytes for each of them. What a
/// device cannot read because the first that carried it has expired is less than what is kept to be tried again.
pub const DM_HANDSHAKE_EVERY: u32 = UNDECRYPTABLE_MAX as u32;

/// Messages opened without one sealed, after which a heartbeat is owed (rule DM-50): few enough that a state that was stolen heals.
pub const DM_HEARTBEAT_AFTER: u32 = 50;

/// Time between two sessions that are begun with one device out of trouble, 1 hour: each takes one of its one-time pairs.
pub const DM_RECOVERY_INTERVAL: Duration = Duration::from_secs(3_600);

/// By how much a peer's clock may run ahead of ours, 1 day.
pub const DM_CLOCK_SKEW: Duration = Duration::from_secs(86_400);
// engine

/// The first delay before a retry, drawn from zero to this, milliseconds.
pub const BACKOFF_FIRST_MS: u64 = 250;

/// The longest delay before a retry, milliseconds.
pub const BACKOFF_MAX_MS: u64 = 30_000;

/// How long a delivery receipt waits for an envelope that carries it.
pub const RECEIPT_DELAY: Duration = Duration::from_millis(150);

/// How long a member waits at most before it commits the proposal of another, milliseconds: one of them will be first.
pub const COMMIT_JITTER_MS: u64 = 2_000;

/// How often what is due by age alone is done.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(86_400);

/// The age at which unused key packages are replaced, 30 days: they may be used for 90.
pub const KEY_PACKAGE_ROTATION: Duration = Duration::from_secs(30 * 86_400);

/// The age at which the log of a direct conversation is turned.
pub const TURN_AGE: Duration = Duration::from_secs(30 * 86_400);

/// How long a repeated typing signal is not sent.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(3);

/// Welcomes of one sender into one group that wait until we have read that we were removed from it.
pub const WELCOMES_WAITING_MAX: usize = 8;

/// Introductions of one device to later generations of a direct log than we have read: with lists of full length 64 kB.
pub const EARLY_INTRODUCTIONS_MAX: usize = 8;

/// Messages in the first chunk of a history: as many as a person sees at once, in one small entry.
pub const HISTORY_FIRST_COUNT: usize = 100;

/// Chunks of history in one append, the first aside: 256 KiB, what a relay hands out in one frame.
pub const HISTORY_CHUNKS_AT_ONCE: usize = 4;

/// How long a chunk of history lies at the relay, and a transfer may take, 14 days.
pub const HISTORY_LIFETIME: Duration = Duration::from_secs(14 * 86_400);

/// Elements of one list in a chunk of history: the smallest message takes more than a 1 024th of it.
pub const HISTORY_ELEMENTS_MAX: usize = 1_024;

/// Logs of one conversation in a history, those of repeated first contacts included.
pub const HISTORY_LOGS_MAX: usize = 64;

/// Heads that are remembered of each log, to compare with the evidence of others.
pub const HEADS_MAX: u64 = 256;

/// Entries of one log that are kept though they could not be read.
pub const UNDECRYPTABLE_MAX: usize = 64;

/// Bytes of an MLS Welcome, its tree included: with the names beside it, it fits into an inbox entry.
pub const WELCOME_LEN_MAX: usize = 48 << 10;

/// Logs of one direct conversation that are read besides the one that lives: each repeated first contact of the peer brings
/// one, and each successor.
pub const OLD_LOGS_MAX: usize = 8;

/// How long a device waits to be introduced to a generation that began without it, before it begins another log, 1 hour.
pub const LEFT_OUT_MAX: Duration = Duration::from_secs(3_600);

/// How long it waits if the turn was void for all, in the first log with its lists; twice as long in each successor, and
/// never longer than [`LEFT_OUT_MAX`]: whoever voids turns makes few logs, and not many.
pub const VOID_TURN_DELAY: Duration = Duration::from_secs(1);

/// By how much longer each device waits than the one before it on the lists: one of them begins, the others follow.
pub const SUCCESSOR_STAGGER: Duration = Duration::from_secs(5);

/// How long after it was introduced to a log a device introduces whoever it has not heard there, 5 minutes.
pub const VOUCH_DELAY: Duration = Duration::from_secs(300);

/// Unsuccessful lookups of an account before the app is told; the client goes on trying.
pub const LOOKUP_ATTEMPTS_UNTOLD: u32 = 3;

/// One-time keys that a device keeps at its relay, of each kind.
pub const ITEMS_STOCK: usize = 100;

/// One-time keys of a kind at which new ones are made.
pub const ITEMS_LOW: usize = 50;
