//! The root file system of a guest: a directory that the guest mounts read-only, made from what the machine has.
//!
//! It holds the agent as first process, the peers, busybox, a few tools with their libraries, and modules. It is kept among
//! what cargo builds, under a name that changes with everything that it is made of.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::modules::Modules;
use crate::{peer, tool};

/// The kernel, as a program.
pub(super) const KERNEL: &str = "linux.uml";

/// Where Debian's package has the kernel's modules, in a directory for each release.
const MODULES: &str = "/usr/lib/uml/modules";

/// SCTP and what it asks the kernel for by name when it is first used; and a network that loses packets.
const WANTED_MODULES: [&str; 6] = ["hmac", "md5", "sha1_generic", "crc32c_generic", "sctp", "sch_netem"];

/// Programs of the machine that guests have, too.
const TOOLS: [&str; 4] = ["busybox", "ip", "tc", "ethtool"];

/// Directories that the agent mounts something on, and the one for a guest's temporary files outside of it.
const EMPTY: [&str; 6] = ["dev", "proc", "run", "sys", "tmp", TEMPORARY];
const TEMPORARY: &str = "temporary";

/// To be counted up when a root is to be made in another way from the same things.
const VERSION: u32 = 1;

/// A root file system and the kernel for it.
#[derive(Debug)]
pub(super) struct Root {
    /// Where it is.
    pub(super) directory: PathBuf,
    /// The kernel.
    pub(super) kernel: PathBuf,
}

impl Root {
    /// An empty directory on which every guest mounts its own temporary files, unseen by others.
    pub(super) fn temporary(&self) -> PathBuf {
        self.directory.join(TEMPORARY)
    }
}

/// The root file system, made unless it is there already.
///
/// # Errors
/// If something is not installed, or the file system cannot be written.
pub(super) fn build() -> Result<Root> {
    let kernel = installed(KERNEL)?;
    let release = tool::run(KERNEL, &["--version"])?;
    let files = files(release.trim())?;
    let mut hasher = DefaultHasher::new();
    (VERSION, EMPTY).hash(&mut hasher);
    for file in &files {
        let metadata = std::fs::metadata(&file.from).with_context(|| file.from.display().to_string())?;
        (&file.from, &file.to, metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
    }
    let parent = std::path::absolute(peer::target_directory().join("uml"))?;
    let directory = parent.join(format!("root-{:016x}", hasher.finish()));
    if directory.exists() {
        return Ok(Root { directory, kernel });
    }

    // Under a name of its own first: several tests may make it at once.
    static UNFINISHED: AtomicU32 = AtomicU32::new(0);
    let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
    let unfinished = parent.join(format!("unfinished-{}-{number}", std::process::id()));
    fill(&unfinished, &files).with_context(|| format!("cannot make {}", unfinished.display()))?;
    if let Err(error) = std::fs::rename(&unfinished, &directory) {
        std::fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
        // Another test was quicker.
        if !directory.exists() {
            return Err(error).with_context(|| directory.display().to_string());
        }
    }
    Ok(Root { directory, kernel })
}

/// A file of the machine and where it is to be below the root.
#[derive(Debug)]
struct File {
    from: PathBuf,
    to: PathBuf,
}

/// Everything that the root is made of. Modules are in the order in which they must be loaded.
fn files(release: &str) -> Result<Vec<File>> {
    let mut files = vec![File { from: peer::kernel_agent()?, to: "init".into() }];
    files.push(File { from: peer::kernel_client()?, to: "bin/kernel_client".into() });
    files.push(File { from: peer::kernel_server()?, to: "bin/kernel_server".into() });
    for name in TOOLS {
        let program = installed(name)?;
        for library in libraries(&program) {
            let to = library.strip_prefix("/").unwrap_or(&library).to_owned();
            if !files.iter().any(|file| file.to == to) {
                files.push(File { from: library, to });
            }
        }
        files.push(File { from: program, to: Path::new("bin").join(name) });
    }
    let directory = Path::new(MODULES).join(release);
    for module in Modules::read(&directory)?.load_order(&WANTED_MODULES)? {
        let to = Path::new("modules").join(module.file_name().unwrap_or_default());
        files.push(File { from: directory.join(module), to });
    }
    Ok(files)
}

fn fill(root: &Path, files: &[File]) -> Result<()> {
    for directory in EMPTY {
        std::fs::create_dir_all(root.join(directory))?;
    }
    for File { from, to } in files {
        let to = root.join(to);
        std::fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        std::fs::copy(from, &to).with_context(|| from.display().to_string())?;
    }
    let modules = files.iter().filter_map(|file| file.to.strip_prefix("modules").ok());
    let list: String = modules.map(|module| format!("{}\n", module.display())).collect();
    std::fs::write(root.join("modules/list"), list)?;
    // All that busybox can do, under the usual names, where there is no better program.
    for name in tool::run("busybox", &["--list"])?.lines() {
        let name = root.join("bin").join(name);
        if !name.exists() {
            symlink("busybox", name)?;
        }
    }
    Ok(())
}

fn installed(program: &str) -> Result<PathBuf> {
    tool::find(program).with_context(|| format!("{program} is not installed: run `cargo xtask setup`"))
}

/// The libraries that a program is linked with, and their loader; none if it is static.
fn libraries(program: &Path) -> Vec<PathBuf> {
    // ldd fails for a static program.
    let answer = std::process::Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let answer = answer.map(|output| output.stdout).unwrap_or_default();
    parse_libraries(&String::from_utf8_lossy(&answer))
}

/// Reads the answer of ldd(1): "name => /path (0x…)", or "/path (0x…)" for the loader.
fn parse_libraries(answer: &str) -> Vec<PathBuf> {
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(OsStr::new).map(PathBuf::from);
    answer.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found() {
        let answer = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_libraries(answer), expected.map(PathBuf::from));
        assert!(parse_libraries("\tnot a dynamic executable\n").is_empty());
    }
}
