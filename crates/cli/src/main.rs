//! `undertone`: see `undertone --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    undertone_cli::run()
}
