//! The script of a demonstration: a text file, one step on each line (`examples/demo.txt` explains it).

use std::fmt;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A heading.
    Title(String),
    /// Somebody says something where they speak at the moment.
    Say {
        /// Who.
        who: String,
        /// What.
        text: String,
    },
    /// Starts clients.
    Start(Vec<String>),
    /// Makes the second a new device of the first.
    Link {
        /// Whose device.
        who: String,
        /// What it is called here.
        device: String,
    },
    /// Has the first give the second everything that was said before.
    History {
        /// Who has it.
        who: String,
        /// Its device that has not.
        device: String,
    },
    /// Ends clients cleanly.
    Stop(Vec<String>),
    /// The first takes the invitation of the second.
    Contact {
        /// Who asks.
        from: String,
        /// Who is asked, and may be away.
        to: String,
    },
    /// Two people speak to each other from now on.
    Direct(String, String),
    /// The first of the members makes a group with the others; all of them speak in it from now on.
    Group {
        /// Its name.
        name: String,
        /// Its members; the first makes it.
        members: Vec<String>,
    },
    /// The first adds the second to the group, who speaks in it from now on.
    Add {
        /// The group.
        group: String,
        /// Who adds.
        by: String,
        /// Who is added.
        who: String,
    },
    /// The first removes the second from the group.
    Remove {
        /// The group.
        group: String,
        /// Who removes.
        by: String,
        /// Who is removed.
        who: String,
    },
    /// Somebody is typing.
    Typing(String),
    /// Somebody has read where they speak at the moment.
    Read(String),
    /// Somebody reacts to the last message where they speak.
    React {
        /// Who.
        who: String,
        /// With what.
        grapheme: String,
    },
    /// Each of these says so many things at once where they speak, and nobody waits.
    Burst {
        /// How many each.
        count: usize,
        /// Who.
        who: Vec<String>,
    },
    /// Kills the relay (`relay`) or a client with SIGKILL.
    Kill(String),
    /// Starts it again.
    Restart(String),
    /// Waits until everything has arrived.
    Settle,
}

/// A line that is no step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadScript {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: BadStep,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadStep {
    /// Neither `name: text` nor a directive.
    Neither,
    /// There is no such directive, or it takes something else.
    Directive,
}

impl fmt::Display for BadScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            BadStep::Neither => "is neither `name: text` nor a directive",
            BadStep::Directive => "is no directive that there is, or takes something else",
        };
        write!(f, "line {} of the script {why}; examples/demo.txt explains them", self.line)
    }
}

impl std::error::Error for BadScript {}

/// Reads a script. Blank lines and lines that begin with `#` say nothing.
///
/// # Errors
/// [`BadScript`] for the first line that is no step.
pub fn parse(text: &str) -> Result<Vec<Step>, BadScript> {
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        steps.push(step(line).map_err(|why| BadScript { line: index + 1, why })?);
    }
    Ok(steps)
}

fn step(line: &str) -> Result<Step, BadStep> {
    if let Some(directive) = line.strip_prefix('@') {
        return self::directive(directive).ok_or(BadStep::Directive);
    }
    let (who, text) = line.split_once(':').ok_or(BadStep::Neither)?;
    let text = text.trim();
    if !is_name(who) || text.is_empty() || text.starts_with('/') {
        return Err(BadStep::Neither);
    }
    Ok(Step::Say { who: who.to_owned(), text: text.to_owned() })
}

fn directive(text: &str) -> Option<Step> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    if word == "title" {
        return Some(Step::Title(rest.trim().to_owned()));
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if word != "react" && !words.iter().all(|word| is_name(word)) {
        return None;
    }
    Some(match (word, words.as_slice()) {
        ("start", [_, ..]) => Step::Start(all(&words)),
        ("link", [who, device]) => Step::Link { who: (*who).into(), device: (*device).into() },
        ("history", [who, device]) => Step::History { who: (*who).into(), device: (*device).into() },
        ("stop", [_, ..]) => Step::Stop(all(&words)),
        ("contact", [from, to]) => Step::Contact { from: (*from).into(), to: (*to).into() },
        ("direct", [one, other]) => Step::Direct((*one).into(), (*other).into()),
        ("group", [name, members @ ..]) if !members.is_empty() => {
            Step::Group { name: (*name).into(), members: all(members) }
        }
        ("add", [group, by, who]) => Step::Add { group: (*group).into(), by: (*by).into(), who: (*who).into() },
        ("remove", [group, by, who]) => Step::Remove { group: (*group).into(), by: (*by).into(), who: (*who).into() },
        ("typing", [who]) => Step::Typing((*who).into()),
        ("read", [who]) => Step::Read((*who).into()),
        ("react", [who, grapheme]) if is_name(who) => Step::React { who: (*who).into(), grapheme: (*grapheme).into() },
        ("burst", [count, who @ ..]) if !who.is_empty() => {
            let count = count.parse().ok().filter(|count| (1..=BURST_COUNT_MAX).contains(count))?;
            Step::Burst { count, who: all(who) }
        }
        ("kill", [who]) => Step::Kill((*who).into()),
        ("restart", [who]) => Step::Restart((*who).into()),
        ("settle", []) => Step::Settle,
        _ => return None,
    })
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.len() <= 20 && word.chars().all(char::is_alphanumeric)
}

/// Messages of one burst, each.
const BURST_COUNT_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_script_is_one() {
        let steps = parse(super::super::SCRIPT).expect("the default script parses");
        assert!(steps.iter().any(|step| matches!(step, Step::Kill(who) if who == "relay")));
        assert!(steps.iter().any(|step| matches!(step, Step::Remove { .. })));
        assert!(steps.iter().any(|step| matches!(step, Step::Link { .. })));
        assert!(steps.iter().any(|step| matches!(step, Step::History { .. })));
    }

    #[test]
    fn a_bad_line_is_named() {
        let bad = |text: &str| parse(text).expect_err("no script").line;
        assert_eq!(bad("Ann: hi\n\n@kill\n"), 3);
        assert_eq!(bad("# ok\njust words"), 2);
        assert_eq!(bad("Ann: /quit"), 1);
        assert_eq!(bad("@burst 0 Ann"), 1);
        assert_eq!(bad("@start Ann/../Bob"), 1);
        assert_eq!(bad("../Ann: hi"), 1);
    }
}
