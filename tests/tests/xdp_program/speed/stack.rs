//! How much of its stack the program uses, read off its instructions.

use anyhow::{Context as _, Result, ensure};

/// Bytes of stack that the deepest function of each executable section uses, with the section's name.
///
/// The kernel knows the figure, but tells it to nobody whose program it accepts. Stack is addressed by the frame pointer, register 10,
/// and an offset below zero: in loads and stores, or in an addition to a copy of it.
pub(super) fn use_of(object: &[u8]) -> Result<Vec<(String, usize)>> {
    let sections = sections(object)?;
    let mut found = Vec::new();
    for Section { name, flags, bytes } in sections {
        const EXECUTABLE: u64 = 4;
        if flags & EXECUTABLE == 0 || bytes.is_empty() {
            continue;
        }
        let mut deepest = 0;
        let mut copies = [false; 16];
        for instruction in bytes.as_chunks::<8>().0 {
            let [code, registers, o0, o1, immediate @ ..] = *instruction;
            let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
            let offset = i64::from(i16::from_le_bytes([o0, o1]));
            let below = match code {
                // Load; store of a register or of a constant.
                0x61 | 0x69 | 0x71 | 0x79 if from == FRAME_POINTER => -offset,
                0x62 | 0x6a | 0x72 | 0x7a | 0x63 | 0x6b | 0x73 | 0x7b if to == FRAME_POINTER => -offset,
                // Addition of a constant to a copy of the frame pointer.
                0x07 if copies[to] => -i64::from(i32::from_le_bytes(immediate)),
                _ => 0,
            };
            if code & 7 != 5 && code & 7 != 2 && code & 7 != 3 {
                copies[to] = code == 0xbf && from == FRAME_POINTER;
            }
            deepest = deepest.max(usize::try_from(below).unwrap_or(0));
        }
        found.push((name, deepest));
    }
    ensure!(!found.is_empty(), "no executable section");
    Ok(found)
}

const FRAME_POINTER: usize = 10;

struct Section<'a> {
    name: String,
    flags: u64,
    bytes: &'a [u8],
}

/// The sections of a 64-bit ELF object, little-endian as the machines that this runs on.
fn sections(object: &[u8]) -> Result<Vec<Section<'_>>> {
    let half = |at: usize| number(object, at, 2).map(|value| value as usize);
    let table = number(object, 0x28, 8)? as usize;
    let (size, count, names) = (half(0x3a)?, half(0x3c)?, half(0x3e)?);
    let header = |index: usize| table + index * size;
    let content = |index: usize| -> Result<&[u8]> {
        const WITHOUT_BYTES: u64 = 8;
        if number(object, header(index) + 4, 4)? == WITHOUT_BYTES {
            return Ok(&[]);
        }
        let (at, length) = (number(object, header(index) + 0x18, 8)?, number(object, header(index) + 0x20, 8)?);
        object.get(at as usize..(at + length) as usize).context("a section lies outside the object")
    };
    let strings = content(names)?;
    let section = |index| {
        let name = strings.get(number(object, header(index), 4)? as usize..).context("a name outside the table")?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        Ok(Section { name, flags: number(object, header(index) + 8, 8)?, bytes: content(index)? })
    };
    (0..count).map(section).collect()
}

fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + length).context("the object is cut short")?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
