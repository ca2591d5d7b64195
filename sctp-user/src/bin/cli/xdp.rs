//! `sctp xdp`: programs that stay attached without a process, and their replacement while traffic runs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use sctp_user::datapath::xdp::kept::{self, KeptProgram};

use super::options::Verbosity;
use super::progress::{print_json, print_line};
use super::table::Rows;

/// What to do with programs that were kept.
#[derive(Debug, Subcommand)]
pub(crate) enum XdpCommand {
    /// Show the programs that are kept
    #[command(after_help = SHOW_EXAMPLES)]
    Show(XdpOptions),
    /// Replace programs by the one of this version, while they run, without the loss of a packet
    #[command(after_help = REPLACE_EXAMPLES)]
    Replace(XdpOptions),
    /// Detach programs that no stack runs with
    #[command(after_help = DETACH_EXAMPLES)]
    Detach(XdpOptions),
}

/// Options of its subcommands.
#[derive(Args, Clone, Debug)]
pub(crate) struct XdpOptions {
    /// Interface whose program is meant; may be given several times [default: all of this network namespace]
    #[arg(short, long = "interface", value_name = "IF")]
    pub(crate) interfaces: Vec<String>,

    /// Where the programs are kept, in a BPF file system
    #[arg(long, value_name = "DIR", default_value = kept::DEFAULT_DIRECTORY)]
    pub(crate) directory: PathBuf,

    /// Print one object of JSON per program and line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

impl XdpCommand {
    /// The options, whichever it is.
    pub(crate) fn options(&self) -> &XdpOptions {
        match self {
            Self::Show(options) | Self::Replace(options) | Self::Detach(options) => options,
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(command: &XdpCommand) -> Result<()> {
    let options = command.options();
    match command {
        XdpCommand::Show(_) => show(options),
        XdpCommand::Replace(_) => options.chosen()?.iter().try_for_each(|interface| replace(options, interface)),
        XdpCommand::Detach(_) => options.chosen()?.iter().try_for_each(|interface| detach(options, interface)),
    }
}

impl XdpOptions {
    fn kept(&self) -> Result<Vec<KeptProgram>> {
        let all = kept::list(&self.directory).with_context(|| format!("cannot read {}", self.directory.display()))?;
        let wanted = |program: &KeptProgram| self.interfaces.is_empty() || self.interfaces.contains(&program.interface);
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// The interfaces that were named, or all where a program is kept.
    fn chosen(&self) -> Result<Vec<String>> {
        if !self.interfaces.is_empty() {
            return Ok(self.interfaces.clone());
        }
        let kept: Vec<String> = self.kept()?.into_iter().map(|program| program.interface).collect();
        if kept.is_empty() {
            bail!("no program is kept under {} for this network namespace", self.directory.display());
        }
        Ok(kept)
    }
}

fn show(options: &XdpOptions) -> Result<()> {
    let programs = options.kept()?;
    if options.json {
        for program in programs {
            print_json(&serde_json::json!({
                "interface": program.interface,
                "program": program.program,
                "version": program.version,
                "native": program.native,
                "in_use": program.in_use,
                "replaceable": program.replaceable,
            }));
        }
        return Ok(());
    }
    if programs.is_empty() {
        print_line(&format!("no program is kept under {} for this network namespace", options.directory.display()));
        return Ok(());
    }
    let mut rows = Rows::default();
    for program in programs {
        let text = format!(
            "program {} of version {}, {} XDP, {}{}",
            program.program,
            program.version,
            if program.native { "native" } else { "generic" },
            if program.in_use { "a stack runs with it" } else { "no stack runs with it" },
            if program.replaceable { "" } else { "; its maps are laid out otherwise than this version's" },
        );
        rows.add(program.interface, text);
    }
    print_line(&rows.to_string());
    Ok(())
}

fn replace(options: &XdpOptions, interface: &str) -> Result<()> {
    let replaced = kept::replace(&options.directory, interface)?;
    match options.json {
        true => print_json(&serde_json::json!({
            "interface": interface, "before": replaced.before, "after": replaced.after
        })),
        false => print_line(&format!("{interface}: program {} replaced by {}", replaced.before, replaced.after)),
    }
    Ok(())
}

fn detach(options: &XdpOptions, interface: &str) -> Result<()> {
    if !kept::remove(&options.directory, interface)? {
        bail!("no program is kept on {interface} under {}", options.directory.display());
    }
    match options.json {
        true => print_json(&serde_json::json!({ "interface": interface, "detached": true })),
        false => print_line(&format!("{interface}: detached")),
    }
    Ok(())
}

const SHOW_EXAMPLES: &str = "\
Examples:
  sctp xdp show
  sctp xdp show -i eth0 --json";

const REPLACE_EXAMPLES: &str = "\
Examples:
  sctp echo -i eth0 --keep-program                a stack whose program can be replaced
  sctp xdp replace -i eth0                        by a newer version of this command, while the stack goes on

It is refused where the maps of the two versions are not the same; the stack must be restarted, then.";

const DETACH_EXAMPLES: &str = "\
Examples:
  sctp xdp detach -i eth0
  ip netns exec ran sctp xdp detach";
