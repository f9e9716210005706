//! The files of this repository, for the tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` with this extension, as a path from the root with `/` and its text; sorted. Empty if there is
/// no such directory.
pub(crate) fn files(dir: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for path in entries.map(|entry| entry.expect("a readable directory").path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|is| is == extension) {
                found.push((name(&path), fs::read_to_string(&path).expect("a text file")));
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).expect("below the root").components().collect();
    path.to_str().expect("a name in UTF-8").replace('\\', "/")
}
