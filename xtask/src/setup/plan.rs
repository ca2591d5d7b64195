//! From what is missing to the commands that bring it: a pure function, so that it can be tested for machines that are not at hand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sctp_ebpf_toolchain::{LINKER_VERSION, LLVM, MissingItem, NIGHTLY};

use super::needs::Need;

/// The versions of LLVM that this version of `bpf-linker` can be built with and that read what the compilers write.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = LLVM..=23;

/// What is known of the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Needs that are not met.
    pub(crate) needs: Vec<Need>,
    /// What the search for the BPF toolchain did not find.
    pub(crate) toolchain: Vec<MissingItem>,
    /// True if `apt-get` is there.
    pub(crate) apt: bool,
    /// The packages of those we may ask for that apt can install.
    pub(crate) candidates: BTreeSet<String>,
    /// True if `rustup` is there and has been asked in vain for what we need from it.
    pub(crate) rustup: Rustup,
    /// The versions of LLVM whose development files are installed.
    pub(crate) llvms: BTreeSet<u32>,
    /// True if `cargo binstall` is there.
    pub(crate) binstall: bool,
    /// Where the workspace keeps its tools: `bpf-linker` goes into `bin` below it.
    pub(crate) tools: PathBuf,
}

/// What rustup can do for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rustup {
    /// It is not installed.
    #[default]
    Absent,
    /// It is, and may be asked.
    Present,
    /// It was asked for nightly and rust-src, and failed.
    Failed,
}

/// Commands that belong together, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// One line for people.
    pub(crate) why: String,
    /// As one would type them, without `sudo`.
    pub(crate) commands: Vec<String>,
    /// True if they need root.
    pub(crate) root: bool,
    /// True if the plan is to be made anew where this step fails, because there is another way.
    pub(crate) may_fail: bool,
}

/// What to do, or why it cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order.
    pub(crate) steps: Vec<Step>,
    /// What no command of ours brings: one sentence each that says what to do.
    pub(crate) by_hand: Vec<String>,
    /// What is missing and can be done without, one sentence each.
    pub(crate) without: Vec<String>,
}

impl Plan {
    /// True if nothing is missing that could be had.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.by_hand.is_empty()
    }
}

/// Makes the plan.
pub(crate) fn plan(facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    let mut packages = Packages::default();
    packages_of_needs(facts, &mut packages, &mut plan);
    compiler(facts, &mut packages, &mut plan);
    let linker = linker(facts, &mut packages);
    if let Some(step) = packages.into_step() {
        plan.steps.insert(0, step);
    }
    plan.steps.extend(linker);
    plan
}

/// Packages to install, with their reasons.
#[derive(Default)]
struct Packages {
    names: Vec<String>,
    reasons: Vec<String>,
}

impl Packages {
    fn add(&mut self, names: &[&str], reason: String) {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self.reasons.push(reason);
    }

    fn into_step(self) -> Option<Step> {
        (!self.names.is_empty()).then(|| Step {
            why: self.reasons.join("; "),
            // An archive that does not answer need not be the one that is needed. A fresh machine upgrades itself in its first
            // minutes, and apt-get would not wait for that.
            commands: vec![
                "apt-get update -q || true".to_owned(),
                format!(
                    "DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends {}",
                    self.names.join(" ")
                ),
            ],
            root: true,
            may_fail: false,
        })
    }
}

fn packages_of_needs(facts: &Facts, packages: &mut Packages, plan: &mut Plan) {
    for need in &facts.needs {
        let Need { what, why, package, .. } = need;
        if facts.candidates.contains(*package) {
            packages.add(&[package], format!("{what}: {why}"));
        } else if need.optional {
            plan.without.push(format!("{what} is not installed ({package}): it {why}"));
        } else if facts.apt {
            plan.by_hand
                .push(format!("{what}, which {why}: apt knows no package {package}; add an archive that has it"));
        } else {
            plan.by_hand.push(format!("{what}, which {why}: install what Debian calls {package}"));
        }
    }
}

/// Sees to the compiler.
fn compiler(facts: &Facts, packages: &mut Packages, plan: &mut Plan) {
    let missing = facts.toolchain.iter().find(|item| matches!(item, MissingItem::Compiler { .. }));
    let Some(missing) = missing else { return };
    if facts.rustup == Rustup::Present {
        plan.steps.push(Step {
            why: "rustup's nightly with the library's sources compiles the XDP program; of this day, beside any other"
                .to_owned(),
            commands: vec![format!("rustup toolchain install {NIGHTLY} --profile minimal --component rust-src")],
            root: false,
            may_fail: true,
        });
    } else if ["rustc-web", "rust-web-src"].iter().all(|package| facts.candidates.contains(*package)) {
        packages.add(
            &["rustc-web", "rust-web-src"],
            "Debian's compiler with the library's sources compiles the XDP program".to_owned(),
        );
    } else {
        plan.by_hand.push(format!("{missing}: install rustup (https://rustup.rs) and run `cargo xtask setup` again"));
    }
}

/// Sees to `bpf-linker`: built from source where the right LLVM is or can be installed, else the project's release.
fn linker(facts: &Facts, packages: &mut Packages) -> Option<Step> {
    if !facts.toolchain.iter().any(|item| matches!(item, MissingItem::Linker { .. })) {
        return None;
    }
    let tools = facts.tools.display().to_string();
    let why = "it links the XDP program; kept in the workspace and built once";
    let installed = facts.llvms.iter().copied().find(|version| LINKER_LLVMS.contains(version));
    let package = |version: u32| [format!("llvm-{version}-dev"), format!("libpolly-{version}-dev")];
    let mut fitting = LINKER_LLVMS;
    let installable =
        fitting.find(|version| package(*version).iter().all(|package| facts.candidates.contains(package)));
    if installed.is_none()
        && let Some(version) = installable
    {
        let names = package(version);
        packages.add(&names.each_ref().map(String::as_str), format!("LLVM {version} is what bpf-linker is built on"));
    }
    let command = if let Some(version) = installed.or(installable) {
        // LLVM does its work, so its own code need not be optimised much: half a minute to build, instead of two.
        format!(
            "LLVM_PREFIX=/usr/lib/llvm-{version} CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
             cargo install bpf-linker --version {LINKER_VERSION} --locked \
             --no-default-features --features llvm-{version} --root {tools}"
        )
    } else if facts.binstall {
        format!("cargo binstall --no-confirm bpf-linker@{LINKER_VERSION} --root {tools}")
    } else {
        // Static, with an LLVM of its own: what its authors recommend where the distribution has no fitting LLVM.
        let release = format!(
            "https://github.com/aya-rs/bpf-linker/releases/download/v{LINKER_VERSION}/bpf-linker-{}-unknown-linux-musl.tar.zst",
            std::env::consts::ARCH
        );
        format!("mkdir -p {tools}/bin && curl -fsSL {release} | tar --zstd -x -C {tools}/bin")
    };
    Some(Step {
        why: format!("bpf-linker {LINKER_VERSION}: {why}"),
        commands: vec![command],
        root: false,
        may_fail: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::needs::NEEDS;
    use super::*;

    fn both_missing() -> Vec<MissingItem> {
        vec![MissingItem::Compiler { rejected: vec![] }, MissingItem::Linker { other_versions: vec![] }]
    }

    /// A fresh Debian with nothing but cargo.
    fn debian() -> Facts {
        let toolchain = ["rustc-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"];
        Facts {
            needs: NEEDS.to_vec(),
            toolchain: both_missing(),
            apt: true,
            candidates: NEEDS.iter().map(|need| need.package).chain(toolchain).map(String::from).collect(),
            tools: "/workspace/target/tools".into(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert!(plan(&Facts::default()).is_empty());
    }

    #[test]
    fn a_fresh_debian_installs_packages_and_then_builds_the_linker() {
        let plan = plan(&debian());
        let [packages, linker] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert!(packages.root && !linker.root);
        for package in
            ["gcc", "libusrsctp-dev", "tshark", "rustc-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"]
        {
            assert!(packages.commands[1].contains(&format!(" {package}")), "{package}: {packages:?}");
        }
        assert!(
            packages.commands[1]
                .starts_with("DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y")
        );
        assert!(linker.commands[0].starts_with("LLVM_PREFIX=/usr/lib/llvm-22 "));
        assert!(linker.commands[0].contains(" cargo install bpf-linker --version 0.13"));
        assert!(linker.commands[0].ends_with("--features llvm-22 --root /workspace/target/tools"));
        assert!(plan.by_hand.is_empty() && plan.without.is_empty());
    }

    #[test]
    fn rustup_is_asked_first_for_the_pinned_nightly() {
        let plan = plan(&Facts { needs: vec![], rustup: Rustup::Present, ..debian() });
        let [packages, rustup, linker] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert!(packages.commands[1].ends_with(" llvm-22-dev libpolly-22-dev"), "no other compiler: {packages:?}");
        assert!(rustup.commands[0].starts_with("rustup toolchain install nightly-20"));
        assert!(rustup.may_fail && !rustup.root);
        assert!(linker.commands[0].contains("cargo install bpf-linker"));
    }

    #[test]
    fn where_rustup_fails_the_distribution_serves() {
        let plan = plan(&Facts { needs: vec![], rustup: Rustup::Failed, ..debian() });
        assert!(plan.steps[0].commands[1].contains("rustc-web"), "{plan:?}");
    }

    #[test]
    fn without_a_fitting_llvm_the_linkers_release_is_taken() {
        // Ubuntu: rustup's nightly is there, its LLVM is newer than any that is installed or that apt has.
        let facts = Facts {
            needs: vec![],
            toolchain: vec![MissingItem::Linker { other_versions: vec![] }],
            rustup: Rustup::Present,
            llvms: BTreeSet::from([18]),
            candidates: BTreeSet::new(),
            ..debian()
        };
        let steps = plan(&facts).steps;
        assert_eq!(steps.len(), 1);
        assert!(
            steps[0].commands[0].contains("curl -fsSL https://github.com/aya-rs/bpf-linker/releases/download/v0.13")
        );
        assert!(!steps[0].root);
        let steps = plan(&Facts { binstall: true, ..facts }).steps;
        assert!(steps[0].commands[0].starts_with("cargo binstall"));
    }

    #[test]
    fn an_installed_llvm_that_is_new_enough_is_used() {
        let facts = Facts {
            needs: vec![],
            toolchain: vec![MissingItem::Linker { other_versions: vec![] }],
            llvms: BTreeSet::from([14, 19, 23, 30]),
            ..debian()
        };
        let steps = plan(&facts).steps;
        assert_eq!(steps.len(), 1, "no package is needed");
        assert!(steps[0].commands[0].contains("LLVM_PREFIX=/usr/lib/llvm-23 "), "{steps:?}");
    }

    #[test]
    fn what_apt_lacks_is_for_people_unless_it_is_optional() {
        let mut facts = debian();
        facts.candidates.remove("libusrsctp-dev");
        facts.candidates.remove("bpftool");
        let plan = plan(&facts);
        assert!(plan.by_hand.iter().any(|line| line.contains("libusrsctp-dev")), "{plan:?}");
        assert!(plan.without.iter().any(|line| line.contains("bpftool")), "{plan:?}");
    }

    #[test]
    fn without_apt_everything_is_said() {
        let plan = plan(&Facts { apt: false, candidates: BTreeSet::new(), ..debian() });
        let needed = NEEDS.iter().filter(|need| !need.optional).count();
        assert_eq!(plan.by_hand.len(), needed + 1, "the packages and the compiler: {plan:?}");
        assert!(plan.by_hand.iter().any(|line| line.contains("https://rustup.rs")));
    }
}
