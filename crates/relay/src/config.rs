//! The configuration: what an operator may choose, each with a default that just runs on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use undertone_wire::frame::{Class, Lane};

/// The configuration of a relay. In a file it is TOML; every field may be left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data directory; created if it is missing. One relay at a time uses it.
    pub data: PathBuf,
    /// What a connection may ask for.
    pub limits: Limits,
    /// How long things are kept.
    pub retention: Retention,
    /// What the store may use.
    pub memory: Memory,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4460),
            data: PathBuf::from("undertone-relay-data"),
            limits: Limits::default(),
            retention: Retention::default(),
            memory: Memory::default(),
        }
    }
}

/// What a connection may ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once; a further one is closed.
    pub connections: usize,
    /// Requests per second of one connection, in the long run.
    pub requests_per_s: u32,
    /// Requests that one connection may make at once before the rate holds.
    pub requests_burst: u32,
    /// Seconds until a new connection must have become a WebSocket.
    pub handshake_timeout_s: u64,
    /// Seconds between pings; a connection silent for three of them is closed.
    pub ping_interval_s: u64,
    /// Seconds for which a peer may refuse to take bytes before it is closed.
    pub write_timeout_s: u64,
    /// Seconds for which a subscription waits for the proof of a new generation, at most 60.
    pub park_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            requests_per_s: 1_000,
            requests_burst: 4_000,
            handshake_timeout_s: 10,
            ping_interval_s: 30,
            write_timeout_s: 30,
            park_s: 60,
        }
    }
}

/// How long things are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retention {
    /// Days for which the payload of a message is kept, and the longest time that a sender may ask for.
    pub messages_d: u32,
    /// The same for entries of class control, which members need to catch up.
    pub control_d: u32,
    /// Days for which an entry of an inbox is kept, unless its owner deletes it before.
    pub inbox_d: u32,
    /// Days for which the id of an inbox entry is remembered, so that a repeated deposit is noticed; at least 35.
    pub ids_d: u32,
    /// Seconds between two sweeps.
    pub sweep_interval_s: u64,
    /// What strangers may deposit in one inbox on one day.
    pub knock: LaneQuota,
    /// What contacts may deposit in one inbox on one day.
    pub contacts: LaneQuota,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            messages_d: 30,
            control_d: 90,
            inbox_d: 30,
            ids_d: 35,
            sweep_interval_s: 5,
            knock: LaneQuota { entries_per_d: 64, bytes_per_d: 1 << 20 },
            contacts: LaneQuota { entries_per_d: 4_096, bytes_per_d: 64 << 20 },
        }
    }
}

impl Retention {
    /// Milliseconds for which a payload is kept when its sender asks for `ttl_s` seconds, 0 being no wish.
    pub(crate) fn payload_ms(&self, class: Class, ttl_s: u32) -> u64 {
        let kept_ms = u64::from(if class == Class::Control { self.control_d } else { self.messages_d }) * DAY_MS;
        if ttl_s == 0 { kept_ms } else { kept_ms.min(u64::from(ttl_s) * 1_000) }
    }

    pub(crate) fn inbox_ms(&self) -> u64 {
        u64::from(self.inbox_d) * DAY_MS
    }

    pub(crate) fn id_ms(&self) -> u64 {
        u64::from(self.ids_d.max(35)) * DAY_MS
    }

    pub(crate) fn lane(&self, lane: Lane) -> LaneQuota {
        match lane {
            Lane::Knock => self.knock,
            Lane::Contacts => self.contacts,
        }
    }
}

/// What one lane of an inbox takes in on one day (UTC).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneQuota {
    /// Entries.
    pub entries_per_d: u32,
    /// Bytes of their payloads.
    pub bytes_per_d: u64,
}

impl LaneQuota {
    pub(crate) fn admits(&self, entries_count: u32, payloads_len: u64) -> bool {
        entries_count <= self.entries_per_d && payloads_len <= self.bytes_per_d
    }
}

/// What the store may use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Memory {
    /// MiB of the block cache.
    pub cache_mib: u64,
    /// MiB of one memory table; the store holds at most five for each of its two keyspaces.
    pub memtable_mib: u64,
    /// MiB of journals on disk, at least 64: more means fewer flushes, and a longer start.
    pub journals_mib: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { cache_mib: 32, memtable_mib: 8, journals_mib: 256 }
    }
}

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
