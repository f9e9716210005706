//! What `undertone chat` shows to a person.
//!
//! Names and texts come from others: whatever a terminal could take for a command, or for a change of direction, is shown
//! as its number.

use undertone::conversation::{ConversationState, MessageStatus};
use undertone::dm::Start;

use super::command::COMMANDS;
use super::saying::{
    DeviceLine, Fault, Happened, Line, Listed, Named, Passing, Reply, Saying, Says, failure, held, history_failure,
    linking, reason, recovery, state, suspicion, verification,
};

/// The lines for one thing said; none if a person need not see it.
pub(crate) fn text(saying: &Saying) -> Option<String> {
    Some(match saying {
        Saying::Hello { name, relay, is_new, .. } => {
            let name = clean(name);
            let begin = if *is_new { "You are new here. /invite prints what others need to talk to you." } else { "" };
            format!("Hello {name}. Relay: {}. /help lists the commands. {begin}", clean(relay)).trim_end().to_owned()
        }
        Saying::Reply { reply, .. } => reply_text(reply)?,
        Saying::Trouble { fault: Fault { text, help, .. }, .. } => format!("  ! {} ({})", clean(text), help),
        Saying::Event { happened, .. } => happened_text(happened)?,
        Saying::Passing(passing) => passing_text(passing)?,
        Saying::Bye { unsent_count: 0 } => "Bye.".to_owned(),
        Saying::Bye { unsent_count } => {
            format!("Bye. {unsent_count} of your messages are not sent yet; they are when you come back.")
        }
    })
}

/// Text of somebody else on one line.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => clean.push(' '),
            character if is_unsafe(character) => clean.push_str(&format!("\\u{{{:x}}}", character as u32)),
            character => clean.push(character),
        }
    }
    clean
}

/// Text of somebody else that may have lines; each further one is set in, so that none can pass for one of ours.
fn clean_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| clean(line.trim_end_matches('\r'))).collect();
    lines.join("\n        │ ")
}

/// Whether a terminal could obey a character, or show what stands around it in another order, or nothing at all.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn reply_text(reply: &Reply) -> Option<String> {
    Some(match reply {
        Reply::Done | Reply::Queued { .. } => return None,
        Reply::Me { name, account, device } => {
            format!("  {}\n  account {account}\n  device  {device}", clean(name))
        }
        Reply::Invitation(invitation) => format!("  {invitation}"),
        Reply::Safety { who, number, verification: is } => {
            let is = verification(*is).1;
            format!("  {number}\n  If {} sees the same number, nobody stands between you ({is}).", clean(who))
        }
        Reply::Conversations(conversations) if conversations.is_empty() => "  (no conversations yet)".to_owned(),
        Reply::Conversations(conversations) => conversations.iter().map(listed_text).collect::<Vec<_>>().join("\n"),
        Reply::Devices(devices) => devices.iter().map(device_text).collect::<Vec<_>>().join("\n"),
        Reply::Current(conversation) => format!("  → {}", title(conversation)),
        Reply::History { messages, .. } if messages.is_empty() => "  (nothing yet)".to_owned(),
        Reply::History { messages, .. } => {
            messages.iter().map(|line| line_text(line, None)).collect::<Vec<_>>().join("\n")
        }
        Reply::Help => {
            let line = |(name, takes, does): &(&str, &str, &str)| format!("  {:26}{does}", format!("{name} {takes}"));
            COMMANDS.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    })
}

fn device_text(device: &DeviceLine) -> String {
    let DeviceLine { id, is_this, is_primary, session } = device;
    let session = session.map_or_else(String::new, |session| {
        let (epoch, count) = (session.pq_epoch.as_u32(), session.messages_since_pq_heal);
        let weak = if session.start == Start::Weak { ", began without a one-time key" } else { "" };
        format!("  post-quantum epoch {epoch}, {count} messages old{weak}")
    });
    let this = if *is_this { "  this one" } else { "" };
    let primary = if *is_primary { "  holds the account key" } else { "" };
    format!("  #{}{this}{primary}{session}", super::book::short(id))
}

fn listed_text(listed: &Listed) -> String {
    let Listed { named, state: how_far, members, unsent_count, is_current } = listed;
    let mark = if *is_current { '→' } else { ' ' };
    let id: String = named.id.to_string().chars().take(8).collect();
    let members = if named.is_group { format!(": {}", clean(&members.join(", "))) } else { String::new() };
    let how_far = match how_far {
        ConversationState::Active => String::new(),
        other => format!(" ({})", state(*other)),
    };
    let unsent = if *unsent_count == 0 { String::new() } else { format!(" ({unsent_count} not sent yet)") };
    format!("  {mark} #{id}  {}{members}{how_far}{unsent}", title(named))
}

/// A message; in a conversation that may not be the current one, its name stands before it.
fn line_text(line: &Line, conversation: Option<&Named>) -> String {
    let Line { place, sender, is_ours, says, status, .. } = line;
    let place = place.map_or_else(|| "    …".to_owned(), |place| format!("{:>5}", format!("#{place}")));
    let group = match conversation {
        Some(conversation) if conversation.is_group => format!("{} · ", clean(&conversation.name)),
        _ => String::new(),
    };
    let says = match says {
        Says::Text(text) => format!(": {}", clean_lines(text)),
        Says::Reaction { grapheme, .. } => format!(" reacts with {}", clean(grapheme)),
        Says::Other(words) => format!(" ({})", clean(words)),
    };
    let mark = match (is_ours, status) {
        (false, _) => "",
        (true, MessageStatus::Pending) => "  (not sent yet)",
        (true, MessageStatus::Sent) => "  ✓",
        (true, MessageStatus::Delivered) => "  ✓✓",
        (true, _) => "  ✓✓ read",
    };
    format!("{place}  {group}{}{says}{mark}", clean(sender))
}

fn happened_text(happened: &Happened) -> Option<String> {
    Some(match happened {
        Happened::Contact { name, .. } => format!("  * you can talk to {} now", clean(name)),
        Happened::Ready { conversation } if conversation.is_group => {
            format!("  * you are in the group {} now", clean(&conversation.name))
        }
        Happened::Ready { conversation } => format!("  * the keys of {} are right", clean(&conversation.name)),
        Happened::Message { conversation, line } => line_text(line, Some(conversation)),
        Happened::Sent { place, .. } => format!("{:>5}  ✓ sent", format!("#{place}")),
        Happened::Delivered { by, through, .. } => {
            format!("{:>5}  ✓✓ {} has everything up to here", format!("#{through}"), clean(by))
        }
        Happened::Read { by, .. } => format!("       ✓✓ read by {}", clean(by)),
        Happened::GroupChanged { conversation, by, added, removed, name } => {
            let mut changes = Vec::new();
            if !added.is_empty() {
                changes.push(format!("added {}", clean(&added.join(", "))));
            }
            if !removed.is_empty() {
                let left = removed.len() == 1 && removed.first() == Some(by);
                changes.push(if left { "left".into() } else { format!("removed {}", clean(&removed.join(", "))) });
            }
            if let Some(name) = name {
                changes.push(format!("called it {}", clean(name)));
            }
            format!("  * {} · {} {}", clean(&conversation.name), clean(by), changes.join(" and "))
        }
        Happened::Removed { conversation, is_own_will: true, .. } => {
            format!("  * you have left {}", clean(&conversation.name))
        }
        Happened::Removed { conversation, by, .. } => {
            format!("  * {} removed you from {}", clean(by), clean(&conversation.name))
        }
        Happened::Undecryptable { conversation, place, reason: why } => {
            let (_, words) = reason(*why);
            let (_, helps) = recovery(why.recovery());
            format!("{:>5}  {} · cannot be read: {words}; {helps}", format!("#{place}"), clean(&conversation.name))
        }
        Happened::Gap { conversation, count } => {
            format!("  ! {} · {count} messages of one sender are missing", clean(&conversation.name))
        }
        Happened::Suspicion { conversation, suspicion: what, .. } => {
            format!("  ! {} · {}", clean(&conversation.name), suspicion(*what).1)
        }
        Happened::Failed { conversation, who, failure: why } => {
            let who = who.as_deref().map(|who| format!("{}: ", clean(who))).unwrap_or_default();
            format!("  ! {} · {who}{}", clean(&conversation.name), failure(*why).1)
        }
        Happened::Devices { of, device, is_added } => {
            let whose = of.as_deref().map_or("you have".to_owned(), |name| format!("{} has", clean(name)));
            let (what, id) = (if *is_added { "a new device" } else { "a device less" }, super::book::short(device));
            let offer = if of.is_none() && *is_added {
                format!("\n    /send-history #{id} gives it everything that was said before")
            } else {
                String::new()
            };
            format!("  * {whose} {what}: #{id}{offer}")
        }
        Happened::Held { of, because } => {
            let whose = of.as_deref().map_or("other people".to_owned(), clean);
            format!("  ! what you send to {whose} waits: {}", held(*because).1)
        }
        Happened::HistorySent { device, count } => {
            format!("  * your history, {count} messages, lies at the relay for #{}", super::book::short(device))
        }
        Happened::HistoryComplete { device, count } => {
            format!("  * the history of #{} is all here: {count} messages", super::book::short(device))
        }
        Happened::HistoryFailed { device, because } => {
            let why = history_failure(*because).1;
            format!("  ! the history between here and #{} ends early: {why}", super::book::short(device))
        }
        Happened::Other => return None,
    })
}

fn passing_text(passing: &Passing) -> Option<String> {
    Some(match passing {
        Passing::Online => return None,
        Passing::CaughtUp => "  * online".to_owned(),
        Passing::Offline => "  * offline; what you write is sent later".to_owned(),
        Passing::RelayChanged => {
            "  ! this is not the relay that it was; nothing is sent to it. Ask its operator.".to_owned()
        }
        Passing::LinkOffer { offer, .. } => format!(
            "  Within ten minutes, on the device that has the account:\n\n/link {offer}\n\n  Show it to nobody else."
        ),
        Passing::LinkCode(code) => format!(
            "  * both devices must show {code}\n    /confirm-link on both if they do, /cancel-link if not, or if you hold only one of them"
        ),
        Passing::LinkEnded(error) => format!("  ! not linked: {}", linking(*error).1),
        Passing::HistoryProgress { done, total, .. } => format!("  … history: {done} of {total} messages"),
        Passing::Typing { conversation, who, is_typing: true } => {
            format!("  … {} is typing{}", clean(who), in_group(conversation))
        }
        Passing::Typing { .. } => return None,
    })
}

fn title(conversation: &Named) -> String {
    let kind = if conversation.is_group { "group " } else { "" };
    format!("{kind}{}", clean(&conversation.name))
}

fn in_group(conversation: &Named) -> String {
    if conversation.is_group { format!(" in {}", clean(&conversation.name)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_peer_reaches_the_terminal_as_a_command() {
        let evil = "\u{1b}]0;title\u{7}\u{9b}2J\r\u{202e}gnp\u{7f}";
        let shown = clean_lines(&format!("one\n{evil}\ntwo"));
        assert!(shown.chars().all(|character| character == '\n' || !is_unsafe(character)), "{shown:?}");
        assert!(shown.contains("\\u{1b}]0;title\\u{7}\\u{9b}2J"), "{shown}");
        assert_eq!(clean("family 👩\u{200d}👧 flag 🇫🇷"), "family 👩\u{200d}👧 flag 🇫🇷");
    }

    #[test]
    fn a_further_line_of_a_message_cannot_pass_for_one_of_ours() {
        assert_eq!(clean_lines("hi\n   #9  Ann: yes"), "hi\n        │    #9  Ann: yes");
    }
}
