//! Arguments, exit codes, the terminal.

use std::process::ExitCode;

pub fn main() -> ExitCode {
    ExitCode::from(2)
}
