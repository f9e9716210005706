//! One run of the chat: commands on one side, notices on the other.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use undertone::Error;
use undertone::content::{Content, TypingState};
use undertone::conversation::{ConversationId, Message};
use undertone::crypto::CryptoRng;
use undertone::engine::{Client, Event, EventId, Signal};
use undertone::identity::linking::Offer;
use undertone::identity::{AccountId, Device, DeviceId, Invitation, Role};
use undertone::time::UnixMs;
use undertone_net::{DriverError, Handle, Notice};
use undertone_sqlcipher::SqlCipherStore;

use super::Voice;
use super::book::{Book, is_beginning, named, one};
use super::command::Command;
use super::json::now_us;
use super::saying::{DeviceLine, Fault, Happened, Line, Listed, Passing, Reply, Saying};

type Engine = Client<SqlCipherStore>;

/// One run of the chat.
pub(crate) struct Session {
    handle: Handle<SqlCipherStore>,
    voice: Voice,
    own: AccountId,
    book: Book,
    current: Option<ConversationId>,
    is_online: bool,
}

impl Session {
    pub(crate) async fn new(handle: Handle<SqlCipherStore>, voice: Voice, own: AccountId) -> Self {
        let mut session = Self { handle, voice, own, book: Book::default(), current: None, is_online: false };
        session.refresh().await;
        session.current = session.book.conversations().first().map(|conversation| conversation.id);
        session
    }

    /// Serves both sides until one ends.
    pub(crate) async fn run(&mut self, mut lines: mpsc::Receiver<String>, mut notices: mpsc::Receiver<Notice>) {
        let mut told = tokio::spawn(told_to_end());
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => if self.obey(&line).await { break },
                    None => break,
                },
                notice = notices.recv() => match notice {
                    Some(notice) => self.take(notice, &mut notices).await,
                    None => break self.voice.say(&Saying::Trouble { command: None, fault: Fault::stopped() }),
                },
                _ = &mut told => break,
            }
            self.voice.flush();
            if self.voice.is_cut() {
                break;
            }
        }
        self.linger(&mut notices).await;
    }

    /// Stops the client.
    pub(crate) async fn end(mut self) -> Result<(), DriverError> {
        let unsent_count = self.unsent_count().await;
        let result = self.handle.stop().await;
        self.voice.say(&Saying::Bye { unsent_count });
        self.voice.flush();
        result
    }

    /// Lets the relay take what was written last, if it is there.
    async fn linger(&mut self, notices: &mut mpsc::Receiver<Notice>) {
        let until = Instant::now() + LINGER;
        while self.is_online && Instant::now() < until && self.unsent_count().await > 0 {
            let until = until.min(Instant::now() + Duration::from_millis(100));
            if let Ok(Some(notice)) = timeout_at(until, notices.recv()).await {
                self.take(notice, notices).await;
                self.voice.flush();
            }
        }
    }

    async fn unsent_count(&mut self) -> usize {
        self.refresh().await;
        self.book.conversations().iter().map(|conversation| conversation.unsent_count).sum()
    }

    // Commands.

    /// Carries out one line. Whether it was the last.
    async fn obey(&mut self, line: &str) -> bool {
        let command = match Command::parse(line) {
            Ok(Some(command)) => command,
            Ok(None) => return false,
            Err(error) => {
                let fault = Fault::usage(error.to_string());
                self.voice.say(&Saying::Trouble { command: None, fault });
                return false;
            }
        };
        let name = command.name();
        let is_last = command == Command::Quit;
        match self.carry_out(command).await {
            Ok(reply) => self.voice.say(&Saying::Reply { command: name, reply }),
            Err(fault) => self.voice.say(&Saying::Trouble { command: Some(name), fault }),
        }
        is_last
    }

    async fn carry_out(&mut self, command: Command) -> Result<Reply, Fault> {
        match command {
            Command::Send(text) => self.send(move |_, rng| Ok(Content::text(&text, rng)?)).await,
            Command::React { place, grapheme } => {
                let target = self.message_at(place).await?.id;
                self.send(move |_, rng| Ok(Content::reaction(target, &grapheme, rng)?)).await
            }
            Command::Me => {
                let me = |client: &mut Engine| (client.name().to_owned(), client.account(), client.device());
                let (name, account, device) = self.call(move |client, _, _| Ok(me(client))).await?;
                Ok(Reply::Me { name, account, device })
            }
            Command::Invite => {
                let invitation = self.call(|client, _, _| client.invitation()).await?;
                Ok(Reply::Invitation(invitation.to_string()))
            }
            Command::Add(text) => {
                let invitation: Invitation = text.parse().map_err(Fault::from)?;
                let id = self.call(move |client, now, rng| client.add_contact(&invitation, now, rng)).await?;
                self.refresh().await;
                self.enter(id).await
            }
            Command::Safety(who) => {
                let account = self.book.account(&who)?;
                let safety =
                    move |client: &Engine| Ok((client.safety_number(&account)?, client.verification(&account)?));
                let (number, verification) = self.call(move |client, _, _| safety(client)).await?;
                Ok(Reply::Safety { who, number, verification })
            }
            Command::Verify(who) => {
                let account = self.book.account(&who)?;
                self.done(move |client, now, rng| client.verify(&account, now, rng)).await
            }
            Command::Accept(who) => {
                let account = self.book.account(&who)?;
                self.done(move |client, now, rng| client.accept_keys(&account, now, rng)).await
            }
            Command::List => {
                self.refresh().await;
                Ok(Reply::Conversations(self.listed()))
            }
            Command::To(whom) => {
                let id = self.book.conversation(&whom)?;
                self.enter(id).await
            }
            Command::Group { name, members } => {
                let members = self.book.accounts(&members)?;
                let id = self.call(move |client, now, rng| client.create_group(&name, &members, now, rng)).await?;
                self.refresh().await;
                self.enter(id).await
            }
            Command::InviteTo { group, members } => {
                let id = self.book.conversation(&group)?;
                let members = self.book.accounts(&members)?;
                self.done(move |client, now, rng| client.add_members(&id, &members, now, rng)).await
            }
            Command::Kick(members) => {
                let (id, members) = (self.here()?, self.book.accounts(&members)?);
                self.done(move |client, now, rng| client.remove_members(&id, &members, now, rng)).await
            }
            Command::Leave => {
                let id = self.here()?;
                self.done(move |client, now, rng| client.leave_group(&id, now, rng)).await
            }
            Command::Rename(name) => {
                let id = self.here()?;
                self.done(move |client, now, rng| client.rename_group(&id, &name, now, rng)).await
            }
            Command::History(count) => {
                let id = self.here()?;
                let messages = self.call(move |client, _, _| client.history(&id, None, count)).await?;
                let messages = messages.iter().map(|message| self.line(message)).collect();
                Ok(Reply::History { of: self.book.named(&id), messages })
            }
            Command::Typing => {
                let id = self.here()?;
                self.done(move |client, now, rng| client.typing(&id, TypingState::Typing, now, rng)).await
            }
            Command::Read => {
                let id = self.here()?;
                self.mark_read(id).await?;
                Ok(Reply::Done)
            }
            Command::Link { offer, is_primary } => {
                let offer: Offer = offer.parse().map_err(Fault::from)?;
                let role = if is_primary { Role::Primary } else { Role::Linked };
                self.done(move |client, now, rng| client.link_device(&offer, role, now, rng)).await
            }
            Command::ConfirmLink => self.done(|client, now, rng| client.confirm_link(now, rng)).await,
            Command::CancelLink => self.done(|client, now, rng| client.cancel_link(now, rng)).await,
            Command::Devices(who) => {
                let account = who.map_or(Ok(self.own), |who| self.book.account(&who))?;
                let devices = move |client: &Engine| {
                    let line =
                        |device: &Device| Ok(DeviceLine::new(device, &client.device(), client.session(&device.id())?));
                    client.devices(&account)?.iter().map(line).collect()
                };
                Ok(Reply::Devices(self.call(move |client, _, _| devices(client)).await?))
            }
            Command::RemoveDevice(text) => {
                let device = self.own_device(&text).await?;
                self.done(move |client, now, rng| client.remove_device(&device, now, rng)).await
            }
            Command::SendHistory(text) => {
                let device = self.own_device(&text).await?;
                self.done(move |client, now, rng| client.send_history(&device, now, rng)).await
            }
            Command::CancelHistory(text) => {
                let device = self.own_device(&text).await?;
                self.done(move |client, now, rng| client.cancel_history(&device, now, rng)).await
            }
            Command::Help => Ok(Reply::Help),
            Command::Quit => Ok(Reply::Done),
        }
    }

    /// The device of ours that a text names.
    async fn own_device(&self, text: &str) -> Result<DeviceId, Fault> {
        let own = self.own;
        let devices = self.call(move |client, _, _| client.devices(&own)).await?;
        let id = text.strip_prefix('#').unwrap_or(text);
        let meant = devices.iter().map(Device::id);
        one(text, meant.filter(|device| is_beginning(id, &device.to_string())))
    }

    /// Sends what `make` makes to the current conversation.
    async fn send<F>(&mut self, make: F) -> Result<Reply, Fault>
    where
        F: FnOnce(UnixMs, &mut dyn CryptoRng) -> Result<Content, Fault> + Send + 'static,
    {
        let id = self.here()?;
        let at_us = now_us();
        let sent = self.handle.call(move |client, now, rng| {
            let content = make(now, rng)?;
            client.send(&id, &content, now, rng).map_err(Fault::from)
        });
        let local = sent.await.map_err(|_| Fault::stopped())??;
        Ok(Reply::Queued { local: local.as_u64(), at_us, to: self.book.named(&id) })
    }

    async fn call<R, F>(&self, run: F) -> Result<R, Fault>
    where
        R: Send + 'static,
        F: FnOnce(&mut Engine, UnixMs, &mut dyn CryptoRng) -> Result<R, Error> + Send + 'static,
    {
        Ok(self.handle.call(run).await.map_err(|_| Fault::stopped())??)
    }

    async fn done<F>(&self, run: F) -> Result<Reply, Fault>
    where
        F: FnOnce(&mut Engine, UnixMs, &mut dyn CryptoRng) -> Result<(), Error> + Send + 'static,
    {
        self.call(run).await.map(|()| Reply::Done)
    }

    fn here(&self) -> Result<ConversationId, Fault> {
        self.current.ok_or_else(Fault::nowhere)
    }

    /// Makes a conversation the current one.
    async fn enter(&mut self, id: ConversationId) -> Result<Reply, Fault> {
        self.current = Some(id);
        if !self.voice.is_json() {
            self.mark_read(id).await?;
        }
        Ok(Reply::Current(self.book.named(&id)))
    }

    /// Says that everything in a conversation has been read, if there is anything of others in it.
    async fn mark_read(&self, id: ConversationId) -> Result<(), Fault> {
        let own = self.own;
        self.call(move |client, now, rng| {
            let last = find(client, &id, |message| message.account != own && message.place.is_some())?;
            match last {
                Some(message) => client.mark_read(&id, &message.id, now, rng),
                None => Ok(()),
            }
        })
        .await
    }

    async fn message_at(&self, place: u64) -> Result<Message, Fault> {
        let id = self.here()?;
        let at = move |message: &Message| message.place.is_some_and(|at| at.as_u64() == place);
        let found = self.call(move |client, _, _| find(client, &id, at)).await?;
        found.ok_or_else(|| Fault::no_message(place))
    }

    fn listed(&self) -> Vec<Listed> {
        let listed = |conversation: &undertone::conversation::Conversation| Listed {
            named: named(conversation),
            state: conversation.state,
            members: conversation.members.iter().map(|member| self.book.name(&member.account)).collect(),
            unsent_count: conversation.unsent_count,
            is_current: self.current == Some(conversation.id),
        };
        self.book.conversations().iter().map(listed).collect()
    }

    /// Learns names and conversations anew.
    async fn refresh(&mut self) {
        // If the client has stopped, the next call says so.
        if let Ok(conversations) = self.call(|client, _, _| client.conversations()).await {
            self.book = Book::new(conversations);
        }
    }

    // Notices.

    /// Tells a notice and all that wait behind it, then lets the client forget them.
    async fn take(&mut self, first: Notice, notices: &mut mpsc::Receiver<Notice>) {
        let mut taken = None;
        let mut is_read = false;
        let mut next = Some(first);
        let mut count = 0;
        while let Some(notice) = next {
            match notice {
                Notice::Event(id, event) => {
                    is_read |= self.is_for_our_eyes(&event);
                    self.tell(id, event).await;
                    taken = Some(id);
                }
                Notice::Signal(signal) => self.pass_on(signal).await,
            }
            count += 1;
            next = if count < TAKEN_COUNT_MAX { notices.try_recv().ok() } else { None };
        }
        self.voice.flush();
        if self.voice.is_cut() {
            return;
        }
        if let Some(through) = taken {
            // If the client has stopped, it tells them again.
            let _ = self.call(move |client, now, rng| client.events_done(through, now, rng)).await;
        }
        if is_read && let Some(id) = self.current {
            let _ = self.mark_read(id).await;
        }
    }

    /// Whether a person has just read it.
    fn is_for_our_eyes(&self, event: &Event) -> bool {
        matches!(event, Event::Message(message) if Some(message.conversation) == self.current && !self.voice.is_json())
    }

    async fn tell(&mut self, id: EventId, event: Event) {
        let changes_names = matches!(
            event,
            Event::Contact { .. } | Event::Ready { .. } | Event::GroupChanged { .. } | Event::Removed { .. }
        );
        let is_known = conversation_of(&event).is_none_or(|conversation| self.book.knows(&conversation));
        if changes_names || !is_known {
            self.refresh().await;
        }
        if self.current.is_none() {
            self.current = conversation_of(&event);
        }
        let happened = self.happened(event);
        self.voice.say(&Saying::Event { number: id.as_u64(), happened });
    }

    fn happened(&self, event: Event) -> Happened {
        let book = &self.book;
        let names = |accounts: &[AccountId]| accounts.iter().map(|account| book.name(account)).collect();
        match event {
            Event::Contact { name, conversation, .. } => {
                Happened::Contact { name, conversation: book.named(&conversation) }
            }
            Event::Ready { conversation } => Happened::Ready { conversation: book.named(&conversation) },
            Event::Message(message) => {
                Happened::Message { conversation: book.named(&message.conversation), line: self.line(&message) }
            }
            Event::Sent { conversation, message, local, place } => Happened::Sent {
                conversation: book.named(&conversation),
                message: message.to_string(),
                local: local.as_u64(),
                place: place.as_u64(),
            },
            Event::Delivered { conversation, by, through } => Happened::Delivered {
                conversation: book.named(&conversation),
                by: book.name(&by),
                through: through.as_u64(),
            },
            Event::Read { conversation, message, by } => Happened::Read {
                conversation: book.named(&conversation),
                by: book.name(&by),
                message: message.to_string(),
            },
            Event::GroupChanged { conversation, by, added, removed, name } => Happened::GroupChanged {
                conversation: book.named(&conversation),
                by: book.name(&by),
                added: names(&added),
                removed: names(&removed),
                name,
            },
            Event::Removed { conversation, by } => Happened::Removed {
                conversation: book.named(&conversation),
                by: book.name(&by),
                is_own_will: by == self.own,
            },
            Event::Undecryptable { conversation, place, reason } => {
                Happened::Undecryptable { conversation: book.named(&conversation), place: place.as_u64(), reason }
            }
            Event::Gap { conversation, from, to, .. } => Happened::Gap {
                conversation: book.named(&conversation),
                count: to.as_u64().saturating_sub(from.as_u64()).saturating_add(1),
            },
            Event::Suspicion { conversation, place, suspicion } => {
                Happened::Suspicion { conversation: book.named(&conversation), place: place.as_u64(), suspicion }
            }
            Event::Failed { conversation, account, failure } => Happened::Failed {
                conversation: book.named(&conversation),
                who: account.map(|account| book.name(&account)),
                failure,
            },
            Event::SendingHeld { account, because } => Happened::Held { of: self.name_of_other(&account), because },
            Event::DeviceLinked { account, device } => {
                Happened::Devices { of: self.name_of_other(&account), device: device.to_string(), is_added: true }
            }
            Event::DeviceRemoved { account, device } => {
                Happened::Devices { of: self.name_of_other(&account), device: device.to_string(), is_added: false }
            }
            Event::HistorySent { to, count } => Happened::HistorySent { device: to.to_string(), count },
            Event::HistoryComplete { from, count } => Happened::HistoryComplete { device: from.to_string(), count },
            Event::HistoryFailed { with, because } => Happened::HistoryFailed { device: with.to_string(), because },
            _ => Happened::Other,
        }
    }

    /// The name of an account that is not ours.
    fn name_of_other(&self, account: &AccountId) -> Option<String> {
        (*account != self.own).then(|| self.book.name(account))
    }

    async fn pass_on(&mut self, signal: Signal) {
        let passing = match signal {
            Signal::Online => {
                self.is_online = true;
                Passing::Online
            }
            Signal::CaughtUp => Passing::CaughtUp,
            Signal::Offline => {
                self.is_online = false;
                Passing::Offline
            }
            Signal::RelayChanged => Passing::RelayChanged,
            Signal::Typing { conversation, account, state } => {
                if !self.book.knows(&conversation) {
                    self.refresh().await;
                }
                Passing::Typing {
                    conversation: self.book.named(&conversation),
                    who: self.book.name(&account),
                    is_typing: state != TypingState::Stopped,
                }
            }
            Signal::HistoryProgress { with, done, total } => {
                // Conversations may have come, and with the first of them one to be in.
                self.refresh().await;
                let first = self.book.conversations().first().map(|conversation| conversation.id);
                self.current = self.current.or(first);
                Passing::HistoryProgress { device: with.to_string(), done, total }
            }
            signal => match Passing::of_linking(signal) {
                Some(passing) => passing,
                None => return,
            },
        };
        self.voice.say(&Saying::Passing(passing));
    }

    fn line(&self, message: &Message) -> Line {
        Line::new(message, self.book.name(&message.account), self.own)
    }
}

/// The latest message for which `is_it` holds, among the last of a conversation.
fn find(client: &Engine, id: &ConversationId, is_it: impl Fn(&Message) -> bool) -> Result<Option<Message>, Error> {
    let mut before: Option<Message> = None;
    for _ in 0..PAGES_MAX {
        let mut page = client.history(id, before.as_ref(), PAGE_LEN)?;
        if let Some(at) = page.iter().rposition(&is_it) {
            return Ok(Some(page.swap_remove(at)));
        }
        if page.len() < PAGE_LEN {
            return Ok(None);
        }
        before = page.into_iter().next();
    }
    Ok(None)
}

fn conversation_of(event: &Event) -> Option<ConversationId> {
    match event {
        Event::Contact { conversation, .. }
        | Event::Ready { conversation }
        | Event::Sent { conversation, .. }
        | Event::Delivered { conversation, .. }
        | Event::Read { conversation, .. }
        | Event::GroupChanged { conversation, .. }
        | Event::Removed { conversation, .. }
        | Event::Undecryptable { conversation, .. }
        | Event::Gap { conversation, .. }
        | Event::Suspicion { conversation, .. }
        | Event::Failed { conversation, .. } => Some(*conversation),
        Event::Message(message) => Some(message.conversation),
        _ => None,
    }
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// How long an end waits for what is not sent yet.
const LINGER: Duration = Duration::from_secs(3);
/// Notices that are told before the client may forget them.
const TAKEN_COUNT_MAX: usize = 256;
/// Messages of one page of a search.
const PAGE_LEN: usize = 64;
/// Pages of a search.
const PAGES_MAX: usize = 64;
