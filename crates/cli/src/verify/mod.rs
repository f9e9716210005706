//! `undertone verify`: derives every value of the test vectors with the library, through its public API, and stops at the
//! first byte that differs.
//!
//! `test-vectors/README.md` describes the files. The same is done without any of our code by `test-vectors/verify.py`; what
//! both agree on is what `spec/` says, or both read it wrong in the same way.
//!
//! | module | what is in it |
//! |---|---|
//! | `vectors` | the shape of a file, checksums, comparing |
//! | `inputs` | reading the inputs of a vector, by name and type |
//! | `changes` | changing values, to see that a change is noticed |
//! | `conventions`, `identity`, `log`, `direct`, `fanout`, `history` | the subjects, by chapter of the specification |
//!
//! Leaves out making vectors: `test-vectors/generate.py` does.

mod changes;
mod conventions;
mod direct;
mod fanout;
mod history;
mod identity;
mod inputs;
mod linking;
mod log;
mod vectors;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::changes::Sample;
use self::inputs::{Derived, Inputs};
use self::vectors::{Document, Fault};
use crate::args::Failure;

/// Checks test vectors with the library: derives every value of every vector from its inputs, and stops at the first byte
/// that differs, naming file, vector, field and place.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files of vectors, or directories of them.
    #[arg(value_name = "PATH", default_value = "test-vectors")]
    paths: Vec<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Then changes every value of every vector, one at a time, and fails if a change is not noticed.
    #[arg(long)]
    self_test: bool,
    /// With --self-test, changes at most N bytes of one value, 0 for all.
    #[arg(long, value_name = "N", default_value_t = 16)]
    per_field: usize,
    /// With --self-test, which bytes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Derives the result of a vector from its inputs.
type Subject = fn(&Inputs<'_>) -> Derived;

/// Every subject, by name.
const SUBJECTS: &[&[(&str, Subject)]] = &[
    conventions::SUBJECTS,
    identity::SUBJECTS,
    linking::SUBJECTS,
    log::SUBJECTS,
    direct::SUBJECTS,
    fanout::SUBJECTS,
    history::SUBJECTS,
];

fn subject(name: &str) -> Option<Subject> {
    SUBJECTS.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, subject)| *subject)
}

/// What was checked.
#[derive(Default)]
struct Summary {
    files: Vec<Line>,
    fault: Option<Fault>,
}

/// What was checked of one file.
struct Line {
    file: String,
    vectors_count: usize,
    refused_count: usize,
    changes_count: Option<usize>,
}

/// Checks the files, prints what came of it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut summary = Summary::default();
    summary.fault = check_all(arguments, &mut summary.files).err();
    if arguments.json {
        println!("{}", summary.to_json());
    } else {
        summary.print();
    }
    match summary.fault {
        None => Ok(()),
        Some(fault) => Err(Failure::Vector { fault: fault.to_string() }),
    }
}

fn check_all(arguments: &Arguments, lines: &mut Vec<Line>) -> Result<(), Fault> {
    for path in arguments.paths.iter().map(|path| expand(path)).collect::<Result<Vec<_>, _>>()?.concat() {
        let file = file_name(&path);
        lines.push(check_file(&path, &file, arguments).map_err(|fault| fault.in_file(&file))?);
    }
    Ok(())
}

/// The files to check. A directory must hold one of each subject, so that none is lost unseen.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error: std::io::Error| Fault::new(error.to_string()).in_file(&path.display().to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|is| is == "json") && path.file_name().is_some_and(|name| name != "schema.json")
        {
            found.push(path);
        }
    }
    found.sort();
    let stems: BTreeSet<_> = found.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    let missing: Vec<&str> =
        SUBJECTS.iter().copied().flatten().map(|(name, _)| *name).filter(|name| !stems.contains(name)).collect();
    if missing.is_empty() {
        Ok(found)
    } else {
        Err(Fault::new(format!("lacks {}", missing.join(", "))).in_file(&path.display().to_string()))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn check_file(path: &Path, file: &str, arguments: &Arguments) -> Result<Line, Fault> {
    let text = std::fs::read_to_string(path).map_err(|error| Fault::new(error.to_string()))?;
    let document = Document::parse(&text)?;
    if file.strip_suffix(".json") != Some(document.subject()) {
        return Err(Fault::new(format!("is named after another subject than {:?}", document.subject())));
    }
    let subject = subject(document.subject())
        .ok_or_else(|| Fault::new(format!("subject {:?} is not known", document.subject())))?;
    document.check(subject)?;
    let changes_count = match arguments.self_test {
        true => Some(changes::self_test(&document, subject, Sample::new(arguments.per_field, arguments.seed))?),
        false => None,
    };
    Ok(Line {
        file: file.to_owned(),
        vectors_count: document.vectors().len(),
        refused_count: document.vectors().iter().filter(|vector| vector.is_refused()).count(),
        changes_count,
    })
}

impl Summary {
    fn vectors_count(&self) -> usize {
        self.files.iter().map(|line| line.vectors_count).sum()
    }

    fn refused_count(&self) -> usize {
        self.files.iter().map(|line| line.refused_count).sum()
    }

    fn to_json(&self) -> Value {
        let line = |line: &Line| {
            let mut object = json!({"file": line.file, "vectors": line.vectors_count, "refused": line.refused_count});
            if let Some(changes_count) = line.changes_count {
                object["changes"] = changes_count.into();
            }
            object
        };
        json!({
            "files": self.files.iter().map(line).collect::<Vec<_>>(),
            "vectors": self.vectors_count(),
            "refused": self.refused_count(),
            "changes": self.files.iter().filter_map(|line| line.changes_count).sum::<usize>(),
            "fault": self.fault.as_ref().map(Fault::to_json),
        })
    }

    fn print(&self) {
        for Line { file, vectors_count, refused_count, changes_count } in &self.files {
            let changes = changes_count.map_or_else(String::new, |count| format!(", {count} changes noticed"));
            println!("{file:<28} {vectors_count:>4} vectors, {refused_count:>3} refused{changes}");
        }
        if self.fault.is_none() {
            println!("{} vectors agree, {} of them refused", self.vectors_count(), self.refused_count());
        }
    }
}
