//! Every bound of the library, with its unit and its reason. A decoder refuses what is past them; the bounds that the
//! relay shares stand in [`undertone_wire::limits`].

use std::time::Duration;

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
