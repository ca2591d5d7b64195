//! `cargo xtask deploy`: installs the `sctp` command here or on another machine, with the capabilities that it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sctp_lab::{Sctp, is_root, kernel, tool};

use crate::setup::{self, OLDEST_KERNEL, Purpose};

/// What the `sctp` command needs to run without root: configure and attach XDP (net_admin), open AF_XDP sockets (net_raw),
/// load the program (bpf; perfmon, for what the verifier grants only with it), lock the memory of its packets (ipc_lock).
pub(crate) const CAPABILITIES: &str = "cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep";

/// Where to install.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory whose `bin` gets the command.
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Another machine, by ssh: HOST or USER@HOST.
    #[arg(long)]
    host: Option<String>,
    /// Only print the commands.
    #[arg(long)]
    dry_run: bool,
}

/// Builds and installs.
///
/// # Errors
/// If the machine cannot run the command, or a step fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = if options.dry_run {
        sctp_lab::peer::target_directory().join("release/sctp")
    } else {
        setup::ensure(Purpose::Build)?;
        Sctp::build()?.program().to_path_buf()
    };
    let target = Target { host: options.host.clone(), dry_run: options.dry_run };
    target.check()?;

    let installed = options.prefix.join("bin/sctp");
    let source = target.bring(&program)?;
    target.as_root(&["install", "-D", "-m", "755", &source, &installed.to_string_lossy()])?;
    target.as_root(&["setcap", CAPABILITIES, &installed.to_string_lossy()])?;
    if options.host.is_some() {
        target.as_user(&["rm", &source])?;
    }
    // Shows that it runs there: right processor, right C library.
    let version = target.as_user(&[&installed.to_string_lossy(), "--version"])?;
    if !options.dry_run {
        let place = options.host.as_deref().unwrap_or("this machine");
        println!("installed {} in {} on {place}", version.trim(), installed.display());
    }
    Ok(())
}

/// The machine to install on.
struct Target {
    host: Option<String>,
    dry_run: bool,
}

impl Target {
    /// Refuses machines that cannot run the command, before anything is copied.
    fn check(&self) -> Result<()> {
        let release = self.as_user(&["uname", "-r"])?;
        let machine = self.as_user(&["uname", "-m"])?;
        self.as_user(&["sh", "-c", "command -v setcap || test -x /usr/sbin/setcap"])
            .context("setcap is missing there: install libcap2-bin (Debian, Ubuntu) or libcap (Fedora)")?;
        if self.dry_run {
            return Ok(());
        }
        let (major, minor) = OLDEST_KERNEL;
        let version = kernel::parse(release.trim()).with_context(|| format!("what kernel is “{}”?", release.trim()))?;
        ensure!(version >= OLDEST_KERNEL, "its kernel {} is too old: {major}.{minor} is the oldest", release.trim());
        let here = std::env::consts::ARCH;
        ensure!(machine.trim() == here, "its processor is {}, and the command is built for {here}", machine.trim());
        Ok(())
    }

    /// Makes the file readable there, and returns its path there.
    fn bring(&self, program: &Path) -> Result<String> {
        let Some(host) = &self.host else { return Ok(program.to_string_lossy().into_owned()) };
        let made = self.as_user(&["mktemp"])?;
        let there = if self.dry_run { "/tmp/…" } else { made.trim() };
        self.run(Command::new("scp").args(["-q".as_ref(), program.as_os_str()]).arg(format!("{host}:{there}")))?;
        Ok(there.to_owned())
    }

    fn as_root(&self, words: &[&str]) -> Result<String> {
        let already = self.host.as_ref().map_or_else(is_root, |host| host.starts_with("root@"));
        if already { self.as_user(words) } else { self.as_user(&[&["sudo"], words].concat()) }
    }

    fn as_user(&self, words: &[&str]) -> Result<String> {
        match &self.host {
            None => self.run(Command::new(words[0]).args(&words[1..])),
            Some(host) => {
                // ssh hands one string to the shell there.
                let line = words.iter().map(|word| tool::quoted(word)).collect::<Vec<_>>().join(" ");
                self.run(Command::new("ssh").args([host, "--", &line]))
            }
        }
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        println!("$ {}", tool::command_line(command));
        if self.dry_run { Ok(String::new()) } else { tool::run_command(command) }
    }
}
