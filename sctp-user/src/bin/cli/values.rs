//! The values that options take: counts, durations, sizes and peers, with errors that say what would be right.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Reads a count: `100000`, `100k`, `1.5M`, `2G` (powers of 1000) or `64Ki`, `1Mi` (powers of 1024).
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a count: write 100000, 100k, 1.5M or 64Ki");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: u64 = match suffix {
        "" => 1,
        "k" | "K" => 1000,
        "m" | "M" => 1_000_000,
        "g" | "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"));
    }
    let value = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if value.fract() != 0.0 {
        return Err(format!("`{text}` is not a whole number"));
    }
    if value >= u64::MAX as f64 {
        return Err(format!("`{text}` is too large"));
    }
    Ok(value as u64)
}

/// Reads a count of at least one.
pub(crate) fn positive_count(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("at least 1 is needed".to_owned()),
        count => Ok(count),
    }
}

/// Reads a time above zero with its unit: `10s`, `500ms`, `250us`, `1.5s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if !number.is_empty() => return Err(format!("`{text}` has no unit: write {text}s or {text}ms")),
        _ => return Err(format!("`{text}` is not a time: write 10s, 500ms, 250us, 2m or 1h")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is not a time: write 10s, 500ms, 250us, 2m or 1h"))?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(Duration::ZERO) => Err("the time must be above zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!("`{text}` is too long")),
    }
}

/// Reads a share: `1%`, `0.1%` or `0.01`; from 0 up to, and without, 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, per) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.parse().map_err(|_| format!("`{text}` is not a share: write 1% or 0.01"))?;
    match value / per {
        share if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is out of range: from 0% up to less than 100%")),
    }
}

/// The sizes that messages have: one (`64`), any from a lowest to a highest, each as likely as the others (`1-65536`), or
/// mostly small ones: each power of two of the range as likely as the others (`1~65536`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeRange {
    /// Smallest size in bytes; at least 1.
    pub(crate) lowest: usize,
    /// Largest size in bytes; at most [`SizeRange::LARGEST`].
    pub(crate) highest: usize,
    /// Whether each power of two of the range is as likely as the others, instead of each size.
    pub(crate) mostly_small: bool,
}

impl SizeRange {
    /// The largest message: what an association of the library takes unless it is told otherwise.
    pub(crate) const LARGEST: usize = 256 << 10;
}

impl FromStr for SizeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = |text: &str| -> Result<usize, String> {
            let size = count(text).map_err(|_| {
                format!("`{text}` is not a size in bytes: write one size (64, 16Ki) or a range (1-65536, or 1~65536 for mostly small ones)")
            })?;
            match usize::try_from(size) {
                Ok(0) => Err("a message must have at least 1 byte".to_owned()),
                Ok(size) if size <= Self::LARGEST => Ok(size),
                _ => Err(format!("a message may have at most {} bytes", Self::LARGEST)),
            }
        };
        let mostly_small = text.contains('~');
        let separator = if mostly_small { '~' } else { '-' };
        let (lowest, highest) = match text.split_once(separator) {
            Some((lowest, highest)) => (size(lowest)?, size(highest)?),
            None => (size(text)?, size(text)?),
        };
        if lowest > highest {
            return Err(format!("the range is upside down: write {highest}{separator}{lowest}"));
        }
        Ok(Self { lowest, highest, mostly_small })
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lowest == self.highest, self.mostly_small) {
            (true, _) => write!(f, "{}", self.lowest),
            (false, false) => write!(f, "{}-{}", self.lowest, self.highest),
            (false, true) => write!(f, "{}~{}", self.lowest, self.highest),
        }
    }
}

/// A peer: its SCTP port and all the addresses of it that may be used, the first for the primary path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// At least one, without repetition.
    pub(crate) addresses: Vec<IpAddr>,
    /// Not zero.
    pub(crate) port: u16,
}

impl Peer {
    /// The primary address with the port.
    pub(crate) fn primary(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], self.port)
    }
}

impl FromStr for Peer {
    type Err = String;

    /// Reads `ADDR:PORT`, or several separated by commas. The port may be left out of all but one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut addresses = Vec::new();
        let mut port: Option<u16> = None;
        for part in text.split(',') {
            let (address, of_this) = address_and_port(part)?;
            match (port, of_this) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!("ports {one} and {other}: all addresses of a peer share one port"));
                }
                _ => port = port.or(of_this),
            }
            if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
                return Err(format!("{address} is not the address of one host"));
            }
            if addresses.contains(&address) {
                return Err(format!("{address} is there twice"));
            }
            addresses.push(address);
        }
        match port {
            Some(0) => Err("port 0 cannot be used: choose one from 1 to 65535".to_owned()),
            Some(port) => Ok(Self { addresses, port }),
            None => Err(format!("the port is missing: write {text}:PORT")),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in &self.addresses[..self.addresses.len() - 1] {
            match address {
                IpAddr::V4(address) => write!(f, "{address},")?,
                IpAddr::V6(address) => write!(f, "[{address}],")?,
            }
        }
        let last = self.addresses[self.addresses.len() - 1];
        write!(f, "{}", SocketAddr::new(last, self.port))
    }
}

/// Reads one address with its port, or without.
fn address_and_port(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(both) = text.parse::<SocketAddr>() {
        return Ok((both.ip(), Some(both.port())));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok((IpAddr::V4(address), None));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && let Ok(address) = inner.parse::<Ipv6Addr>()
    {
        return Ok((IpAddr::V6(address), None));
    }
    Err(match text.parse::<Ipv6Addr>() {
        Ok(address) => format!("an IPv6 address goes in brackets: write [{address}]:PORT"),
        Err(_) => format!(
            "`{text}` is not ADDR:PORT: write an address in figures, 10.0.0.2:5001 or [fd00::2]:5001 (names are not looked up)"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count("0"), Ok(0));
        assert_eq!(count("100000"), Ok(100_000));
        assert_eq!(count("100k"), Ok(100_000));
        assert_eq!(count("1.5M"), Ok(1_500_000));
        assert_eq!(count("2G"), Ok(2_000_000_000));
        assert_eq!(count("64Ki"), Ok(65_536));
        for wrong in ["", "k", "1x", "-1", "1.2.3", "1 k", "0x10"] {
            assert!(count(wrong).unwrap_err().contains("not a count"), "{wrong}");
        }
        assert!(count("1.0001k").unwrap_err().contains("not a whole number"));
        assert!(count("99999999999G").unwrap_err().contains("too large"));
        assert!(count("99999999999999999999.0").unwrap_err().contains("too large"));
        assert_eq!(positive_count("0"), Err("at least 1 is needed".to_owned()));
    }

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("10"), Err("`10` has no unit: write 10s or 10ms".to_owned()));
        assert_eq!(duration("0s"), Err("the time must be above zero".to_owned()));
        for wrong in ["", "s", "-1s", "ten seconds", "1d"] {
            assert!(duration(wrong).unwrap_err().contains("not a time"), "{wrong}");
        }
        assert!(duration("99999999999999999999h").unwrap_err().contains("too long"));
    }

    #[test]
    fn shares() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("0.25"), Ok(0.25));
        assert_eq!(share("0"), Ok(0.0));
        for wrong in ["100%", "-1%", "1", "NaN"] {
            assert!(share(wrong).unwrap_err().contains("out of range"), "{wrong}");
        }
        assert!(share("much").unwrap_err().contains("not a share"));
    }

    #[test]
    fn sizes() {
        let parse = str::parse::<SizeRange>;
        assert_eq!(parse("64"), Ok(SizeRange { lowest: 64, highest: 64, mostly_small: false }));
        assert_eq!(parse("1-65536"), Ok(SizeRange { lowest: 1, highest: 65_536, mostly_small: false }));
        assert_eq!(parse("1~65536"), Ok(SizeRange { lowest: 1, highest: 65_536, mostly_small: true }));
        assert_eq!(parse("1-64Ki").unwrap().to_string(), "1-65536");
        assert_eq!(parse("1~64Ki").unwrap().to_string(), "1~65536");
        assert_eq!(parse("9~3"), Err("the range is upside down: write 3~9".to_owned()));
        assert_eq!(parse("64").unwrap().to_string(), "64");
        assert_eq!(parse("9-3"), Err("the range is upside down: write 3-9".to_owned()));
        assert_eq!(parse("0"), Err("a message must have at least 1 byte".to_owned()));
        assert_eq!(parse("262145"), Err("a message may have at most 262144 bytes".to_owned()));
        for wrong in ["", "-", "~", "1-", "-1", "small", "1-2-3", "1-2~3", "1~2~3"] {
            assert!(parse(wrong).unwrap_err().contains("not a size"), "{wrong}");
        }
    }

    #[test]
    fn peers() {
        let parse = str::parse::<Peer>;
        let peer = parse("10.0.0.2:5001").unwrap();
        assert_eq!((peer.primary().to_string(), peer.addresses.len()), ("10.0.0.2:5001".to_owned(), 1));
        assert_eq!(parse("[fd00::2]:5001").unwrap().to_string(), "[fd00::2]:5001");
        for several in [
            "10.0.0.2,10.0.1.2:5001",
            "10.0.0.2:5001,10.0.1.2:5001",
            "10.0.0.2:5001,10.0.1.2",
            "10.0.0.2,10.0.1.2:5001",
        ] {
            let peer = parse(several).unwrap();
            assert_eq!(peer.to_string(), "10.0.0.2,10.0.1.2:5001", "{several}");
            assert_eq!(peer.primary().to_string(), "10.0.0.2:5001", "{several}");
        }
        assert_eq!(parse("[fd00::2],10.0.0.2:7").unwrap().to_string(), "[fd00::2],10.0.0.2:7");
    }

    #[test]
    fn peers_that_are_none() {
        let error = |text: &str| text.parse::<Peer>().unwrap_err();
        assert_eq!(error("10.0.0.2"), "the port is missing: write 10.0.0.2:PORT");
        assert_eq!(error("fd00::2"), "an IPv6 address goes in brackets: write [fd00::2]:PORT");
        assert!(error("amf.example:38412").contains("names are not looked up"));
        assert!(error("10.0.0.2:5001,10.0.1.2:5002").contains("share one port"));
        assert!(error("10.0.0.2:5001,10.0.0.2").contains("twice"));
        assert!(error("0.0.0.0:5001").contains("not the address of one host"));
        assert!(error("224.0.0.1:5001").contains("not the address of one host"));
        assert!(error("10.0.0.2:0").contains("port 0"));
        assert!(error("").contains("not ADDR:PORT"));
        assert!(error("10.0.0.2:70000").contains("not ADDR:PORT"));
    }
}
