//! Playing a script: each step on the stage, and a line for each thing that shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use undertone_wire::frame::RelayFrame;

use super::script::Step;
use super::stage::Stage;
use super::table::{HealingState, Result as Outcome, Traffic};
use crate::args::Failure;

/// A play.
pub(crate) struct Play {
    stage: Stage,
    is_quiet: bool,
    begun_at: Instant,
    /// Where everybody speaks.
    speaks_in: BTreeMap<String, Place>,
    groups: BTreeMap<String, Group>,
    invitations: BTreeMap<String, String>,
    /// Who took whose invitation.
    contacts: Vec<(String, String)>,
    /// Further devices, and whose they are.
    linked: BTreeMap<String, String>,
    outcome: Outcome,
    /// The burst that is under way, unless something disturbed it.
    burst: Option<Traffic>,
    burst_count: usize,
    /// What was heard and shown already.
    told: usize,
}

/// Where somebody speaks.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    Direct(String),
    Group(String),
}

/// A group on stage.
#[derive(Default)]
struct Group {
    /// Its id, in hexadecimal.
    id: String,
    members: BTreeSet<String>,
    /// Everybody who ever was in it.
    ever: BTreeSet<String>,
    /// What was said, and who was in it then.
    said: Vec<(String, BTreeSet<String>)>,
    /// Who was removed, and how many entries the others had recorded then.
    removed: BTreeMap<String, usize>,
}

impl Play {
    pub(crate) fn new(stage: Stage, is_quiet: bool) -> Self {
        Self {
            stage,
            is_quiet,
            begun_at: Instant::now(),
            speaks_in: BTreeMap::new(),
            groups: BTreeMap::new(),
            invitations: BTreeMap::new(),
            contacts: Vec::new(),
            linked: BTreeMap::new(),
            outcome: Outcome::default(),
            burst: None,
            burst_count: 0,
            told: 0,
        }
    }

    /// Starts the relay.
    pub(crate) fn open(&mut self, dir: &Path) -> Result<(), Failure> {
        let process_id = self.stage.start_relay()?;
        self.show("relay", &format!("process {process_id}; everything is in {}", dir.display()));
        Ok(())
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Title(title) => self.line(&format!("\n{title}")),
            Step::Say { who, text } => self.say(&who, &text)?,
            Step::Start(names) => names.iter().try_for_each(|who| self.start(who))?,
            Step::Link { who, device } => self.link(&who, &device)?,
            Step::History { who, device } => self.history(&who, &device)?,
            Step::Stop(names) => names.iter().for_each(|who| self.stop(who)),
            Step::Contact { from, to } => self.contact(&from, &to)?,
            Step::Direct(one, other) => {
                self.speaks_in.insert(one.clone(), Place::Direct(other.clone()));
                self.speaks_in.insert(other, Place::Direct(one));
            }
            Step::Group { name, members } => self.group(&name, &members)?,
            Step::Add { group, by, who } => self.add(&group, &by, &who)?,
            Step::Remove { group, by, who } => self.remove(&group, &by, &who)?,
            Step::Typing(who) => self.typing(&who)?,
            Step::Read(who) => self.read(&who)?,
            Step::React { who, grapheme } => self.react(&who, &grapheme)?,
            Step::Burst { count, who } => self.burst(count, &who)?,
            Step::Kill(whom) => self.kill(&whom)?,
            Step::Restart(whom) => self.restart(&whom)?,
            Step::Settle => self.settle()?,
        }
        self.tell();
        Ok(())
    }

    // Who is there.

    fn start(&mut self, who: &str) -> Result<(), Failure> {
        let proxy = self.stage.proxy(who)?;
        proxy.record();
        let process_id = self.stage.start(who)?;
        if !self.invitations.contains_key(who) && !self.linked.contains_key(who) {
            let reply = self.stage.command(who, "/invite")?;
            self.invitations.insert(who.to_owned(), text_of(&reply, "invitation"));
            self.show(who, &format!("process {process_id}, with a new identity in an encrypted store"));
        } else {
            self.show(who, &format!("process {process_id}, is back"));
        }
        Ok(())
    }

    /// Gives a device what its owner has, and looks whether it shows the same where it speaks.
    fn history(&mut self, who: &str, device: &str) -> Result<(), Failure> {
        self.check_present(who)?;
        self.check_present(device)?;
        self.stage.settle()?;
        let id = text_of(&self.stage.command(device, "/me")?, "device");
        self.stage.ledger.give(who, device);
        let (mark, begun_at) = (self.stage.mark(), Instant::now());
        self.stage.command(who, &format!("/send-history #{id}"))?;
        let complete = self.stage.wait_line(device, mark, "the history", |line| line["type"] == "history_complete")?;
        let took_ms = begun_at.elapsed().as_millis();
        if let Some(Place::Direct(peer)) = self.speaks_in.get(device).cloned() {
            let listed = |reply: &Value| {
                let lines = reply["messages"].as_array().cloned().unwrap_or_default();
                lines.iter().map(|line| (text_of(line, "message"), text_of(line, "text"))).collect::<Vec<_>>()
            };
            let (old, new) = (self.stage.history(who, &peer)?, self.stage.history(device, &peer)?);
            if listed(&old) != listed(&new) {
                return Err(Failure::Broken { why: format!("{device} does not list with {peer} what {who} lists") });
            }
        }
        let count = complete["count"].as_u64().unwrap_or_default();
        self.show(device, &format!("lists what {who} lists: {count} messages in {took_ms} ms, the newest first"));
        Ok(())
    }

    fn link(&mut self, who: &str, device: &str) -> Result<(), Failure> {
        self.check_present(who)?;
        self.stage.settle()?;
        self.stage.proxy(device)?.record();
        let mark = self.stage.mark();
        let (process_id, digits) = self.stage.link(who, device)?;
        self.show(device, &format!("process {process_id}, is a device of {who} now: both showed {digits}"));
        if let Some(Place::Direct(peer)) = self.speaks_in.get(who).cloned() {
            let is_it = |line: &Value| line["type"] == "ready";
            self.stage.wait_line(device, mark, "that the conversation is ready", is_it)?;
            self.speaks_in.insert(device.to_owned(), Place::Direct(peer));
        }
        self.linked.insert(device.to_owned(), who.to_owned());
        Ok(())
    }

    /// Everybody's devices that a direct message of `who` to `peer` is meant for.
    fn meant_directly(&self, who: &str, peer: &str) -> Vec<String> {
        let owner = |name: &str| self.linked.get(name).cloned().unwrap_or_else(|| name.to_owned());
        let accounts = [owner(who), peer.to_owned()];
        let devices = self.linked.iter().filter(|(_, of)| accounts.contains(of)).map(|(device, _)| device);
        accounts.iter().chain(devices).filter(|name| *name != who).cloned().collect()
    }

    fn stop(&mut self, who: &str) {
        self.stage.stop(who);
        self.show(who, "goes away");
    }

    fn kill(&mut self, whom: &str) -> Result<(), Failure> {
        self.burst = None;
        // In the middle: some are through, some are not.
        self.stage.pause(Duration::from_millis(25));
        if whom == "relay" {
            self.stage.kill_relay();
            self.outcome.relay_kills += 1;
        } else {
            self.check_present(whom)?;
            self.stage.kill(whom);
            self.outcome.client_kills += 1;
        }
        self.show(whom, "kill -9");
        Ok(())
    }

    fn restart(&mut self, whom: &str) -> Result<(), Failure> {
        if whom == "relay" {
            let process_id = self.stage.start_relay()?;
            self.show("relay", &format!("process {process_id}, on the same data"));
            Ok(())
        } else {
            self.start(whom)
        }
    }

    fn check_present(&self, who: &str) -> Result<(), Failure> {
        if self.stage.is_present(who) {
            Ok(())
        } else {
            Err(Failure::Input { why: format!("the script has {who} do something, who is not there") })
        }
    }

    // Conversations.

    fn contact(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let invitation = self.invitations.get(to).cloned();
        let invitation = invitation.ok_or_else(|| Failure::Input { why: format!("the script never started {to}") })?;
        let mark = self.stage.mark();
        self.stage.command(from, &format!("/add {invitation}"))?;
        self.stage.wait_line(from, mark, "that the conversation is ready", |line| line["type"] == "ready")?;
        self.contacts.push((from.to_owned(), to.to_owned()));
        let away = if self.stage.is_present(to) { "" } else { ", who is away" };
        self.show(from, &format!("takes the invitation of {to}{away}; the keys are right"));
        Ok(())
    }

    fn group(&mut self, name: &str, members: &[String]) -> Result<(), Failure> {
        let Some((by, others)) = members.split_first() else { return Ok(()) };
        let mark = self.stage.mark();
        let reply = self.stage.command(by, &format!("/group {name} {}", others.join(" ")))?;
        let id = text_of(&reply, "conversation");
        let all: BTreeSet<String> = members.iter().cloned().collect();
        for who in others {
            self.welcomed(who, mark, &id)?;
        }
        self.show(by, &format!("makes the group {name} with {}", others.join(", ")));
        let group = Group { id, members: all.clone(), ever: all.clone(), ..Group::default() };
        self.groups.insert(name.to_owned(), group);
        self.speaks_in.extend(all.into_iter().map(|who| (who, Place::Group(name.to_owned()))));
        Ok(())
    }

    fn add(&mut self, name: &str, by: &str, who: &str) -> Result<(), Failure> {
        self.stage.settle()?;
        let mark = self.stage.mark();
        self.stage.command_in(by, name, &format!("/invite-to {name} {who}"))?;
        let group = self.known_group(name)?;
        let (id, others) = (group.id.clone(), group.members.clone());
        group.members.insert(who.to_owned());
        group.ever.insert(who.to_owned());
        self.welcomed(who, mark, &id)?;
        self.changed(&others, mark, &id)?;
        self.speaks_in.insert(who.to_owned(), Place::Group(name.to_owned()));
        self.show(by, &format!("adds {who} to {name}"));
        Ok(())
    }

    fn remove(&mut self, name: &str, by: &str, who: &str) -> Result<(), Failure> {
        self.stage.settle()?;
        let mark = self.stage.mark();
        self.stage.command_in(by, name, &format!("/kick {who}"))?;
        let group = self.known_group(name)?;
        group.members.remove(who);
        let (id, others) = (group.id.clone(), group.members.clone());
        self.changed(&others, mark, &id)?;
        let is_end = |line: &Value| line["type"] == "removed" && line["conversation"] == *id;
        self.stage.wait_line(who, mark, "that it is removed", is_end)?;
        let recorded = self.entries_of(&id, &others)?.len();
        self.known_group(name)?.removed.insert(who.to_owned(), recorded);
        self.show(by, &format!("removes {who} from {name}"));
        Ok(())
    }

    fn known_group(&mut self, name: &str) -> Result<&mut Group, Failure> {
        self.groups.get_mut(name).ok_or_else(|| Failure::Input { why: format!("the script never made {name}") })
    }

    fn welcomed(&mut self, who: &str, mark: usize, id: &str) -> Result<(), Failure> {
        if self.stage.is_present(who) {
            let is_it = |line: &Value| line["type"] == "ready" && line["conversation"] == *id;
            self.stage.wait_line(who, mark, "that it is in the group", is_it)?;
        }
        Ok(())
    }

    fn changed(&mut self, members: &BTreeSet<String>, mark: usize, id: &str) -> Result<(), Failure> {
        for who in members {
            if self.stage.is_present(who) {
                let is_it = |line: &Value| line["type"] == "group_changed" && line["conversation"] == *id;
                self.stage.wait_line(who, mark, "that the group has changed", is_it)?;
            }
        }
        Ok(())
    }

    // Talking.

    fn say(&mut self, who: &str, text: &str) -> Result<(), Failure> {
        let text = self.unique(text);
        let others = self.post(who, &text)?;
        if !self.stage.has_relay() {
            self.show(who, &format!("{text}   [waits for the relay]"));
            return Ok(());
        }
        let present: Vec<String> = others.iter().filter(|who| self.stage.is_present(who)).cloned().collect();
        let needed = text.clone();
        self.stage.wait(&format!("{text:?} to be shown"), |stage| {
            let shown = stage.ledger.shown(&needed);
            present.iter().all(|who| shown.iter().any(|(by, _)| by == who))
        })?;
        self.stage.settle_commands(who)?;
        let mut marks: Vec<String> =
            self.stage.ledger.shown(&text).iter().map(|(by, ms)| format!("{by} {ms:.0} ms")).collect();
        marks.extend(others.iter().filter(|who| !present.contains(who)).map(|who| format!("{who} is away")));
        self.show(who, &format!("{text}   [{}]", marks.join(", ")));
        Ok(())
    }

    /// Sends without waiting. Yields whom it is meant for.
    fn post(&mut self, who: &str, text: &str) -> Result<Vec<String>, Failure> {
        self.check_present(who)?;
        let place = self.place(who)?;
        let (conversation, others) = match place {
            Place::Direct(peer) => (peer.clone(), self.meant_directly(who, &peer)),
            Place::Group(name) => {
                let group = self.known_group(&name)?;
                group.said.push((text.to_owned(), group.members.clone()));
                let others = group.members.iter().filter(|member| *member != who).cloned().collect();
                (name, others)
            }
        };
        self.stage.say(who, &conversation, text, &others)?;
        Ok(others)
    }

    fn place(&self, who: &str) -> Result<Place, Failure> {
        let place = self.speaks_in.get(who).cloned();
        place.ok_or_else(|| Failure::Input { why: format!("the script has {who} speak to nobody") })
    }

    /// The ledger knows messages by their text.
    fn unique(&self, text: &str) -> String {
        let mut unique = text.to_owned();
        let mut number = 2;
        while self.stage.ledger.knows(&unique) {
            unique = format!("{text} ({number})");
            number += 1;
        }
        unique
    }

    fn burst(&mut self, count: usize, names: &[String]) -> Result<(), Failure> {
        self.stage.settle()?;
        self.burst_count += 1;
        let messages = (count * names.len()) as u64;
        self.burst = Some(Traffic { bytes: self.stage.bytes_count(), messages });
        for number in 1..=count {
            for who in names {
                let text = format!("Burst {}: {number} of {count} by {who}.", self.burst_count);
                self.post(who, &text)?;
            }
        }
        self.show(&names.join(", "), &format!("{count} messages each, at once"));
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.stage.settle()?;
        if let Some(Traffic { bytes: before, messages }) = self.burst.take() {
            // Receipts belong to the price of a message; they come a little later.
            self.stage.pause(RECEIPTS);
            let bytes = self.stage.bytes_count() - before;
            self.outcome.steady.bytes += bytes;
            self.outcome.steady.messages += messages;
        }
        self.show("", "everything has arrived, once, in one order");
        Ok(())
    }

    // Small things.

    fn typing(&mut self, who: &str) -> Result<(), Failure> {
        let mark = self.stage.mark();
        let (conversation, others) = self.where_and_whom(who)?;
        self.stage.command_in(who, &conversation, "/typing")?;
        for other in others {
            self.stage.wait_line(&other, mark, "that somebody is typing", |line| line["type"] == "typing")?;
            self.show(&other, &format!("sees that {who} is typing"));
        }
        Ok(())
    }

    fn read(&mut self, who: &str) -> Result<(), Failure> {
        let mark = self.stage.mark();
        let (conversation, _) = self.where_and_whom(who)?;
        let history = self.stage.history(who, &conversation)?;
        let last = history["messages"].as_array().and_then(|all| all.iter().rfind(|line| line["ours"] == false));
        let Some(last) = last.cloned() else { return Ok(()) };
        self.stage.command_in(who, &conversation, "/read")?;
        let author = text_of(&last, "sender");
        if self.stage.is_present(&author) {
            let is_it = |line: &Value| line["type"] == "read" && line["message"] == last["message"];
            self.stage.wait_line(&author, mark, "that it was read", is_it)?;
            self.show(&author, &format!("sees ✓✓ that {who} has read it"));
        }
        Ok(())
    }

    fn react(&mut self, who: &str, grapheme: &str) -> Result<(), Failure> {
        let mark = self.stage.mark();
        let (conversation, others) = self.where_and_whom(who)?;
        let history = self.stage.history(who, &conversation)?;
        let last = history["messages"].as_array().and_then(|all| all.iter().rfind(|line| !line["place"].is_null()));
        let Some(place) = last.and_then(|line| line["place"].as_u64()) else { return Ok(()) };
        self.stage.command_in(who, &conversation, &format!("/react {place} {grapheme}"))?;
        for other in others {
            self.stage.wait_line(&other, mark, "the reaction", |line| line["reaction"] == *grapheme)?;
        }
        self.show(who, &format!("reacts with {grapheme}"));
        Ok(())
    }

    fn where_and_whom(&mut self, who: &str) -> Result<(String, Vec<String>), Failure> {
        self.check_present(who)?;
        let (conversation, others) = match self.place(who)? {
            Place::Direct(peer) => (peer.clone(), vec![peer]),
            Place::Group(name) => {
                let others = self.known_group(&name)?.members.iter().filter(|member| *member != who).cloned();
                (name.clone(), others.collect())
            }
        };
        let present = others.into_iter().filter(|other| self.stage.is_present(other)).collect();
        Ok((conversation, present))
    }

    // The end.

    /// Checks what the removed and the new can read, and all histories; then adds everything up.
    pub(crate) fn finish(mut self) -> Result<Outcome, Failure> {
        self.stage.settle()?;
        self.line("\nWhat came of it");
        for (name, group) in std::mem::take(&mut self.groups) {
            self.hand_over(&group)?;
            self.compare(&name, &group)?;
        }
        for (who, place) in self.speaks_in.clone() {
            if let Place::Direct(peer) = place
                && self.stage.is_present(&who)
            {
                self.compare_with(&who, &peer)?;
            }
        }
        for (from, to) in std::mem::take(&mut self.contacts) {
            if self.stage.is_present(&from) {
                let sessions = self.sessions(&from, &to)?;
                self.outcome.sessions.extend(sessions);
            }
        }
        self.outcome.linked_devices = self.linked.len();
        self.stage.close();
        self.stage.hear();
        self.tell();
        self.outcome.table = self.stage.ledger.table();
        self.outcome.bytes_total = self.stage.bytes_count();
        self.outcome.duration = self.begun_at.elapsed();
        Ok(self.outcome)
    }

    /// Plays the dishonest relay: hands those who were removed every entry that followed, as it was on the wire.
    fn hand_over(&mut self, group: &Group) -> Result<(), Failure> {
        let entries = self.entries_of(&group.id, &group.members)?;
        for (who, before) in &group.removed {
            let proxy = self.stage.proxy(who)?;
            for frame in &entries[(*before).min(entries.len())..] {
                if proxy.inject(frame) {
                    self.outcome.removed_member_handed += 1;
                }
            }
            self.show(who, &format!("is handed {} later entries by a dishonest relay", entries.len() - before));
        }
        self.stage.pause(Duration::from_millis(500));
        Ok(())
    }

    /// The frames with entries of a log, one entry each, that a member's connection carried.
    fn entries_of(&mut self, log: &str, members: &BTreeSet<String>) -> Result<Vec<Vec<u8>>, Failure> {
        let mut found = BTreeMap::new();
        for who in members {
            for message in self.stage.proxy(who)?.recording().to_client {
                let Ok(RelayFrame::Entries { log: of, entries }) = RelayFrame::decode(&message) else { continue };
                if of.to_string() == log {
                    for entry in entries {
                        let seq = entry.seq;
                        found.insert(seq, RelayFrame::Entries { log: of, entries: vec![entry] }.encode());
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn compare(&mut self, name: &str, group: &Group) -> Result<(), Failure> {
        for who in &group.ever {
            if !self.stage.is_present(who) {
                continue;
            }
            let history = self.stage.history(who, name)?;
            let messages = history["messages"].as_array().cloned().unwrap_or_default();
            self.stage.ledger.compare_history(who, &messages);
            let seen = self.stage.heard.iter().filter(|line| line.who == *who);
            let told = seen.filter_map(|line| line.value.as_ref()?["text"].as_str());
            let listed = messages.iter().filter_map(|line| line["text"].as_str());
            let has: BTreeSet<&str> = told.chain(listed).collect();
            let foreign =
                group.said.iter().filter(|(text, members)| !members.contains(who) && has.contains(text.as_str()));
            let count = foreign.count();
            if group.removed.contains_key(who) {
                self.outcome.removed_member_read += count;
            } else {
                self.outcome.new_member_read_earlier += count;
            }
        }
        Ok(())
    }

    /// How far the post-quantum ratchets are under which somebody sends to the devices of another.
    fn sessions(&mut self, who: &str, peer: &str) -> Result<Vec<HealingState>, Failure> {
        let reply = self.stage.command(who, &format!("/devices {peer}"))?;
        let devices = reply["devices"].as_array().cloned().unwrap_or_default();
        let of = |device: &Value| {
            let number = |key: &str| device["session"][key].as_u64();
            Some(HealingState { epoch: number("pq_epoch")?, messages_since: number("messages_since_pq_heal")? })
        };
        Ok(devices.iter().filter_map(of).collect())
    }

    fn compare_with(&mut self, who: &str, peer: &str) -> Result<(), Failure> {
        let history = self.stage.history(who, peer)?;
        let messages = history["messages"].as_array().cloned().unwrap_or_default();
        self.stage.ledger.compare_history(who, &messages);
        Ok(())
    }

    // Showing.

    fn show(&mut self, who: &str, text: &str) {
        self.line(&format!("  {who:>13}  {text}"));
    }

    fn line(&self, line: &str) {
        if self.is_quiet {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// Shows what was heard besides: what cannot be read, and what went wrong.
    fn tell(&mut self) {
        self.stage.hear();
        let heard = self.stage.heard[self.told..].to_vec();
        self.told += heard.len();
        for line in heard {
            let Some(value) = line.value else { continue };
            let what = match value["type"].as_str() {
                Some("undecryptable") => format!("cannot read entry {}: {}", value["place"], value["reason"]),
                Some("suspicion") => format!("suspects the relay: {}", value["suspicion"]),
                Some("gap") => format!("misses {} messages", value["missing"]),
                Some("failed") => format!("cannot: {}", value["failure"]),
                Some("error") => format!("error: {}", value["text"]),
                _ => continue,
            };
            self.show(&line.who, &what);
        }
    }
}

/// How long receipts may take behind the last message of a burst.
const RECEIPTS: Duration = Duration::from_millis(1_500);

fn text_of(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}
