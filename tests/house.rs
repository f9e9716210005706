//! The house keeps its walls: layers, who may name which crate, what depends on what, which fuzz targets exist, and
//! which numbers stand for what on disk.
//! ARCHITECTURE.md says the same in words.

mod repository;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The layers of `src/`, each allowed to use those before it.
const LAYERS: [&str; 12] = [
    "limits",
    "time",
    "crypto",
    "store",
    "identity",
    "envelope",
    "content",
    "dm",
    "group",
    "conversation",
    "error",
    "engine",
];

/// Which layers may name a dependency of the library; none means every layer.
const ROOMS: &[(&str, &[&str])] = &[
    // Protocol encodings and what has no secret in it.
    ("undertone_wire", &[]),
    ("tls_codec", &[]),
    ("serde", &["group"]),
    ("ciborium", &["group"]),
    ("data_encoding", &["identity", "envelope"]),
    ("unicode_segmentation", &["content"]),
    // Primitives.
    ("ed25519_dalek", &["crypto"]),
    ("x25519_dalek", &["crypto"]),
    ("chacha20poly1305", &["crypto"]),
    ("chacha20", &["crypto"]),
    ("hkdf", &["crypto"]),
    ("hmac", &["crypto"]),
    ("sha2", &["crypto"]),
    ("ml_kem", &["crypto"]),
    ("libcrux_ml_kem", &["crypto"]),
    ("libcrux_poly1305", &["crypto"]),
    ("hpke", &["crypto"]),
    // MLS.
    ("openmls", &["group"]),
    ("openmls_traits", &["group"]),
    ("openmls_rust_crypto", &["group"]),
    // Hygiene.
    ("rand_core", &[]),
    ("subtle", &[]),
    ("zeroize", &[]),
    // Only there to switch features on for the browser: the library draws no random number of its own.
    ("getrandom", NOWHERE),
    ("getrandom_02", NOWHERE),
];

/// No layer may name it.
const NOWHERE: &[&str] = &["no layer"];

/// The part of a source text that is compiled into the library, without comments.
fn code(source: &str) -> String {
    let built = source.find("#[cfg(test)]\nmod tests").map_or(source, |at| &source[..at]);
    built.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// `crypto` of `src/crypto/aead.rs` and of `src/crypto.rs`; nothing for `src/lib.rs`.
fn layer(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let layer = inside.split('/').next()?.trim_end_matches(".rs");
    (layer != "lib").then_some(layer)
}

/// How many modules a file lies below the root of its crate: 1 for `src/crypto/mod.rs` and `src/time.rs`.
fn depth(path: &str) -> usize {
    path.split('/').count() - 1 - usize::from(path.ends_with("/mod.rs"))
}

/// Every module of the root that a text names: behind `crate::`, in `crate::{…}`, or behind enough `super::`.
fn used_layers(path: &str, code: &str) -> BTreeSet<String> {
    let up = "super::".repeat(depth(path));
    let mut used = BTreeSet::new();
    for from in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(from) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.ends_with("super::") {
                continue;
            }
            used.extend(heads(&code[at + from.len()..]));
        }
    }
    used
}

/// The first names of a path: one, or several in braces.
fn heads(path: &str) -> Vec<String> {
    let ident = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![ident(path)] };
    let (mut heads, mut nested, mut expecting) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => expecting = true,
            _ if expecting && !c.is_whitespace() => {
                heads.push(ident(&group[at..]));
                expecting = false;
            }
            _ => {}
        }
    }
    heads
}

/// Whether a text names a crate: `name::`, or `use name` alone.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = &code[..at];
        let after = &code[at + name.len()..];
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.');
        starts && (after.starts_with("::") || (before.ends_with("use ") && after.starts_with([';', ' '])))
    })
}

/// What is compiled into the library: every file but those of tests, without the tests inside.
fn library() -> Vec<(String, String)> {
    let built = |path: &str| path.split('/').all(|part| part != "tests" && !part.ends_with("tests.rs"));
    let files = repository::files("src", "rs").into_iter().filter(|(path, _)| built(path));
    files.map(|(path, source)| (path, code(&source))).collect()
}

#[test]
fn each_layer_uses_only_the_layers_before_it() {
    let rank = |layer: &str| LAYERS.iter().position(|is| *is == layer);
    let mut wrong = Vec::new();
    for (path, code) in library() {
        let Some(own) = layer(&path) else { continue };
        assert!(rank(own).is_some(), "{path}: `{own}` has no place in the list of layers");
        for used in used_layers(&path, &code) {
            if rank(&used).is_some_and(|used| Some(used) > rank(own)) {
                wrong.push(format!("{path} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "a layer uses a later one:\n{}", wrong.join("\n"));
}

#[test]
fn each_dependency_is_named_only_where_it_belongs() {
    let known: BTreeSet<&str> = ROOMS.iter().map(|(name, _)| *name).collect();
    let homeless: Vec<String> = manifest("undertone")["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["rename"].as_str().or(dependency["name"].as_str()))
        .map(|name| name.replace('-', "_"))
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(homeless.is_empty(), "say in ROOMS who may name {homeless:?}");

    let mut wrong = Vec::new();
    for (path, code) in library() {
        for (name, rooms) in ROOMS.iter().filter(|(_, rooms)| !rooms.is_empty()) {
            if names(&code, name) && !layer(&path).is_some_and(|own| rooms.contains(&own)) {
                wrong.push(format!("{path} names {name}, which belongs to {rooms:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_says_what_it_models() {
    let all = ["src", "crates", "tests", "benches", "fuzz/fuzz_targets"]
        .into_iter()
        .flat_map(|dir| repository::files(dir, "rs"));
    let silent: Vec<String> = all
        .filter(|(_, source)| !source.trim_start_matches("#![no_main]\n").starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "these do not open with `//!`: {silent:?}");
}

#[test]
fn the_relay_knows_the_wire_and_not_the_library() {
    for from in ["undertone-relay", "undertone-wire"] {
        let reached = reached(from);
        assert!(!reached.contains("undertone"), "{from} depends on undertone");
        assert!(reached.contains("ed25519-dalek"), "the walk of dependencies works");
    }
}

#[test]
fn the_library_has_no_runtime_no_c_and_no_database() {
    let reached = reached("undertone");
    assert!(reached.contains("openmls") && reached.contains("sha2"), "the walk of dependencies works");
    for never in
        ["tokio", "async-std", "smol", "axum", "rusqlite", "libsqlite3-sys", "openssl-sys", "ring", "aws-lc-sys", "cc"]
    {
        assert!(!reached.contains(never), "undertone depends on {never}");
    }
}

#[test]
fn peers_are_measured_and_never_linked() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata is JSON");
    let members =
        metadata["packages"].as_array().expect("packages").iter().filter_map(|package| package["name"].as_str());
    for member in members {
        assert!(!reached(member).contains("vodozemac"), "{member} is built with vodozemac");
    }
    let benches = manifest("undertone-benches");
    let peers = benches["dependencies"].as_array().expect("dependencies");
    assert!(peers.iter().any(|peer| peer["name"] == "vodozemac" && peer["kind"] == "dev"), "nothing is measured");
    let built_by_tests = benches["targets"].as_array().expect("targets").iter().any(|target| target["test"] == true);
    assert!(!built_by_tests, "`cargo test` would build the peers");
}

#[test]
fn every_package_has_a_licence_that_asks_nothing_back() {
    let tree =
        cargo(&["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}\t{l}"]);
    let packages: BTreeMap<&str, &str> = tree.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for (package, licence) in packages {
        let licence = licence.trim_end_matches(" (*)");
        let permissive = |choice: &str| !choice.is_empty() && !choice.contains("GPL");
        assert!(licence.split(" OR ").any(permissive), "{package} is under `{licence}`");
    }
}

// Row TE-17
#[test]
fn every_fuzz_target_is_declared_and_every_declared_one_exists() {
    let manifest = std::fs::read_to_string(repository::root().join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
    let declared: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| Some(line.strip_prefix("path = \"")?.trim_end_matches('"').to_owned()))
        .collect();
    let exist: BTreeSet<String> = repository::files("fuzz/fuzz_targets", "rs")
        .into_iter()
        .filter_map(|(path, _)| Some(path.strip_prefix("fuzz/")?.to_owned()))
        .collect();
    assert!(!exist.is_empty());
    assert_eq!(declared, exist, "left: fuzz/Cargo.toml, right: fuzz/fuzz_targets");
}

/// The numbers that a source gives to the variants of its enums on disk and on the wire, by enum; twice the same is a fault
/// that `tls_codec` does not see.
fn repeated_discriminants(code: &str) -> Vec<String> {
    let (mut of, mut seen, mut repeated) = (String::new(), BTreeSet::new(), Vec::new());
    for line in code.lines().map(str::trim) {
        if let Some((_, name)) =
            line.split_once("enum ").filter(|(front, _)| front.is_empty() || front.starts_with("pub"))
        {
            of = name.trim_end_matches([' ', '{']).to_owned();
            seen.clear();
        }
        let number = line.strip_prefix("#[tls_codec(discriminant = ").and_then(|rest| rest.strip_suffix(")]"));
        if let Some(number) = number.filter(|number| !seen.insert((*number).to_owned())) {
            repeated.push(format!("{of}: {number}"));
        }
    }
    repeated
}

#[test]
fn no_two_variants_of_an_enum_share_a_number() {
    let sources = ["src", "crates"].into_iter().flat_map(|dir| repository::files(dir, "rs"));
    for (path, source) in sources {
        assert_eq!(repeated_discriminants(&source), Vec::<String>::new(), "{path}");
    }
    let twice = "pub enum A {\n#[tls_codec(discriminant = 1)]\nB,\n#[tls_codec(discriminant = 1)]\nC,\n}\n\
                 enum D {\n#[tls_codec(discriminant = 1)]\nE,\n}";
    assert_eq!(repeated_discriminants(twice), ["A: 1"]);
}

#[test]
fn the_scan_sees_paths_groups_and_climbs() {
    let code = "use crate::{a, b::{c, d}, e::f}; fn x() { crate::g::h(); super::super::i::j(); super::k(); } use super::super::{l, m};";
    let used = used_layers("src/room/file.rs", code);
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a", "b", "e", "g", "i", "l", "m"]);
    assert_eq!(used_layers("src/room/mod.rs", "use super::other::X;").into_iter().collect::<Vec<_>>(), ["other"]);
    assert!(names("use sha2::Sha256;", "sha2") && names("let x = sha2::Sha256::new();", "sha2"));
    assert!(!names("let my_sha2::x; a::sha2::b; sha256::x", "sha2"));
    assert_eq!(code_of_sample(), "fn a() {} \n");
}

fn code_of_sample() -> String {
    code("fn a() {} // crate::late\n\n#[cfg(test)]\nmod tests { use crate::late; }").trim_end_matches('\n').to_owned()
        + "\n"
}

/// What a workspace package says of itself.
fn manifest(name: &str) -> Value {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().find(|package| package["name"] == name).expect("a package of that name").clone()
}

/// The names of everything that is built for a package on this platform, its tests left out.
fn reached(from: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "--package", from, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// What cargo prints. Nothing is fetched: what the tests were built from is there.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(repository::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}
