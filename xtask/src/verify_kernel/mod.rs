//! `cargo xtask verify-kernel`: the XDP program on another kernel than this machine's, Debian's 6.1 by default, in QEMU without KVM.
//!
//! Verifiers differ: what one kernel can prove of a program another cannot. The guest is that kernel and an initial file system with one
//! program in it, the tests of the XDP program (`tests/tests/xdp_program`), which load it, tell how many instructions the verifier has
//! walked and how much stack the program needs, and can run it on frames. Packages come from the machine's Debian archive and are unpacked below
//! cargo's target directory; nothing is installed. A run takes a minute and more, since the guest's processor is emulated: hence it is no part
//! of `cargo xtask test`.

mod cpio;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sctp_lab::peer::target_directory;
use sctp_lab::{Process, interrupt, process, tool};

use self::cpio::Archive;
use crate::cargo::cargo;
use crate::setup::{self, Purpose};

/// Which kernel, and what it shall run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Version of the kernel, as it begins: apt's newest package linux-image-VERSION.…-amd64
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Tests of the XDP program to run there, by parts of their names: `verdicts:: answers::` run it on frames, for some minutes more
    #[arg(default_values = ["the_verifier_has_patience_to_spare", "the_stack_suffices"])]
    tests: Vec<String>,
    /// Ends the guest after so many seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// The emulator, and its package.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// What the guest's first process says last, with the tests' exit status behind it.
const ENDED: &str = "tests ended with status";

/// MiB of memory of the guest.
const MEMORY: &str = "768";

/// For the kernel: its messages, and a timer that an emulator on a busy machine cannot keep exactly.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 no_timer_check mitigations=off";

/// Gets what is missing, builds the tests, boots the kernel and runs them.
///
/// # Errors
/// If a package cannot be had, the guest does not end in time, or a test fails: the verifier's reasons are printed then.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "the tests are built for this machine, and the kernel is for x86-64");
    setup::ensure(Purpose::Test)?;
    let directory = std::path::absolute(target_directory().join("kernels"))?;
    let kernel = kernel(&directory, &options.kernel)?;
    let emulator = Emulator::find(&directory)?;
    let tests = built_tests()?;
    std::fs::create_dir_all(&directory)?;
    let initial = tempfile::NamedTempFile::new_in(&directory)?;
    std::fs::write(initial.path(), initial_files(&tests, &options.tests)?)?;
    println!("booting {}", kernel.file_name().unwrap_or_default().to_string_lossy());

    let mut command = emulator.command();
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-smp",
        "1",
        "-m",
        MEMORY,
        "-nic",
        "none",
        "-nographic",
        "-no-reboot",
    ]);
    command.arg("-kernel").arg(&kernel).arg("-initrd").arg(initial.path()).args(["-append", KERNEL_OPTIONS]);
    let mut guest = Process::spawn(&mut command)?;
    let started = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    loop {
        interrupt::check()?;
        let left = limit.saturating_sub(started.elapsed());
        let line = guest.next_line(left).with_context(|| format!("the guest did not end within {limit:?}"))?;
        let Some(line) = line else { bail!("the guest ended before its tests did") };
        let line = line.trim_end();
        if let Some((_, status)) = line.split_once(ENDED) {
            println!("after {:.0} s", started.elapsed().as_secs_f64());
            ensure!(status.trim() == "0", "tests failed on this kernel (exit status {})", status.trim());
            return Ok(());
        }
        println!("  {line}");
    }
}

/// The kernel, downloaded unless it is there.
fn kernel(directory: &Path, version: &str) -> Result<PathBuf> {
    let package =
        newest(&tool::run("apt-cache", &["pkgnames", &format!("linux-image-{version}.")])?).with_context(|| {
            format!(
                "apt knows no package linux-image-{version}.…-amd64: add the archive of a Debian release that has it"
            )
        })?;
    let unpacked = unpacked(directory, &package, std::slice::from_ref(&package))?;
    let kernel = unpacked.join("boot").join(package.replacen("linux-image", "vmlinuz", 1));
    ensure!(kernel.exists(), "{package} has no {}", kernel.display());
    Ok(kernel)
}

/// Of packages of kernels, one name a line, the newest of Debian's ordinary ones.
fn newest(names: &str) -> Option<String> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-amd64")?;
        version.split(['.', '-']).map(|number| number.parse().ok()).collect()
    };
    names.lines().filter_map(|name| Some((numbers(name)?, name))).max().map(|(_, name)| name.to_owned())
}

/// Packages, downloaded and unpacked into a directory of this name.
fn unpacked(directory: &Path, name: &str, packages: &[String]) -> Result<PathBuf> {
    let done = directory.join(name);
    if done.exists() {
        return Ok(done);
    }
    println!("downloading {}", packages.join(" "));
    // Under another name first, so that what was interrupted is not taken for whole.
    std::fs::create_dir_all(directory)?;
    let unfinished = tempfile::tempdir_in(directory)?;
    let mut command = Command::new("apt-get");
    command.current_dir(unfinished.path()).args(["-o", "APT::Sandbox::User=root", "download"]).args(packages);
    tool::run_command(&mut command)?;
    let root = unfinished.path().join("root");
    for file in std::fs::read_dir(unfinished.path())? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            tool::run_command(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&root))?;
        }
    }
    std::fs::rename(&root, &done).with_context(|| done.display().to_string())?;
    Ok(done)
}

/// QEMU, installed or unpacked.
struct Emulator {
    program: PathBuf,
    /// Where it is unpacked.
    root: Option<PathBuf>,
}

impl Emulator {
    fn find(directory: &Path) -> Result<Self> {
        let (program, package) = EMULATOR;
        if let Some(program) = tool::find(program) {
            return Ok(Self { program, root: None });
        }
        // What it needs beside what is installed.
        let plan = tool::run("apt-get", &["install", "--simulate", "--no-install-recommends", package])?;
        let packages: Vec<String> =
            plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned)).collect();
        let root = unpacked(directory, package, &packages)?;
        Ok(Self { program: root.join("usr/bin").join(program), root: Some(root) })
    }

    fn command(&self) -> Command {
        let mut command = process::here(&self.program);
        if let Some(root) = &self.root {
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
            for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(firmware));
            }
        }
        command
    }
}

/// The program with the tests of the XDP program.
fn built_tests() -> Result<PathBuf> {
    let mut command = cargo(&["test", "--package", "sctp-tests", "--test", "xdp_program", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let output = command.output()?;
    ensure!(output.status.success(), "cargo could not build the tests (see above)");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        if message["target"]["name"] != "xdp_program" {
            return None;
        }
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().find_map(executable).context("cargo does not say where the tests are")
}

/// The guest's first file system: the tests with their libraries, busybox, and the script that runs them.
fn initial_files(tests: &Path, filters: &[String]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.directory(directory);
    }
    let busybox = tool::find("busybox").context("busybox is not installed: run `cargo xtask setup`")?;
    archive.file("bin/busybox", &std::fs::read(busybox)?);
    archive.file("tests", &std::fs::read(tests).with_context(|| tests.display().to_string())?);
    let libraries = tool::run_command(Command::new("ldd").arg(tests))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        archive.file(library.trim_start_matches('/'), &std::fs::read(library)?);
    }
    let filters = filters.iter().map(|filter| tool::quoted(filter)).collect::<Vec<_>>().join(" ");
    let script = format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin RUST_BACKTRACE=0\n\
         busybox mount -t proc proc /proc\n\
         busybox mount -t sysfs sys /sys\n\
         busybox mount -t devtmpfs dev /dev\n\
         busybox uname -a\n\
         /tests --test-threads 1 --nocapture {filters}\n\
         echo \"{ENDED} $?\"\n\
         busybox poweroff -f\n"
    );
    archive.file("init", script.as_bytes());
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ordinary_kernel_is_taken() {
        let names = "linux-image-6.1.0-9-amd64\nlinux-image-6.1.0-56-amd64\nlinux-image-6.1.0-57-cloud-amd64\n\
                     linux-image-6.1.0-58-rt-amd64\nlinux-image-6.1.0-59-amd64-unsigned\nlinux-image-6.1.0-21-arm64\n";
        assert_eq!(newest(names).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("linux-image-6.1-amd64-dbg\n"), None);
    }
}
