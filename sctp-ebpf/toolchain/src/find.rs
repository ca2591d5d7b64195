//! The search for a compiler and a linker.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of `bpf-linker` that the project builds with. Another patch release of it is accepted too.
pub const LINKER_VERSION: &str = "0.13.0";

/// rustup's toolchain that the project builds the XDP program with.
///
/// Pinned, for two reasons: the linker reads what its own LLVM or an older one wrote, and a rolling nightly overtakes it some day
/// (1.101 writes for LLVM 23, where distributions have 22); and instructions that the verifier accepts today are to be the same
/// tomorrow. Its LLVM is [`LLVM`], as that of Debian's `rustc-web` is.
pub const NIGHTLY: &str = "nightly-2026-05-19";

/// The major version of LLVM in the compilers that are used, and the oldest that the linker may be built with.
pub const LLVM: u32 = 22;

/// A compiler and a linker for the BPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler, whose sysroot holds the library's sources.
    pub compiler: Compiler,
    /// `bpf-linker`'s executable.
    pub linker: PathBuf,
}

impl Toolchain {
    /// Looks for a toolchain where this [crate] says.
    ///
    /// # Errors
    ///
    /// What is missing; `cargo xtask setup` installs it.
    pub fn find() -> Result<Self, Missing> {
        Search::of_this_machine().find()
    }
}

/// A compiler that can build for the BPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A toolchain of rustup's, with `rust-src`.
    Rustup {
        /// Its sysroot; `bin/rustc` and `bin/cargo` are below it.
        sysroot: PathBuf,
    },
    /// The system's compiler, to be run under `RUSTC_BOOTSTRAP=1`.
    System {
        /// The executable.
        rustc: PathBuf,
    },
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup { sysroot } => write!(f, "rustup toolchain in {}", sysroot.display()),
            Self::System { rustc } => write!(f, "{} with its own library sources", rustc.display()),
        }
    }
}

/// What [`Toolchain::find`] did not find.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BPF toolchain is not complete: {}. Run `cargo xtask setup`, which installs it", list(.items))]
pub struct Missing {
    /// Each thing that is missing, at least one.
    pub items: Vec<MissingItem>,
}

/// One thing that is missing from the BPF toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingItem {
    /// No compiler was found that can build for the BPF target.
    Compiler {
        /// The compilers that were looked at, each with the reason why it will not do.
        rejected: Vec<String>,
    },
    /// No `bpf-linker` of the right version was found.
    Linker {
        /// The executables of other versions that were found, with what they say of their version.
        other_versions: Vec<(PathBuf, String)>,
    },
}

impl fmt::Display for MissingItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiler { rejected } => {
                write!(f, "no Rust compiler with library sources for the BPF target")?;
                if rejected.is_empty() { Ok(()) } else { write!(f, " ({})", rejected.join("; ")) }
            }
            Self::Linker { other_versions } => {
                write!(f, "no bpf-linker {LINKER_VERSION}")?;
                for (path, version) in other_versions {
                    write!(f, " ({} is {version})", path.display())?;
                }
                Ok(())
            }
        }
    }
}

/// Where `cargo xtask setup` installs tools for this project alone: `target/tools/bin` in the workspace.
#[must_use]
pub fn tools_directory() -> PathBuf {
    workspace().join("target/tools/bin")
}

/// The workspace's root directory.
pub(crate) fn workspace() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    // `sctp-ebpf/toolchain` lies two levels below the root.
    crate_directory.ancestors().nth(2).unwrap_or(crate_directory).to_path_buf()
}

/// The BPF target of this machine's byte order.
pub(crate) const TARGET: &str =
    if cfg!(target_endian = "little") { "bpfel-unknown-none" } else { "bpfeb-unknown-none" };

/// The places to look in, apart from the search itself so that tests can use places of their own.
struct Search {
    /// Directories with executables, in the order of preference.
    directories: Vec<PathBuf>,
    system_rustc: PathBuf,
}

impl Search {
    fn of_this_machine() -> Self {
        let mut directories: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        directories.extend(cargo_home.map(|home| home.join("bin")));
        directories.push(tools_directory());
        Self { directories, system_rustc: PathBuf::from("/usr/bin/rustc") }
    }

    fn find(&self) -> Result<Toolchain, Missing> {
        match (self.compiler(), self.linker()) {
            (Ok(compiler), Ok(linker)) => Ok(Toolchain { compiler, linker }),
            (compiler, linker) => {
                let items = compiler.err().into_iter().chain(linker.err()).collect();
                Err(Missing { items })
            }
        }
    }

    fn compiler(&self) -> Result<Compiler, MissingItem> {
        let mut rejected = Vec::new();
        match self.rustup_nightly() {
            Ok(Some(sysroot)) => return Ok(Compiler::Rustup { sysroot }),
            Ok(None) => {}
            Err(reason) => rejected.push(reason),
        }
        match system_compiler(&self.system_rustc) {
            Ok(true) => return Ok(Compiler::System { rustc: self.system_rustc.clone() }),
            Ok(false) => {}
            Err(reason) => rejected.push(reason),
        }
        Err(MissingItem::Compiler { rejected })
    }

    /// The sysroot of rustup's [`NIGHTLY`]; `None` if there is no such toolchain.
    fn rustup_nightly(&self) -> Result<Option<PathBuf>, String> {
        let Some(rustup) = self.executables("rustup").next() else { return Ok(None) };
        let Some(rustc) = answer(&rustup, ["which", "--toolchain", NIGHTLY, "rustc"]) else { return Ok(None) };
        let rustc = PathBuf::from(rustc);
        let sysroot =
            rustc.parent().and_then(Path::parent).ok_or_else(|| format!("rustup names no sysroot for {NIGHTLY}"))?;
        if !has_library_sources(sysroot) {
            return Err(format!("rustup's {NIGHTLY} has no component rust-src"));
        }
        knows_the_target(&rustc)?;
        Ok(Some(sysroot.to_path_buf()))
    }

    fn linker(&self) -> Result<PathBuf, MissingItem> {
        let mut other_versions = Vec::new();
        for linker in self.executables("bpf-linker") {
            let version = answer(&linker, ["--version"]).unwrap_or_else(|| "not executable".to_owned());
            if is_linker_version(&version) {
                return Ok(linker);
            }
            other_versions.push((linker, version));
        }
        Err(MissingItem::Linker { other_versions })
    }

    fn executables(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().map(move |directory| directory.join(name)).filter(|path| path.is_file())
    }
}

/// Whether `rustc`, the system's compiler, will do; `Ok(false)` if there is none.
fn system_compiler(rustc: &Path) -> Result<bool, String> {
    if !rustc.is_file() {
        return Ok(false);
    }
    let name = rustc.display();
    let version = answer(rustc, ["--version"]).ok_or_else(|| format!("{name} does not run"))?;
    let oldest = parse_version(env!("CARGO_PKG_RUST_VERSION"));
    if parse_version(&version) < oldest {
        return Err(format!("{name} is older than {}: {version}", env!("CARGO_PKG_RUST_VERSION")));
    }
    let sysroot = answer(rustc, ["--print", "sysroot"]).ok_or_else(|| format!("{name} names no sysroot"))?;
    if !has_library_sources(Path::new(&sysroot)) {
        return Err(format!("{name} has no library sources (Debian's package rust-web-src)"));
    }
    knows_the_target(rustc)?;
    Ok(true)
}

fn has_library_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

fn knows_the_target(rustc: &Path) -> Result<(), String> {
    let targets = answer(rustc, ["--print", "target-list"]).unwrap_or_default();
    let known = targets.lines().any(|line| line == TARGET);
    if known { Ok(()) } else { Err(format!("{} does not know the target {TARGET}", rustc.display())) }
}

/// Major and minor version in the first word of `text` that looks like one, as in `rustc 1.96.0 (…)` or `1.95`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    })
}

/// Whether `text`, the answer to `--version`, is a release of the same major and minor version as [`LINKER_VERSION`].
fn is_linker_version(text: &str) -> bool {
    parse_version(text).is_some() && parse_version(text) == parse_version(LINKER_VERSION)
}

/// What `program` prints on standard output, trimmed; `None` if it does not run or fails.
fn answer<I: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = I>) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn list(items: &[MissingItem]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Writes an executable shell script that prints `text` whatever it is asked.
    fn script(directory: &Path, name: &str, body: &str) -> PathBuf {
        let path = directory.join(name);
        fs::create_dir_all(directory).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A directory that looks like a sysroot whose compiler knows the BPF target.
    fn sysroot(at: &Path, with_sources: bool, version: &str) -> PathBuf {
        let body = format!(
            "case \"$*\" in *sysroot) echo {};; *target-list) echo {TARGET};; *) echo rustc {version};; esac",
            at.display()
        );
        if with_sources {
            let core = at.join("lib/rustlib/src/rust/library/core");
            fs::create_dir_all(&core).unwrap();
            fs::write(core.join("Cargo.toml"), "").unwrap();
        }
        script(&at.join("bin"), "rustc", &body)
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().join(below)
        }

        fn with_linker(self, version: &str) -> Self {
            script(&self.path("bin"), "bpf-linker", &format!("echo bpf-linker {version}"));
            self
        }

        fn with_nightly(self, with_sources: bool) -> Self {
            let rustc = sysroot(&self.path("nightly"), with_sources, "1.97.0-nightly");
            script(&self.path("bin"), "rustup", &format!("echo {}", rustc.display()));
            self
        }

        fn with_system(self, with_sources: bool, version: &str) -> Self {
            sysroot(&self.path("usr"), with_sources, version);
            self
        }

        fn search(&self) -> Result<Toolchain, Missing> {
            let directories = vec![self.path("absent"), self.path("bin")];
            Search { directories, system_rustc: self.path("usr/bin/rustc") }.find()
        }
    }

    #[test]
    fn nightly_with_sources_is_preferred() {
        let place = Place::new().with_linker("0.13.0").with_nightly(true).with_system(true, "1.96.0");
        let found = place.search().unwrap();
        assert_eq!(found.compiler, Compiler::Rustup { sysroot: place.path("nightly") });
        assert_eq!(found.linker, place.path("bin/bpf-linker"));
    }

    #[test]
    fn nightly_without_sources_gives_way_to_the_system() {
        let place = Place::new().with_linker("0.13.2").with_nightly(false).with_system(true, "1.96.0");
        let system = Compiler::System { rustc: place.path("usr/bin/rustc") };
        assert_eq!(place.search().unwrap().compiler, system);
    }

    #[test]
    fn rejected_compilers_are_named_with_the_reason() {
        let place = Place::new().with_linker("0.13.0").with_nightly(false).with_system(true, "1.80.1");
        let missing = place.search().unwrap_err();
        let [MissingItem::Compiler { rejected }] = missing.items.as_slice() else { panic!("{missing:?}") };
        assert!(rejected[0].contains("rust-src") && rejected[1].contains("older"), "{rejected:?}");
        assert!(missing.to_string().contains("cargo xtask setup"));
    }

    #[test]
    fn a_system_compiler_without_sources_will_not_do() {
        let missing = Place::new().with_linker("0.13.0").with_system(false, "1.96.0").search().unwrap_err();
        assert!(missing.to_string().contains("rust-web-src"), "{missing}");
    }

    #[test]
    fn a_linker_of_another_version_will_not_do() {
        let place = Place::new().with_linker("0.9.13").with_system(true, "1.96.0");
        let missing = place.search().unwrap_err();
        let [MissingItem::Linker { other_versions }] = missing.items.as_slice() else { panic!("{missing:?}") };
        assert_eq!(other_versions[0].1, "bpf-linker 0.9.13");
    }

    #[test]
    fn an_empty_machine_lacks_both() {
        let missing = Place::new().search().unwrap_err();
        assert_eq!(missing.items.len(), 2);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some((1, 96)));
        assert!(parse_version("1.100") > parse_version("1.95"));
        assert_eq!(parse_version("no version"), None);
    }
}
