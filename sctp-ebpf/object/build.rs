//! Builds the XDP program for the BPF target and leaves the object where `src/lib.rs` embeds it from.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sctp_ebpf_toolchain::Toolchain;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Cargo prints standard error of a failed build script, and `error` lines of its standard output first.
            println!("cargo::error={}", error.to_string().lines().next().unwrap_or_default());
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let object = Toolchain::find()?.build(&target_directory(&out))?;
    fs::copy(object, out.join("sctp-ebpf"))?;
    Ok(())
}

/// What the program is made of, from the workspace's root.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "sctp-common/Cargo.toml",
    "sctp-common/src",
    "sctp-ebpf/Cargo.toml",
    "sctp-ebpf/src",
    "sctp-ebpf/toolchain/src",
];

/// A target directory of the program's own, which all profiles share: `bpf` in the outer target directory.
///
/// That directory is found by the tag file that cargo leaves in it, since a build script is not told its path.
fn target_directory(out: &Path) -> PathBuf {
    let outer = out.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(out).join("bpf")
}
