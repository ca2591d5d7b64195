//! Runs the system's tools (`ip`, `ethtool`, `tshark` …) and makes their failures readable.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it printed on stdout.
///
/// # Errors
/// If it cannot be started, or fails: with the whole command line and what it printed on stderr.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_command(Command::new(program).args(arguments))
}

/// Like [`run`], for a command that is built already.
///
/// # Errors
/// As [`run`].
pub fn run_command(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        let program = command.get_program().to_string_lossy();
        format!("cannot run `{program}`: is it installed? `cargo xtask setup` installs what is missing")
    })?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// True if the program is on the search path.
pub fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where the program is: on the search path, or in the system's directories, which an ordinary user's path may lack.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// One word of a shell command, in quotes where the shell would need them.
pub fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_returned() {
        assert_eq!(run("echo", &["a", "b"]).unwrap(), "a b\n");
    }

    #[test]
    fn a_failure_names_command_and_reason() {
        let error = run("sh", &["-c", "echo reason >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo reason >&2; exit 3'"), "{error}");
        assert!(error.contains("exit status: 3") && error.ends_with(": reason"), "{error}");
    }

    #[test]
    fn a_missing_program_points_to_setup() {
        let error = run("no-such-program-here", &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-program-here") && error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn words_are_quoted_as_the_shell_needs() {
        assert_eq!(quoted("veth0"), "veth0");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-here"));
    }
}
