//! Running cargo for the BPF target.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::find::{TARGET, workspace};
use crate::{Compiler, Toolchain};

impl Toolchain {
    /// Builds the XDP program and gives the path of its ELF object.
    ///
    /// `target_directory` is cargo's target directory for this build. It must not be the one of a cargo that waits for
    /// this call (a build script's cargo does), since both would lock it.
    ///
    /// # Errors
    ///
    /// Cargo does not start, or fails: then with everything that it printed.
    pub fn build(&self, target_directory: &Path) -> Result<PathBuf, BuildError> {
        let output = self.command(target_directory).output().map_err(BuildError::Start)?;
        if !output.status.success() {
            return Err(BuildError::Failed {
                toolchain: self.compiler.to_string(),
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        let object = target_directory.join(TARGET).join("release").join(PACKAGE);
        if object.is_file() { Ok(object) } else { Err(BuildError::NoObject(object)) }
    }

    fn command(&self, target_directory: &Path) -> Command {
        let mut command = match &self.compiler {
            Compiler::Rustup { sysroot } => {
                let mut command = Command::new(sysroot.join("bin/cargo"));
                forget_the_outer_build(&mut command);
                command.env("RUSTC", sysroot.join("bin/rustc"));
                command
            }
            Compiler::System { rustc } => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
                let mut command = Command::new(cargo);
                forget_the_outer_build(&mut command);
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command
            .arg("build")
            .args(["--release", "--locked", "--package", PACKAGE, "--target", TARGET])
            .args(["-Z", "build-std=core"])
            .arg("--manifest-path")
            .arg(workspace().join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target_directory)
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags().join("\u{1f}"))
            .env(format!("CARGO_TARGET_{}_LINKER", TARGET.replace('-', "_").to_uppercase()), &self.linker)
            // The program's own profile, whatever the workspace's release profile is.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
        command
    }
}

/// Why the XDP program could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo did not start.
    #[error("cargo for the BPF target could not be started: is it on PATH?")]
    Start(#[source] io::Error),
    /// Cargo failed.
    #[error(
        "the XDP program could not be built with the {toolchain}. If the sources are as they were checked out, run \
         `cargo xtask setup` to renew the toolchain. Cargo said:\n{output}"
    )]
    Failed {
        /// The compiler that was used.
        toolchain: String,
        /// What cargo printed.
        output: String,
    },
    /// Cargo succeeded but the object is not where it should be.
    #[error("cargo reported success but left no {}: remove that directory and build again", .0.display())]
    NoObject(PathBuf),
}

/// Package and binary of the XDP program.
const PACKAGE: &str = "sctp-ebpf";

fn rustflags() -> Vec<String> {
    vec![
        // Which machine's registers `PtRegs` means; aya's crates look at it.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        // Type information, which the kernel wants for global functions and for readable verifier logs.
        "-Clink-arg=--btf".to_owned(),
        // Compare-and-jump on 32 bits; every kernel that has what this project needs has it.
        "-Ctarget-cpu=v3".to_owned(),
    ]
}

/// Removes what an outer cargo, rustup or clippy has put into the environment for its own compilation.
///
/// A build script inherits its cargo's flags, wrappers (under clippy, `clippy-driver`) and job server; none of them fits
/// another compiler and another target. Settings for the network and the registry stay.
fn forget_the_outer_build(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_the_outer_build) {
            command.env_remove(name);
        }
    }
}

fn belongs_to_the_outer_build(name: &str) -> bool {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "RUSTUP_HOME"];
    const GONE: [&str; 6] = ["CARGO", "RUST", "CLIPPY_", "TARGET", "MAKEFLAGS", "MFLAGS"];
    !KEPT.iter().any(|kept| name.starts_with(kept)) && GONE.iter().any(|gone| name.starts_with(gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_wrappers_of_the_outer_build_are_forgotten() {
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            assert!(belongs_to_the_outer_build(name), "{name}");
        }
        for name in ["RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_MAKEFLAGS", "CLIPPY_ARGS", "CARGO_BUILD_TARGET"] {
            assert!(belongs_to_the_outer_build(name), "{name}");
        }
    }

    #[test]
    fn network_and_home_are_kept() {
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "HTTPS_PROXY"] {
            assert!(!belongs_to_the_outer_build(name), "{name}");
        }
    }

    #[test]
    fn the_system_compiler_is_run_as_the_target_needs() {
        let toolchain = Toolchain {
            compiler: Compiler::System { rustc: "/usr/bin/rustc".into() },
            linker: "/opt/bpf-linker".into(),
        };
        let command = toolchain.command(Path::new("/tmp/elsewhere"));
        let value = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
            found.map(|value| value.to_string_lossy().into_owned())
        };
        assert_eq!(value("RUSTC").as_deref(), Some("/usr/bin/rustc"));
        assert_eq!(value("RUSTC_BOOTSTRAP").as_deref(), Some("1"));
        assert_eq!(value("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER").as_deref(), Some("/opt/bpf-linker"));
        assert!(command.get_args().any(|argument| argument == "/tmp/elsewhere"));
    }

    #[test]
    fn a_failed_build_says_what_cargo_said() {
        let directory = tempfile::tempdir().unwrap();
        let toolchain = Toolchain {
            compiler: Compiler::Rustup { sysroot: directory.path().to_path_buf() },
            linker: "/nowhere/bpf-linker".into(),
        };
        assert!(matches!(toolchain.build(directory.path()), Err(BuildError::Start(_))));
    }
}
