//! Every rule of `spec/` that says MUST is cited by a test, and every citation names a rule that exists.
//!
//! A rule is a line of a chapter that begins, behind an optional list mark, with `**XX-nn**`; it goes on to the next rule
//! or blank line. A citation is `spec XX-nn`, `spec XX-nn, XX-nn` or `spec XX-nn..nn` in a comment.

mod repository;

use std::collections::{BTreeMap, BTreeSet};

/// A rule's id, such as `DM-12`.
type Id = String;

/// Rules by id, each with its text.
fn rules(chapter: &str) -> Vec<(Id, String)> {
    let mut rules: Vec<(Id, String)> = Vec::new();
    let mut inside = false;
    for line in chapter.lines() {
        let text = line.trim_start().trim_start_matches(['-', '*', ' ']);
        let marked = line.contains("**") && line.trim_start_matches([' ', '-']).starts_with("**");
        match leading_id(text).filter(|(_, rest)| marked && rest.starts_with("**")) {
            Some((id, rest)) => {
                rules.push((id, rest.to_owned()));
                inside = true;
            }
            None if line.trim().is_empty() => inside = false,
            None if inside => {
                let (_, text) = rules.last_mut().expect("inside a rule");
                text.push(' ');
                text.push_str(line);
            }
            None => {}
        }
    }
    rules
}

/// The id at the beginning of `text`, and what follows it: capital letters, a dash, two or three digits.
fn leading_id(text: &str) -> Option<(Id, &str)> {
    let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = text.get(letters + 1..)?.bytes().take_while(u8::is_ascii_digit).count();
    let whole = (2..=6).contains(&letters)
        && text.as_bytes()[letters] == b'-'
        && (digits == 2 || digits == 3 && text.as_bytes()[letters + 1] != b'0');
    let end = letters + 1 + digits;
    whole.then(|| (text[..end].to_owned(), &text[end..]))
}

/// Every rule that a source text cites.
fn citations(source: &str) -> BTreeSet<Id> {
    let mut cited = BTreeSet::new();
    for (at, word) in source.match_indices("spec ") {
        if source[..at].ends_with(|before: char| before.is_alphanumeric()) {
            continue;
        }
        let mut rest = &source[at + word.len()..];
        while let Some((id, behind)) = leading_id(rest) {
            let (chapter, first) = id.split_once('-').expect("an id has a dash");
            let (last, behind) = range_end(behind, chapter).unwrap_or((first, behind));
            let number = |digits: &str| digits.parse::<u16>().expect("two or three digits");
            cited.extend((number(first)..=number(last)).map(|n| format!("{chapter}-{n:02}")));
            rest = next_in_list(behind);
        }
    }
    cited
}

/// The end of a range such as `..23` or `..RELAY-23`.
fn range_end<'t>(text: &'t str, chapter: &str) -> Option<(&'t str, &'t str)> {
    let end = text.strip_prefix("..")?;
    let end = end.strip_prefix(chapter).and_then(|end| end.strip_prefix('-')).unwrap_or(end);
    let len = end.bytes().take_while(u8::is_ascii_digit).count();
    (2..=3).contains(&len).then(|| end.split_at(len))
}

/// Steps over what separates two ids of one list, over the end of a comment line too.
fn next_in_list(text: &str) -> &str {
    match text.strip_prefix(',').or_else(|| text.strip_prefix(" and")) {
        Some(rest) => rest.trim_start_matches([' ', '\n', '/']),
        None => "",
    }
}

/// What of a file is test code: all of it below a `tests` directory, else what stands behind `#[cfg(test)]`.
fn test_code<'t>(path: &str, source: &'t str) -> &'t str {
    if path.split('/').any(|part| part == "tests" || part.ends_with("tests.rs")) {
        return source;
    }
    source.find("#[cfg(test)]").map_or("", |at| &source[at..])
}

fn sources() -> Vec<(String, String)> {
    let this = file!().replace('\\', "/");
    let all = ["src", "tests", "crates", "fuzz/fuzz_targets"].into_iter().flat_map(|dir| repository::files(dir, "rs"));
    all.filter(|(path, _)| !this.ends_with(path.as_str())).collect()
}

fn all_rules() -> BTreeMap<Id, String> {
    let mut all = BTreeMap::new();
    for (path, chapter) in repository::files("spec", "md") {
        for (id, text) in rules(&chapter) {
            assert!(all.insert(id.clone(), text).is_none(), "{id} stands twice; the second time in {path}");
        }
    }
    assert!(all.len() > 50, "the chapters hold {} rules", all.len());
    all
}

#[test]
fn every_must_is_cited_by_a_test() {
    let cited: BTreeSet<Id> = sources().iter().flat_map(|(path, source)| citations(test_code(path, source))).collect();
    let missing: Vec<String> = all_rules()
        .into_iter()
        .filter(|(id, text)| text.contains("MUST") && !cited.contains(id))
        .map(|(id, text)| format!("{id}{}", text.trim_start_matches('*').chars().take(120).collect::<String>()))
        .collect();
    assert!(missing.is_empty(), "{} rules say MUST and no test cites them:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn every_citation_names_a_rule_that_exists() {
    let rules = all_rules();
    let unknown: Vec<String> = sources()
        .iter()
        .flat_map(|(path, source)| citations(source).into_iter().map(move |id| (path, id)))
        .filter(|(_, id)| !rules.contains_key(id))
        .map(|(path, id)| format!("{id} in {path}"))
        .collect();
    assert!(unknown.is_empty(), "citations of rules that do not exist:\n{}", unknown.join("\n"));
}

#[test]
fn the_scanner_finds_rules_and_their_musts() {
    let chapter = "Intro with **DM-09** inside a line, which is no rule.\n\n\
                   **DM-10** A sender MUST pad.\n**DM-11** A sender may wait,\nbut MUST NOT forget.\n\n\
                   Text that MUST not count.\n- **DM-12** Nothing is asked.\n\n| DM-13 | MUST |\n**DM-014** MUST.\n**DM-110** MUST.\n";
    let found: Vec<(Id, bool)> = rules(chapter).into_iter().map(|(id, text)| (id, text.contains("MUST"))).collect();
    let expected =
        [("DM-10", true), ("DM-11", true), ("DM-12", false), ("DM-110", true)].map(|(id, must)| (id.to_owned(), must));
    assert_eq!(found, expected);
}

#[test]
fn the_scanner_finds_citations_lists_and_ranges_and_nothing_else() {
    let source = "// spec DM-01\n// A-DM-02, spec DM-03, DM-04 and DM-05; A-DM-06, row DM-07\n\
                  // spec RELAY-08..10, spec RELAY-12..RELAY-13,\n// RELAY-14: why\n// row DM-20, inspec DM-21, spec DM-2222, spec DM-110..112\n";
    let expected = [
        "DM-01", "DM-03", "DM-04", "DM-05", "DM-110", "DM-111", "DM-112", "RELAY-08", "RELAY-09", "RELAY-10",
        "RELAY-12", "RELAY-13", "RELAY-14",
    ];
    assert_eq!(citations(source).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn only_test_code_counts_as_a_test() {
    let source = "/// spec DM-01\nfn f() {}\n#[cfg(test)]\nmod tests { // spec DM-02\n}";
    assert_eq!(citations(test_code("src/dm/f.rs", source)), BTreeSet::from(["DM-02".to_owned()]));
    assert_eq!(citations(test_code("crates/x/tests/f.rs", source)).len(), 2);
    assert!(citations(test_code("src/dm/f.rs", "// spec DM-01")).is_empty());
}
