//! The foreign programs: peers on usrsctp and on the Linux kernel, and a rival for a queue; compiled from `tests/peers` when they are first wanted.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::tool;

/// The server: echo, or sink. Its options are listed at the top of `tests/peers/usrsctp_server.c`.
///
/// # Errors
/// If it cannot be compiled.
pub fn usrsctp_server() -> Result<PathBuf> {
    compiled("usrsctp_server", &Needs { sources: &["usrsctp_server.c", "peer.c"], ..USRSCTP })
}

/// The client: its options are listed at the top of `tests/peers/usrsctp_client.c`.
///
/// # Errors
/// If it cannot be compiled.
pub fn usrsctp_client() -> Result<PathBuf> {
    compiled("usrsctp_client", &Needs { sources: &["usrsctp_client.c", "peer.c"], ..USRSCTP })
}

/// The same server on the sockets of the kernel that it runs on: for a [guest](crate::uml::Guest), which has it as
/// `kernel_server`. The counters in its summary are the whole guest's.
///
/// # Errors
/// If it cannot be compiled.
pub fn kernel_server() -> Result<PathBuf> {
    compiled("kernel_server", &Needs { sources: &["usrsctp_server.c", "peer.c", "kernel_sockets.c"], ..KERNEL })
}

/// The same client on the sockets of the kernel that it runs on: a [guest](crate::uml::Guest) has it as `kernel_client`.
///
/// # Errors
/// If it cannot be compiled.
pub fn kernel_client() -> Result<PathBuf> {
    compiled("kernel_client", &Needs { sources: &["usrsctp_client.c", "peer.c", "kernel_sockets.c"], ..KERNEL })
}

/// The first process of a guest, which runs commands for the host: see the top of `tests/peers/kernel_agent.c`.
///
/// # Errors
/// If it cannot be compiled.
pub fn kernel_agent() -> Result<PathBuf> {
    compiled("kernel_agent", &Needs { sources: &["kernel_agent.c"], ..KERNEL })
}

/// A program that keeps queue 0 of an interface busy: see the top of `tests/peers/xsk_holder.c`.
///
/// # Errors
/// If it cannot be compiled.
pub fn xsk_holder() -> Result<PathBuf> {
    compiled("xsk_holder", &Needs { sources: &["xsk_holder.c"], header: "/usr/include/linux/if_xdp.h", options: &[] })
}

/// The workspace that this crate is part of.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/lab is two levels down")
}

/// Where cargo puts what it builds.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Options for the compiler, beside sources and result.
const FLAGS: [&str; 3] = ["-std=c17", "-D_GNU_SOURCE", "-O2"];

/// What a program is compiled from, and with.
struct Needs {
    sources: &'static [&'static str],
    header: &'static str,
    options: &'static [&'static str],
}

const USRSCTP: Needs = Needs { sources: &[], header: "/usr/include/usrsctp.h", options: &["-lusrsctp", "-lpthread"] };

/// Static, because a guest has no libraries but those of its few tools; with the kernel's sockets in place of usrsctp.
const KERNEL: Needs =
    Needs { sources: &[], header: "/usr/include/linux/sctp.h", options: &["-Ikernel", "-static", "-lpthread"] };

/// The headers beside the sources.
const HEADERS: [&str; 2] = ["peer.h", "kernel/usrsctp.h"];

/// The program of this name, compiled unless it is there already.
fn compiled(name: &str, needs: &Needs) -> Result<PathBuf> {
    let directory = workspace().join("tests/peers");
    let mut hasher = DefaultHasher::new();
    (FLAGS, needs.options).hash(&mut hasher);
    for file in needs.sources.iter().chain(&HEADERS).map(|file| directory.join(file)) {
        std::fs::read(&file).with_context(|| file.display().to_string())?.hash(&mut hasher);
    }
    let programs = std::path::absolute(target_directory().join("peers"))?;
    let program = programs.join(format!("{name}-{:016x}", hasher.finish()));
    if program.exists() {
        return Ok(program);
    }

    ensure!(Path::new(needs.header).exists(), "{} is missing: run `cargo xtask setup`", needs.header);
    std::fs::create_dir_all(&programs).with_context(|| programs.display().to_string())?;
    // Under a name of its own first: several tests may compile it at once.
    static UNFINISHED: AtomicU32 = AtomicU32::new(0);
    let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
    let unfinished = program.with_extension(format!("{}-{number}", std::process::id()));
    let mut compiler = Command::new("cc");
    compiler.current_dir(directory).args(FLAGS).args(needs.sources).arg("-o").arg(&unfinished).args(needs.options);
    tool::run_command(&mut compiler)?;
    std::fs::rename(&unfinished, &program).with_context(|| program.display().to_string())?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Digest, Sizes};
    use crate::veth::Family;
    use crate::{Pair, PairConfig, Process, require_root};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    /// Runs the usrsctp client against the usrsctp server, and returns the summaries of both.
    fn client_to_server(
        family: Family,
        server_options: &[&str],
        options: &[&str],
    ) -> (serde_json::Value, serde_json::Value) {
        let pair = Pair::create("peers", &PairConfig::default()).unwrap();
        let address = pair.right.address(family).to_string();
        let mut server = pair.right.namespace.command(usrsctp_server().unwrap());
        server.args(["--port", "5001", "--associations", "1", "--local", &address]).args(server_options);
        let mut server = Process::spawn(&mut server).unwrap();
        server.wait_for_line("listening", LONG).unwrap();
        let mut client = pair.left.namespace.command(usrsctp_client().unwrap());
        let local = pair.left.address(family).to_string();
        client.args(["--port", "5001", "--local", &local]).args(options).arg(&address);
        let mut client = Process::spawn(&mut client).unwrap();
        (client.summary(LONG).unwrap(), server.summary(LONG).unwrap())
    }

    #[test]
    fn echoes_are_verified() {
        if !require_root() {
            return;
        }
        let options = ["--count", "2000", "--size", "1~65536", "--streams", "7"];
        let (client, server) = client_to_server(Family::Ipv4, &[], &options);
        assert_eq!((&client["succeeded"], &client["received"]), (&true.into(), &2000.into()), "{client}");
        assert_eq!(server["graceful"], true, "{server}");
        let expected = Digest::of_run(2000, "1~65536".parse().unwrap(), 7);
        for digest in [&client["digest"], &client["digest_received"], &server["digest"]] {
            assert_eq!(*digest, expected.any_order());
        }
        for digest in [&client["digest_by_stream"], &server["digest_by_stream"]] {
            assert_eq!(*digest, expected.by_stream());
        }
    }

    #[test]
    fn unordered_messages_are_verified_over_ipv6() {
        if !require_root() {
            return;
        }
        let options = ["--count", "2000", "--size", "1-3000", "--streams", "3", "--unordered"];
        let (client, server) = client_to_server(Family::Ipv6, &["--family", "6"], &options);
        assert_eq!((&client["succeeded"], &client["mismatched"]), (&true.into(), &0.into()), "{client}");
        assert_eq!(server["digest"], Digest::of_run(2000, "1-3000".parse().unwrap(), 3).any_order());
    }

    #[test]
    fn a_sink_digests() {
        if !require_root() {
            return;
        }
        let (client, server) = client_to_server(Family::Ipv4, &["--sink"], &["--mode", "sink", "--count", "100"]);
        assert_eq!(client["succeeded"], true, "{client}");
        let expected = Digest::of_run(100, Sizes::fixed(64), 1);
        assert_eq!((&server["received"], &server["bytes"]), (&100.into(), &6400.into()), "{server}");
        assert_eq!(server["digest_by_stream"], expected.by_stream());
    }

    #[test]
    fn a_held_client_tells_its_tags() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("tags", &PairConfig::default()).unwrap();
        let mut server = Process::spawn(&mut pair.right.namespace.command(usrsctp_server().unwrap())).unwrap();
        server.wait_for_line("listening", LONG).unwrap();
        let mut client = pair.left.namespace.command(usrsctp_client().unwrap());
        let mut client = Process::spawn(client.arg("--hold").arg(pair.right.ipv4.to_string())).unwrap();
        let tags: serde_json::Value = serde_json::from_str(&client.wait_for_line("peer_tag", LONG).unwrap()).unwrap();
        assert_ne!(tags["peer_tag"], 0);
        assert_ne!(tags["peer_tag"], tags["local_tag"]);
        client.write_line("go").unwrap();
        assert_eq!(client.summary(LONG).unwrap()["succeeded"], true);
    }

    #[test]
    fn a_queue_is_held() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("holder", &PairConfig::default()).unwrap();
        let program = xsk_holder().unwrap();
        let spawn = || Process::spawn(pair.left.namespace.command(&program).arg(&pair.left.interface)).unwrap();
        let mut first = spawn();
        first.wait_for_line("holding", LONG).unwrap();
        let finished = spawn().wait(LONG).unwrap();
        assert!(finished.stderr.contains("bind: Device or resource busy"), "{finished:?}");
    }

    #[test]
    fn nobody_there_is_an_error() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("nobody", &PairConfig::default()).unwrap();
        let mut client = pair.left.namespace.command(usrsctp_client().unwrap());
        let mut client = Process::spawn(client.args(["--timeout", "1"]).arg(pair.right.ipv4.to_string())).unwrap();
        let finished = client.wait(LONG).unwrap();
        assert!(!finished.status.success(), "{finished:?}");
    }
}
