//! Undertone beside vodozemac and beside the primitives that neither can do without, in one process on one core
//! (docs/performance.md).
//!
//! ```text
//! cargo bench --bench versus                  a table
//! cargo bench --bench versus -- --json        an array of rows, and nothing else on stdout
//! cargo bench --bench versus -- --quick       a short round, to see that it runs
//! ```
#![allow(clippy::unwrap_used, reason = "a case that cannot be set up has nothing to measure")]

mod cases;
mod clock;
mod floor;
mod ours;
mod peer;
mod table;

use std::process::ExitCode;

use clock::Effort;

fn main() -> ExitCode {
    let (mut json, mut effort) = (false, Effort::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => effort = Effort::QUICK,
            // Cargo says so to everything that it runs as a bench.
            "--bench" => {}
            other => {
                eprintln!("versus: `{other}` is unknown; there are --json and --quick");
                return ExitCode::FAILURE;
            }
        }
    }
    clock::pin();
    let rows = cases::all(effort);
    if json {
        println!("{}", table::json(&rows));
    } else {
        print!("{}", table::text(&rows));
    }
    ExitCode::SUCCESS
}
