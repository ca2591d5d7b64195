//! Finds out what is missing. Slow questions (apt, compilers) are asked only if something is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use sctp_ebpf_toolchain::{LLVM, Toolchain, tools_directory};
use sctp_lab::{is_root, tool};

use super::needs::{NEEDS, Purpose};
use super::plan::{Facts, Rustup};

/// What is missing for `purpose`, and what the machine offers to bring it. `rustup` is what is known of it from before.
pub(super) fn gather(purpose: Purpose, rustup: Rustup) -> Result<Facts> {
    let needs: Vec<_> = NEEDS.into_iter().filter(|need| need.purpose <= purpose && !need.is_met()).collect();
    let toolchain = Toolchain::find().err().map_or_else(Vec::new, |missing| missing.items);
    let mut facts = Facts { needs, toolchain, ..Facts::default() };
    if facts.needs.is_empty() && facts.toolchain.is_empty() {
        return Ok(facts);
    }
    facts.apt = tool::is_installed("apt-get");
    if facts.apt {
        facts.candidates = candidates(&facts)?;
    }
    facts.rustup = match rustup {
        Rustup::Absent if tool::is_installed("rustup") => Rustup::Present,
        known => known,
    };
    facts.llvms =
        (14..=40).filter(|version| Path::new(&format!("/usr/lib/llvm-{version}/lib/libLLVM.so")).exists()).collect();
    facts.binstall = tool::is_installed("cargo-binstall");
    let bin = tools_directory();
    facts.tools = bin.parent().unwrap_or(&bin).to_path_buf();
    Ok(facts)
}

/// Those of the packages that may be wanted which apt can install. Fetches apt's lists first where they are empty.
fn candidates(facts: &Facts) -> Result<BTreeSet<String>> {
    let mut packages: Vec<String> = facts.needs.iter().map(|need| need.package.to_owned()).collect();
    if !facts.toolchain.is_empty() {
        packages.extend(["rustc-web", "rust-web-src"].map(String::from));
        packages
            .extend((LLVM..=LLVM + 1).flat_map(|llvm| [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]));
    }
    let known = installable(&packages)?;
    if !known.is_empty() || !is_root() {
        return Ok(known);
    }
    println!("$ apt-get update");
    tool::run("apt-get", &["update", "-q"])?;
    installable(&packages)
}

fn installable(packages: &[String]) -> Result<BTreeSet<String>> {
    let policy = tool::run_command(Command::new("apt-cache").env("LC_ALL", "C").arg("policy").args(packages))?;
    Ok(parse_policy(&policy))
}

/// Reads the answer of `apt-cache policy`: the packages that have a candidate.
fn parse_policy(policy: &str) -> BTreeSet<String> {
    let mut installable = BTreeSet::new();
    let mut package = "";
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if line.trim().strip_prefix("Candidate: ").is_some_and(|candidate| candidate != "(none)") {
            installable.insert(package.to_owned());
        }
    }
    installable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_those_with_a_version() {
        let policy = "gcc:\n  Installed: (none)\n  Candidate: 4:12.2.0-3\n  Version table:\n     4:12.2.0-3 500\n        500 http://archive main Packages\n\
                      llvm-22-dev:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(parse_policy(policy), BTreeSet::from(["gcc".to_owned()]));
        assert!(parse_policy("").is_empty());
    }

    #[test]
    fn this_machine_can_be_asked() {
        let facts = gather(Purpose::Build, Rustup::Absent).unwrap();
        // Whatever is missing here is named; what is not missing is not.
        assert!(facts.needs.iter().all(|need| !need.is_met()));
    }
}
