//! Judges captures with tshark, a decoder that nobody here wrote.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tool;

/// What tshark found in a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// SCTP packets in all.
    pub packets: u64,
    /// Of these, packets in UDP (RFC 6951); to or from port 9899, or it does not know them for SCTP.
    pub in_udp: u64,
    /// Packets that it cannot decode to their end.
    pub malformed: u64,
    /// SCTP packets whose CRC32c is wrong.
    pub bad_checksums: u64,
}

/// True if tshark is there.
pub fn can_judge() -> bool {
    tool::is_installed("tshark")
}

/// Reads a capture with tshark.
///
/// # Errors
/// If tshark is not installed or cannot read the file.
pub fn judge(capture: &Path) -> Result<Findings> {
    let mut command = Command::new(tool::find("tshark").unwrap_or_else(|| "tshark".into()));
    command.args(["-n", "-o", "sctp.checksum:CRC-32c", "-T", "fields", "-E", "occurrence=a"]);
    command.args(["-e", "frame.protocols", "-e", "_ws.malformed", "-e", "sctp.checksum.status"]);
    command.arg("-r").arg(capture);
    let lines = tool::run_command(&mut command).with_context(|| format!("tshark on {}", capture.display()))?;
    let mut findings = Findings::default();
    for line in lines.lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().unwrap_or_default();
        let (protocols, malformed, status) = (field(), field(), field());
        let has = |wanted| protocols.split(':').any(|protocol| protocol == wanted);
        findings.packets += u64::from(has("sctp"));
        findings.in_udp += u64::from(has("sctp") && has("udp"));
        findings.malformed += u64::from(!malformed.is_empty());
        // 0 is "Bad"; 1 "Good", 2 "Unverified". Older versions print the word.
        findings.bad_checksums += u64::from(status.split(',').any(|status| status == "0" || status == "Bad"));
    }
    Ok(findings)
}

/// Writes Ethernet frames into a capture file (classic pcap), all of the same moment.
///
/// # Errors
/// If it cannot be written.
pub fn write(capture: &Path, frames: &[Vec<u8>]) -> Result<()> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65536, 1_u32] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len())?;
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(capture, file).with_context(|| capture.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Checksum, SctpFrame, chunk};

    #[test]
    fn faults_are_found() {
        // In CI every test must run; elsewhere tshark is optional.
        if !can_judge() {
            assert!(!crate::privilege::in_ci(), "tshark is not installed");
            return;
        }
        let sound = SctpFrame {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            vlans: vec![],
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            source_port: 5001,
            destination_port: 5002,
            verification_tag: 7,
            checksum: Checksum::Right,
            chunks: chunk::data(1, 2, 3, b"content of some length, so that there is no padding"),
        };
        let mut wrong = sound.clone();
        wrong.checksum = Checksum::Wrong;
        let mut malformed = sound.clone();
        malformed.chunks = chunk::with_length(1, 0, 20, &[0; 4]);
        let frames = [sound.build(), wrong.build(), sound.build(), malformed.build()];
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &frames).unwrap();
        let findings = judge(file.path()).unwrap();
        assert_eq!(findings, Findings { packets: 4, in_udp: 0, malformed: 1, bad_checksums: 1 });
    }

    #[test]
    fn what_is_no_capture_is_an_error() {
        if !can_judge() {
            assert!(!crate::privilege::in_ci(), "tshark is not installed");
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no capture").unwrap();
        assert!(judge(file.path()).is_err());
    }
}
