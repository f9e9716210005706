//! The stage: a relay and its clients as processes, a proxy before each client, and the ledger of what was said and seen.
//! The demonstration plays on it, and so do the tests.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::child::{Chat, Identity, Line, Relay};
use super::ledger::Ledger;
use super::proxy::Proxy;
use crate::args::Failure;

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs, and everything that was heard.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    dir: PathBuf,
    relay: Option<Relay>,
    relay_address: Option<SocketAddr>,
    actors: BTreeMap<String, Actor>,
    sender: mpsc::Sender<Line>,
    receiver: mpsc::Receiver<Line>,
    /// Every line, in the order in which it came.
    pub heard: Vec<Line>,
    /// What it adds up to.
    pub ledger: Ledger,
}

/// A client that has been on stage.
#[derive(Debug)]
struct Actor {
    chat: Option<Chat>,
    proxy: Proxy,
    /// Commands without an answer, oldest first: what was to be said, or nothing.
    pending: VecDeque<Option<Said>>,
    /// What a killed process left without an answer.
    unanswered: Vec<Said>,
    /// In which conversation it speaks.
    current: String,
    identity: Identity,
}

/// What was to be said, and where.
#[derive(Clone, Debug)]
struct Said {
    conversation: String,
    text: String,
}

impl Stage {
    /// An empty stage. `program` is `undertone`; everything is kept in `dir`.
    pub fn new(program: &Path, dir: &Path) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            relay: None,
            relay_address: None,
            actors: BTreeMap::new(),
            sender,
            receiver,
            heard: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// Where the relay keeps its data.
    pub fn relay_data(&self) -> PathBuf {
        self.dir.join("relay")
    }

    /// Where the relay logs.
    pub fn relay_log(&self) -> PathBuf {
        self.dir.join("relay.log")
    }

    /// Where a client lives.
    pub fn home(&self, who: &str) -> PathBuf {
        self.dir.join(who)
    }

    /// The proxy before a client; made when it is first asked for.
    ///
    /// # Errors
    /// [`Failure::System`] if there is no port for it.
    pub fn proxy(&mut self, who: &str) -> Result<Proxy, Failure> {
        Ok(self.actor(who)?.proxy.clone())
    }

    fn actor(&mut self, who: &str) -> Result<&mut Actor, Failure> {
        if !self.actors.contains_key(who) {
            let proxy = Proxy::start().map_err(Failure::System)?;
            if let Some(address) = self.relay_address {
                proxy.lead_to(address);
            }
            let (pending, unanswered) = (VecDeque::new(), Vec::new());
            let (current, identity) = (String::new(), Identity::Own);
            let actor = Actor { chat: None, proxy, pending, unanswered, current, identity };
            self.actors.insert(who.to_owned(), actor);
        }
        self.actors.get_mut(who).ok_or(Failure::Broken { why: format!("{who} is not on stage") })
    }

    /// The bytes on all connections so far, both ways.
    pub fn bytes_count(&self) -> u64 {
        self.actors.values().map(|actor| actor.proxy.bytes_count()).sum()
    }

    // The relay.

    /// Starts the relay, on the data that it left if it ran before.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn start_relay(&mut self) -> Result<u32, Failure> {
        let relay = Relay::start(&self.program, &self.relay_data(), &self.relay_log())?;
        self.relay_address = Some(relay.address());
        for actor in self.actors.values() {
            actor.proxy.lead_to(relay.address());
        }
        let process_id = relay.process_id();
        self.relay = Some(relay);
        Ok(process_id)
    }

    /// Whether the relay runs.
    pub fn has_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// Kills the relay (SIGKILL).
    pub fn kill_relay(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.away(|_| true);
            relay.kill();
        }
    }

    /// Ends the relay cleanly.
    pub fn stop_relay(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.away(|_| true);
            relay.stop();
        }
    }

    fn away(&mut self, who: impl Fn(&str) -> bool) {
        let at_us = now_us();
        for (name, actor) in &self.actors {
            if actor.chat.is_some() && who(name) {
                self.ledger.begin_outage(name, at_us);
            }
        }
    }

    // The clients.

    /// Starts a client, and waits until it says hello. With a relay, also until it has caught up.
    ///
    /// # Errors
    /// [`Failure`] if it does not come.
    pub fn start(&mut self, who: &str) -> Result<u32, Failure> {
        let (program, home, sender) = (self.program.clone(), self.home(who), self.sender.clone());
        let from = self.mark();
        // Until it has caught up it is away.
        self.ledger.begin_outage(who, now_us());
        let actor = self.actor(who)?;
        let chat = Chat::start(&program, who, actor.identity, &home, &actor.proxy.url(), sender)?;
        let process_id = chat.process_id();
        actor.chat = Some(chat);
        actor.current.clear();
        self.wait_line(who, from, "hello", |line| line["type"] == "hello")?;
        if self.has_relay() {
            self.wait_line(who, from, "caught_up", |line| line["type"] == "caught_up")?;
            self.answer_for_the_killed(who)?;
        }
        Ok(process_id)
    }

    /// Starts a client without waiting for anything.
    ///
    /// # Errors
    /// [`Failure`] if the process does not start.
    pub fn start_at_once(&mut self, who: &str) -> Result<(), Failure> {
        let (program, home, sender) = (self.program.clone(), self.home(who), self.sender.clone());
        self.ledger.begin_outage(who, now_us());
        let actor = self.actor(who)?;
        actor.current.clear();
        actor.chat = Some(Chat::start(&program, who, actor.identity, &home, &actor.proxy.url(), sender)?);
        Ok(())
    }

    /// Starts a client without an account, has `of` link it, and waits until it has caught up. Yields its process and the
    /// digits that both showed.
    ///
    /// # Errors
    /// [`Failure`] if it does not come so far, or the digits differ.
    pub fn link(&mut self, of: &str, device: &str) -> Result<(u32, String), Failure> {
        let (program, home, sender) = (self.program.clone(), self.home(device), self.sender.clone());
        let from = self.mark();
        self.ledger.begin_outage(device, now_us());
        let actor = self.actor(device)?;
        let chat = Chat::start(&program, device, Identity::Linked, &home, &actor.proxy.url(), sender)?;
        let process_id = chat.process_id();
        actor.chat = Some(chat);
        actor.identity = Identity::There;
        let offer = self.wait_line(device, from, "its offer", |line| line["type"] == "link_offer")?;
        self.command(of, &format!("/link {}", offer["offer"].as_str().unwrap_or_default()))?;
        let mut digits = |who| {
            let line = self.wait_line(who, from, "the digits", |line| line["type"] == "link_code")?;
            Ok(line["code"].as_str().unwrap_or_default().to_owned())
        };
        let (ours, theirs) = (digits(of)?, digits(device)?);
        if ours != theirs {
            return Err(Failure::Broken { why: format!("{of} shows {ours}, {device} shows {theirs}") });
        }
        self.command(device, "/confirm-link")?;
        self.command(of, "/confirm-link")?;
        self.wait_line(device, from, "hello", |line| line["type"] == "hello")?;
        self.wait_line(device, from, "caught_up", |line| line["type"] == "caught_up")?;
        Ok((process_id, ours))
    }

    /// Whether a client runs.
    pub fn is_present(&self, who: &str) -> bool {
        self.actors.get(who).is_some_and(|actor| actor.chat.is_some())
    }

    /// Kills a client (SIGKILL). What it had not answered is looked up in its history when it comes back, and said again
    /// if it is not there.
    pub fn kill(&mut self, who: &str) {
        self.end(who, Chat::kill);
    }

    /// Ends the input of a client, and waits for its end.
    pub fn stop(&mut self, who: &str) {
        self.end(who, Chat::stop);
    }

    fn end(&mut self, who: &str, how: impl FnOnce(Chat)) {
        self.away(|name| name == who);
        let Some(chat) = self.actors.get_mut(who).and_then(|actor| actor.chat.take()) else { return };
        how(chat);
        // What it said before its end counts.
        self.hear_until_end(who);
        if let Some(actor) = self.actors.get_mut(who) {
            actor.unanswered.extend(actor.pending.drain(..).flatten());
        }
    }

    fn hear_until_end(&mut self, who: &str) {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let is_end = line.who == who && line.value.is_none();
            self.take(line);
            if is_end {
                return;
            }
        }
    }

    /// Settles what a killed client did not answer: a text that its history has was acknowledged on disk; another is said
    /// again, as a person would.
    ///
    /// # Errors
    /// [`Failure`] if it does not answer.
    pub fn answer_for_the_killed(&mut self, who: &str) -> Result<(), Failure> {
        let unanswered = std::mem::take(&mut self.actor(who)?.unanswered);
        for Said { conversation, text } in unanswered {
            let reply = self.history(who, &conversation)?;
            let found = reply["messages"].as_array().is_some_and(|all| all.iter().any(|line| line["text"] == *text));
            if found {
                let id = reply["conversation"].as_str().unwrap_or_default();
                self.ledger.find_later(&text, id);
            } else {
                self.post(who, &conversation, &text)?;
            }
        }
        Ok(())
    }

    // Talking.

    /// Has `who` say `text` in a conversation, meant for others, and does not wait.
    ///
    /// # Errors
    /// [`Failure`] if `who` is not on stage.
    pub fn say(&mut self, who: &str, conversation: &str, text: &str, meant_for: &[String]) -> Result<(), Failure> {
        self.ledger.intend(who, text, meant_for.iter().cloned());
        self.post(who, conversation, text)
    }

    fn post(&mut self, who: &str, conversation: &str, text: &str) -> Result<(), Failure> {
        self.turn_to(who, conversation)?;
        self.write(who, text, Some(Said { conversation: conversation.to_owned(), text: text.to_owned() }))
    }

    fn turn_to(&mut self, who: &str, conversation: &str) -> Result<(), Failure> {
        if self.actor(who)?.current != conversation {
            self.write(who, &format!("/to {conversation}"), None)?;
            self.actor(who)?.current = conversation.to_owned();
        }
        Ok(())
    }

    fn write(&mut self, who: &str, line: &str, said: Option<Said>) -> Result<(), Failure> {
        let actor = self.actor(who)?;
        actor.pending.push_back(said);
        match &mut actor.chat {
            Some(chat) => {
                // If it is just dying, its end is noticed there.
                chat.say(line);
                Ok(())
            }
            None => Err(Failure::Broken { why: format!("{who} is not on stage") }),
        }
    }

    /// Gives a command, and waits for its reply.
    ///
    /// # Errors
    /// [`Failure::Broken`] if there is none, or an error.
    pub fn command(&mut self, who: &str, line: &str) -> Result<Value, Failure> {
        self.settle_commands(who)?;
        let from = self.mark();
        self.write(who, line, None)?;
        let is_answer = |line: &Value| line["type"] == "reply" || line["type"] == "error";
        let answer = self.wait_line(who, from, line, is_answer)?;
        if answer["type"] == "error" {
            let why = format!("{who}: {line}: {}", answer["text"].as_str().unwrap_or("an error"));
            return Err(Failure::Broken { why });
        }
        if let ["/group" | "/add", ..] = line.split(' ').collect::<Vec<_>>()[..] {
            self.actor(who)?.current = answer["name"].as_str().unwrap_or_default().to_owned();
        }
        Ok(answer)
    }

    /// Gives a command in a conversation, and waits for its reply.
    ///
    /// # Errors
    /// As [`Stage::command`].
    pub fn command_in(&mut self, who: &str, conversation: &str, line: &str) -> Result<Value, Failure> {
        self.turn_to(who, conversation)?;
        self.command(who, line)
    }

    /// The whole history of a conversation.
    ///
    /// # Errors
    /// As [`Stage::command`].
    pub fn history(&mut self, who: &str, conversation: &str) -> Result<Value, Failure> {
        self.command_in(who, conversation, "/history 100000")
    }

    /// Waits until every command of a client is answered.
    ///
    /// # Errors
    /// [`Failure::Broken`] after [`PATIENCE`].
    pub fn settle_commands(&mut self, who: &str) -> Result<(), Failure> {
        self.wait(&format!("answers of {who}"), |stage| {
            stage.actors.get(who).is_none_or(|actor| actor.pending.is_empty())
        })
    }

    /// Waits until every command is answered and every text shown by everybody present whom it is meant for.
    ///
    /// # Errors
    /// [`Failure::Broken`] after [`PATIENCE`].
    pub fn settle(&mut self) -> Result<(), Failure> {
        let result = self.wait("everything to arrive", |stage| {
            let answered = stage.actors.values().all(|actor| actor.chat.is_none() || actor.pending.is_empty());
            answered && stage.ledger.is_settled(|who| stage.is_present(who))
        });
        result.map_err(|failure| match self.ledger.missing().first() {
            Some((who, text)) => {
                let count = self.ledger.missing().len();
                Failure::Broken { why: format!("{failure}: {count} are missing, the first is {text:?} at {who}") }
            }
            None => failure,
        })
    }

    // Hearing.

    /// A point in what was heard.
    pub fn mark(&self) -> usize {
        self.heard.len()
    }

    /// Waits for a line of `who` behind `from`; yields it.
    ///
    /// # Errors
    /// [`Failure::Broken`] if it does not come within [`PATIENCE`].
    pub fn wait_line(
        &mut self,
        who: &str,
        from: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let mut found = None;
        let mut at = from;
        self.wait(&format!("{who} to say {what}"), |stage| {
            while found.is_none() && at < stage.heard.len() {
                let line = &stage.heard[at];
                found = line.value.as_ref().filter(|value| line.who == who && is_it(value)).cloned();
                at += 1;
            }
            found.is_some()
        })?;
        found.ok_or(Failure::Broken { why: format!("{who} did not say {what}") })
    }

    /// Hears until `is_done`.
    ///
    /// # Errors
    /// [`Failure::Broken`] after [`PATIENCE`].
    pub fn wait(&mut self, what: &str, mut is_done: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.hear();
            if is_done(self) {
                return Ok(());
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Failure::Broken { why: format!("waited {} s for {what}", PATIENCE.as_secs()) });
            }
            if let Ok(line) = self.receiver.recv_timeout(rest.min(Duration::from_millis(50))) {
                self.take(line);
            }
        }
    }

    /// Hears for a while.
    pub fn pause(&mut self, duration: Duration) {
        let until = Instant::now() + duration;
        while let Ok(line) = self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.take(line);
        }
    }

    /// Takes what has been said meanwhile.
    pub fn hear(&mut self) {
        while let Ok(line) = self.receiver.try_recv() {
            self.take(line);
        }
    }

    fn take(&mut self, line: Line) {
        if let (Some(value), Some(actor)) = (&line.value, self.actors.get_mut(&line.who)) {
            if value["type"] == "reply" || value["type"] == "error" {
                match actor.pending.pop_front() {
                    Some(Some(said)) if value["type"] == "reply" => self.ledger.acknowledge(&said.text, value),
                    Some(Some(said)) => self.ledger.refuse(&said.text),
                    _ => {}
                }
            }
            self.ledger.observe(&line.who, value);
        }
        self.heard.push(line);
    }

    /// Ends everything cleanly: first the clients, then the relay.
    pub fn close(&mut self) {
        for who in self.actors.keys().cloned().collect::<Vec<_>>() {
            self.stop(&who);
        }
        self.stop_relay();
    }
}

/// Microseconds since 1970-01-01T00:00Z.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
