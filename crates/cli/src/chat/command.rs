//! What a person, or a program, says to `undertone chat`: one command on each line.

use std::fmt;

/// One line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Text for the current conversation.
    Send(String),
    Me,
    Invite,
    Add(String),
    Safety(String),
    Verify(String),
    Accept(String),
    List,
    To(String),
    Group {
        name: String,
        members: Vec<String>,
    },
    InviteTo {
        group: String,
        members: Vec<String>,
    },
    Kick(Vec<String>),
    Leave,
    Rename(String),
    History(usize),
    Typing,
    React {
        place: u64,
        grapheme: String,
    },
    Read,
    Link {
        offer: String,
        is_primary: bool,
    },
    ConfirmLink,
    CancelLink,
    Devices(Option<String>),
    RemoveDevice(String),
    SendHistory(String),
    CancelHistory(String),
    Help,
    Quit,
}

/// Messages that `/history` shows unless it is told how many.
const HISTORY_COUNT: usize = 20;

/// What each command is called, takes and does; in the order of `/help`.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("TEXT", "", "sends TEXT to the current conversation; `//` at its beginning stands for one `/`"),
    ("/me", "", "shows your name and your account"),
    ("/invite", "", "prints your invitation: hand it to whoever wants to talk to you"),
    ("/add", "INVITATION", "opens the conversation with whoever made the invitation"),
    ("/safety", "NAME", "shows the number that you and NAME compare to know that nobody stands between you"),
    ("/verify", "NAME", "says that you have compared the number with NAME, and that it is the same"),
    ("/accept", "NAME", "lets go what is held because NAME has shown different devices to different people"),
    ("/list", "", "lists your conversations"),
    ("/to", "NAME|#ID", "makes another conversation the current one"),
    ("/group", "NAME [MEMBER…]", "makes a group with people you know"),
    ("/invite-to", "GROUP MEMBER…", "adds people to a group"),
    ("/kick", "MEMBER…", "removes people from the current group"),
    ("/leave", "", "leaves the current group"),
    ("/rename", "NAME", "gives the current group another name"),
    ("/history", "[N]", "shows the last N messages of the current conversation (20)"),
    ("/typing", "", "tells who is there that you are typing"),
    ("/react", "N EMOJI", "reacts to message number N of the current conversation"),
    ("/read", "", "tells the senders that you have read the current conversation"),
    (
        "/link",
        "CODE [primary]",
        "links the new device that shows CODE (chat --link); `primary` gives it the account key too",
    ),
    ("/confirm-link", "", "says that the other device shows the same digits"),
    ("/cancel-link", "", "says that it does not, or that you have changed your mind"),
    ("/devices", "[NAME]", "lists your devices, or those of NAME"),
    ("/remove-device", "#ID", "removes a device of yours"),
    ("/send-history", "#ID", "gives a device of yours everything that was said; whoever holds it reads it"),
    ("/cancel-history", "#ID", "stops giving it, or taking it"),
    ("/help", "", "shows this"),
    ("/quit", "", "ends; so does the end of the input"),
];

/// A line that is no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BadLine {
    /// There is no such command.
    Unknown { word: String },
    /// The command wants something else behind it.
    Usage { command: &'static str, takes: &'static str },
    /// A quotation does not end.
    Quote,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word } => write!(f, "there is no command {word}; /help lists them"),
            Self::Usage { command, takes } => write!(f, "usage: {command} {takes}"),
            Self::Quote => f.write_str("a quotation mark is missing; names with spaces stand in \"…\""),
        }
    }
}

impl Command {
    /// Understands one line; none if it is blank.
    pub(crate) fn parse(line: &str) -> Result<Option<Self>, BadLine> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Ok(None);
        }
        if !line.starts_with('/') {
            return Ok(Some(Self::Send(line.to_owned())));
        }
        if let Some(text) = line.strip_prefix("//") {
            return Ok(Some(Self::Send(format!("/{text}"))));
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let Some((name, takes, _)) = COMMANDS.iter().find(|(name, _, _)| *name == word) else {
            return Err(BadLine::Unknown { word: word.to_owned() });
        };
        let words = words(rest)?;
        Self::of(name, &words).map(Some).ok_or(BadLine::Usage { command: name, takes })
    }

    fn of(name: &str, words: &[String]) -> Option<Self> {
        Some(match (name, words) {
            ("/me", []) => Self::Me,
            ("/invite", []) => Self::Invite,
            ("/add", [invitation]) => Self::Add(invitation.clone()),
            ("/safety", [who]) => Self::Safety(who.clone()),
            ("/verify", [who]) => Self::Verify(who.clone()),
            ("/accept", [who]) => Self::Accept(who.clone()),
            ("/list", []) => Self::List,
            ("/to", [whom]) => Self::To(whom.clone()),
            ("/group", [name, members @ ..]) if !name.trim().is_empty() => {
                Self::Group { name: name.clone(), members: members.to_vec() }
            }
            ("/invite-to", [group, members @ ..]) if !members.is_empty() => {
                Self::InviteTo { group: group.clone(), members: members.to_vec() }
            }
            ("/kick", members) if !members.is_empty() => Self::Kick(members.to_vec()),
            ("/leave", []) => Self::Leave,
            ("/rename", [name]) if !name.trim().is_empty() => Self::Rename(name.clone()),
            ("/history", []) => Self::History(HISTORY_COUNT),
            ("/history", [count]) => Self::History(count.parse().ok()?),
            ("/typing", []) => Self::Typing,
            ("/react", [place, grapheme]) => {
                Self::React { place: place.trim_start_matches('#').parse().ok()?, grapheme: grapheme.clone() }
            }
            ("/read", []) => Self::Read,
            ("/link", [offer]) => Self::Link { offer: offer.clone(), is_primary: false },
            ("/link", [offer, role]) if role == "primary" => Self::Link { offer: offer.clone(), is_primary: true },
            ("/confirm-link", []) => Self::ConfirmLink,
            ("/cancel-link", []) => Self::CancelLink,
            ("/devices", []) => Self::Devices(None),
            ("/devices", [who]) => Self::Devices(Some(who.clone())),
            ("/remove-device", [device]) => Self::RemoveDevice(device.clone()),
            ("/send-history", [device]) => Self::SendHistory(device.clone()),
            ("/cancel-history", [device]) => Self::CancelHistory(device.clone()),
            ("/help", []) => Self::Help,
            ("/quit", []) => Self::Quit,
            _ => return None,
        })
    }

    /// The command's name, as it stands in replies.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Me => "me",
            Self::Invite => "invite",
            Self::Add(_) => "add",
            Self::Safety(_) => "safety",
            Self::Verify(_) => "verify",
            Self::Accept(_) => "accept",
            Self::List => "list",
            Self::To(_) => "to",
            Self::Group { .. } => "group",
            Self::InviteTo { .. } => "invite-to",
            Self::Kick(_) => "kick",
            Self::Leave => "leave",
            Self::Rename(_) => "rename",
            Self::History(_) => "history",
            Self::Typing => "typing",
            Self::React { .. } => "react",
            Self::Read => "read",
            Self::Link { .. } => "link",
            Self::ConfirmLink => "confirm-link",
            Self::CancelLink => "cancel-link",
            Self::Devices(_) => "devices",
            Self::RemoveDevice(_) => "remove-device",
            Self::SendHistory(_) => "send-history",
            Self::CancelHistory(_) => "cancel-history",
            Self::Help => "help",
            Self::Quit => "quit",
        }
    }
}

/// Splits at white space; what stands in quotation marks is one word.
fn words(text: &str) -> Result<Vec<String>, BadLine> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(BadLine::Quote)?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn text_is_sent_as_it_is() {
        assert_eq!(Command::parse("  hello \"you\" \n"), Ok(Some(Command::Send("  hello \"you\" ".into()))));
        assert_eq!(Command::parse("//etc is a directory"), Ok(Some(Command::Send("/etc is a directory".into()))));
        assert_eq!(Command::parse(" \t\r\n"), Ok(None));
    }

    #[test]
    fn names_with_spaces_stand_in_quotation_marks() {
        let members = vec!["Ann Lee".to_owned(), "Bob".to_owned()];
        let parsed = Command::parse("/group \"Tea at five\"  \"Ann Lee\" Bob");
        assert_eq!(parsed, Ok(Some(Command::Group { name: "Tea at five".into(), members })));
        assert_eq!(Command::parse("/to \"Ann"), Err(BadLine::Quote));
    }

    #[test]
    fn what_is_no_command_says_what_would_be() {
        assert_eq!(Command::parse("/nonsense"), Err(BadLine::Unknown { word: "/nonsense".into() }));
        for line in ["/to", "/kick", "/history x", "/react 👍", "/me too", "/invite-to Tea"] {
            let error = Command::parse(line).unwrap_err();
            assert!(error.to_string().starts_with("usage: /"), "{line}: {error}");
        }
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for (name, takes, _) in &COMMANDS[1..] {
            let example = match *takes {
                "" | "[N]" | "[NAME]" => String::new(),
                "N EMOJI" => "3 👍".into(),
                "GROUP MEMBER…" => "Tea Ann".into(),
                _ => "Ann".into(),
            };
            let command = Command::parse(&format!("{name} {example}")).unwrap().unwrap();
            assert_eq!(command.name(), &name[1..]);
        }
    }
}
