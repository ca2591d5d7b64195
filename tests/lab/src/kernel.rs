//! What the running kernel is and can do.

use anyhow::{Context, Result};

use crate::sys;

/// Major and minor version of the running kernel, and its whole name.
///
/// # Errors
/// If `/proc` does not tell.
pub fn version() -> Result<((u32, u32), String)> {
    let path = "/proc/sys/kernel/osrelease";
    let release = std::fs::read_to_string(path).context(path)?.trim().to_owned();
    let version = parse(&release).with_context(|| format!("{path} says “{release}”"))?;
    Ok((version, release))
}

/// True if the kernel has AF_XDP sockets (`CONFIG_XDP_SOCKETS`). Needs no privilege to find out.
pub fn has_af_xdp() -> bool {
    sys::knows_address_family(libc::AF_XDP)
}

/// Major and minor version at the beginning of a kernel's name.
pub fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse("5.15.0-105-generic"), Some((5, 15)));
        assert_eq!(parse("7.0"), Some((7, 0)));
        assert_eq!(parse("7"), None);
        assert_eq!(parse("unknown"), None);
    }

    #[test]
    fn the_running_kernel_has_a_version() {
        assert!(version().unwrap().0.0 >= 2);
    }
}
