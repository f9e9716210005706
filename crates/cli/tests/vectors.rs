//! The test vectors: both implementations agree on them, and no change to them passes.
//!
//! The second implementation needs Python 3.11 with the package `cryptography`. `UNDERTONE_PYTHON` names an interpreter that
//! has it; without it, `python3` is tried, and what needs it says that it was skipped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// Bytes of one value that the self-tests change.
const PER_FIELD: &str = "1";

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test-vectors")
}

/// The library's verifier.
fn library(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    command.arg("verify").args(arguments).arg(path).output().unwrap()
}

/// An interpreter that has what the second implementation needs.
///
/// # Panics
/// Panics if one was named and has it not: what was asked for is not skipped.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("UNDERTONE_PYTHON").map(PathBuf::from);
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let script = "import sys, cryptography; sys.exit(sys.version_info < (3, 11))";
    let serves = Command::new(&python).args(["-c", script]).output().is_ok_and(|output| output.status.success());
    assert!(serves || named.is_none(), "{} lacks Python 3.11 or the package cryptography", python.display());
    if !serves {
        eprintln!("skipped: no python3 here has the package cryptography; set UNDERTONE_PYTHON");
    }
    serves.then_some(python)
}

/// The second implementation's verifier.
fn second(python: &Path, arguments: &[&str], path: &Path) -> Output {
    Command::new(python).arg(vectors().join("verify.py")).args(arguments).arg(path).output().unwrap()
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn passed(output: &Output) -> Value {
    let summary = summary(output);
    assert!(output.status.success(), "{}", summary["fault"]);
    summary
}

/// A copy of the vectors without one file, or with one of them changed.
fn copy(change: impl Fn(&str, String) -> Option<String>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(vectors()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|is| is == "json") {
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(text) = change(name, std::fs::read_to_string(&path).unwrap()) {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
        }
    }
    dir
}

#[test]
fn the_library_derives_every_value() {
    // spec DEL-56
    let summary = passed(&library(&["--json"], &vectors()));
    for file in summary["files"].as_array().unwrap() {
        let [vectors, refused] = ["vectors", "refused"].map(|name| file[name].as_u64().unwrap());
        assert!(refused == 0 || 2 * refused >= vectors, "{file}: more is accepted than refused");
    }
    assert!(summary["vectors"].as_u64().unwrap() > 400, "{summary}");
}

#[test]
fn every_rule_that_a_file_names_exists() {
    let spec = std::fs::read_dir(vectors().join("../spec")).unwrap().map(|entry| entry.unwrap().path());
    let chapters = spec.filter(|path| path.extension().is_some_and(|is| is == "md"));
    let text: String = chapters.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    copy(|name, file| {
        let document: Value = serde_json::from_str(&file).unwrap();
        for rule in document["rules"].as_array().into_iter().flatten().map(|rule| rule.as_str().unwrap()) {
            assert!(text.contains(&format!("**{rule}**")), "{name} names {rule}");
        }
        None
    });
}

#[test]
fn the_second_implementation_derives_the_same() {
    let Some(python) = python() else { return };
    let ours = passed(&library(&["--json"], &vectors()));
    assert_eq!(passed(&second(&python, &["--json"], &vectors())), ours);
}

#[test]
fn the_files_are_those_that_the_second_implementation_makes() {
    let Some(python) = python() else { return };
    let output = Command::new(python).arg(vectors().join("generate.py")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_library_notices_every_change() {
    let seed = rand::rng().random::<u32>().to_string();
    println!("seed {seed}");
    let summary = passed(&library(&["--json", "--self-test", "--per-field", PER_FIELD, "--seed", &seed], &vectors()));
    assert!(summary["files"].as_array().unwrap().iter().all(|file| file["changes"].as_u64() > Some(0)), "{summary}");
}

#[test]
fn the_second_implementation_notices_every_change() {
    let Some(python) = python() else { return };
    let seed = rand::rng().random::<u32>().to_string();
    println!("seed {seed}");
    let arguments = ["--json", "--self-test", "--per-field", PER_FIELD, "--seed", &seed];
    let summary = passed(&second(&python, &arguments, &vectors()));
    assert!(summary["files"].as_array().unwrap().iter().all(|file| file["changes"].as_u64() > Some(0)), "{summary}");
}

/// One hexadecimal digit of each file is another: both programs say which file and vector, and end with 1.
#[test]
fn a_changed_digit_in_a_file_makes_both_fail() {
    let python = python();
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for entry in std::fs::read_dir(vectors()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".json") || name == "schema.json" {
            continue;
        }
        let text = std::fs::read_to_string(vectors().join(&name)).unwrap();
        let (place, vector) = a_digit_of_a_value(&text, &mut rng);
        let digit = if text.as_bytes()[place] == b'0' { "1" } else { "0" };
        let changed = [&text[..place], digit, &text[place + 1..]].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(&name);
        std::fs::write(&path, changed).unwrap();
        let outputs =
            [Some(library(&["--json"], &path)), python.as_ref().map(|python| second(python, &["--json"], &path))];
        for output in outputs.into_iter().flatten() {
            let fault = summary(&output)["fault"].clone();
            assert_eq!(output.status.code(), Some(1), "{name} byte {place}: {fault}");
            assert_eq!((&fault["file"], &fault["vector"]), (&name.as_str().into(), &vector.as_str().into()), "{fault}");
        }
    }
}

/// Where a hexadecimal digit of a long value stands, and in which vector.
fn a_digit_of_a_value(text: &str, rng: &mut StdRng) -> (usize, String) {
    let inside = text.find("\"vectors\"").unwrap();
    let end = text.rfind("\"check\"").unwrap();
    let is_value =
        |word: &str| word.len() >= 16 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut values = Vec::new();
    let mut at = inside;
    for word in text[inside..end].split('"') {
        if is_value(word) {
            values.push(at..at + word.len());
        }
        at += word.len() + 1;
    }
    let value = values.swap_remove(rng.random_range(0..values.len()));
    let place = rng.random_range(value);
    let before = &text[..place];
    // Six spaces: an input may be an `id` too.
    let (_, id) = before.rsplit_once("\n      \"id\": \"").unwrap();
    (place, id.split('"').next().unwrap().to_owned())
}

#[test]
fn a_file_that_is_missing_is_noticed() {
    let dir = copy(|name, text| (name != "x25519.json").then_some(text));
    let outputs = [Some(library(&["--json"], dir.path())), python().map(|p| second(&p, &["--json"], dir.path()))];
    for output in outputs.into_iter().flatten() {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(summary(&output)["fault"]["why"], "lacks x25519");
    }
}

#[test]
fn a_vector_that_is_missing_is_noticed() {
    let dir = copy(|name, text| {
        let mut document: Value = serde_json::from_str(&text).unwrap();
        if name == "x25519.json" {
            document["vectors"].as_array_mut().unwrap().pop();
        }
        Some(document.to_string())
    });
    let path = dir.path().join("x25519.json");
    let outputs = [Some(library(&["--json"], &path)), python().map(|p| second(&p, &["--json"], &path))];
    for output in outputs.into_iter().flatten() {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(summary(&output)["fault"]["field"], "check");
    }
}
