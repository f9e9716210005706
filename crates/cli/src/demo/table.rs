//! What came of a demonstration, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{Latencies, Table};

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Result {
    pub(crate) table: Table,
    /// Bytes and messages of bursts that nothing disturbed.
    pub(crate) steady: Traffic,
    /// All bytes that passed.
    pub(crate) bytes_total: u64,
    /// Texts that a removed member has, though they were said after its end there.
    pub(crate) removed_member_read: usize,
    /// Entries that the removed member was handed all the same.
    pub(crate) removed_member_handed: usize,
    /// Texts that a new member has, though they were said before it came.
    pub(crate) new_member_read_earlier: usize,
    /// The direct sessions at the end.
    pub(crate) sessions: Vec<HealingState>,
    /// Devices that were linked to an account.
    pub(crate) linked_devices: usize,
    pub(crate) relay_kills: usize,
    pub(crate) client_kills: usize,
    pub(crate) duration: Duration,
}

/// How far the post-quantum ratchet of a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HealingState {
    pub(crate) epoch: u64,
    pub(crate) messages_since: u64,
}

/// Some traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
}

impl Traffic {
    pub(crate) fn bytes_per_message(self) -> u64 {
        self.bytes.checked_div(self.messages).unwrap_or(0)
    }
}

impl Result {
    /// Whether everything is as it is promised.
    pub(crate) fn is_sound(&self) -> bool {
        self.table.is_sound() && self.removed_member_read == 0 && self.new_member_read_earlier == 0
    }
}

/// One JSON object.
pub(crate) fn json(result: &Result) -> Value {
    let Table { sent, delivered, shown, duplicates, lost, out_of_order, leaked, unreadable, told_again, .. } =
        result.table;
    let Table { online, across_outages, .. } = &result.table;
    let furthest = result.sessions.iter().max().copied().unwrap_or_default();
    json!({
        "sent": sent, "delivered": delivered, "duplicates": duplicates, "lost": lost, "out_of_order": out_of_order,
        "latency_ms_p50": rounded(online.p50_ms), "latency_ms_p99": rounded(online.p99_ms),
        "latency_count": online.count,
        "across_outages_ms_p50": rounded(across_outages.p50_ms),
        "across_outages_ms_max": rounded(across_outages.max_ms),
        "across_outages_count": across_outages.count,
        "bytes_per_message": result.steady.bytes_per_message(), "bytes_per_message_count": result.steady.messages,
        "bytes_total": result.bytes_total,
        "removed_member_read": result.removed_member_read, "removed_member_handed": result.removed_member_handed,
        "new_member_read_earlier": result.new_member_read_earlier,
        "linked_devices": result.linked_devices, "direct_sessions": result.sessions.len(),
        "pq_epoch": furthest.epoch, "messages_since_pq_heal": furthest.messages_since,
        "shown": shown, "leaked": leaked, "unreadable": unreadable, "told_again_after_crash": told_again,
        "relay_kills": result.relay_kills, "client_kills": result.client_kills,
        "duration_s": rounded(result.duration.as_secs_f64()), "ok": result.is_sound(),
    })
}

/// A table.
pub(crate) fn text(result: &Result) -> String {
    let Result { table, steady, .. } = result;
    let mut lines = vec![String::new()];
    let mut row = |name: &str, value: String, note: &str| {
        lines.push(format!("  {name:<26}{value:>10}   {note}").trim_end().to_owned());
    };
    row("sent", table.sent.to_string(), "messages that their sender's process acknowledged");
    row("delivered", table.delivered.to_string(), "of them shown by everybody they were meant for");
    row("shown twice", table.duplicates.to_string(), "");
    row("lost", table.lost.to_string(), "");
    row("out of order", table.out_of_order.to_string(), "against any member, or the sender's own order");
    row("latency p50", ms(table.online.p50_ms), &count(&table.online, "from `send` to the peer's event, all online"));
    row("latency p99", ms(table.online.p99_ms), "the same; a burst waits for its turn");
    let across = &table.across_outages;
    row("across outages, p50", ms(across.p50_ms), &count(across, "somebody was away or killed"));
    row("across outages, slowest", ms(across.max_ms), "");
    let note = format!("bytes, both ways, all clients, receipts too ({} in bursts)", steady.messages);
    row("on the wire per message", steady.bytes_per_message().to_string(), &note);
    let note = format!("of what followed; a dishonest relay handed over {}", result.removed_member_handed);
    row("the removed member read", result.removed_member_read.to_string(), &note);
    row("the new member read", result.new_member_read_earlier.to_string(), "of what went before");
    let furthest = result.sessions.iter().max().copied().unwrap_or_default();
    let note = format!(
        "the furthest of {} direct sessions; {} messages since it began",
        result.sessions.len(),
        furthest.messages_since
    );
    row("post-quantum epoch", furthest.epoch.to_string(), &note);
    row("linked devices", result.linked_devices.to_string(), "they see and say what their account does");
    let kills = result.relay_kills + result.client_kills;
    let note = format!("relay {}, clients {}", result.relay_kills, result.client_kills);
    row("kill -9", kills.to_string(), &note);
    lines.push(format!("  {:.1} s", result.duration.as_secs_f64()));
    lines.join("\n")
}

fn count(latencies: &Latencies, note: &str) -> String {
    format!("{note} ({} times)", latencies.count)
}

fn ms(ms: f64) -> String {
    format!("{ms:.1} ms")
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
