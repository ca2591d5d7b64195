//! The `sctp` command. See `sctp --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
