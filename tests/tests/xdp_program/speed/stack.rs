//! How much of its stack the program uses, read off its instructions.

use anyhow::{Context as _, Result, ensure};

/// Bytes of stack that each function of the program uses with the functions that it calls, and the function's name.
///
/// The kernel knows the figure, but tells it to nobody whose program it accepts. Stack is addressed by the frame pointer, register 10,
/// and an offset below zero: in loads and stores, or in an addition to a copy of it. The kernel rounds each function's share up.
pub(super) fn use_of(object: &[u8]) -> Result<Vec<(String, usize)>> {
    let functions = functions(object)?;
    ensure!(!functions.is_empty(), "no function");
    functions.iter().map(|function| Ok((function.name.clone(), deepest(function, &functions, 0)?))).collect()
}

fn deepest(function: &Function, all: &[Function], depth: usize) -> Result<usize> {
    // The kernel follows eight calls.
    ensure!(depth < 8, "{} calls too deep", function.name);
    let mut below = 0;
    for callee in &function.calls {
        let callee = all.iter().find(|function| function.place == *callee).context("a call of no function")?;
        below = below.max(deepest(callee, all, depth + 1)?);
    }
    Ok(function.stack.max(1).next_multiple_of(32) + below)
}

/// A function's section and its offset in it.
type Place = (usize, u64);

struct Function {
    name: String,
    place: Place,
    /// Bytes that it uses itself.
    stack: usize,
    calls: Vec<Place>,
}

fn functions(object: &[u8]) -> Result<Vec<Function>> {
    let sections = sections(object)?;
    let symbols = symbols(&sections)?;
    let mut found = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.is_function) {
        let at = symbol.place.1 as usize;
        let code =
            sections[symbol.place.0].bytes.get(at..at + symbol.size).context("a function outside its section")?;
        let calls = calls(symbol, code, &sections, &symbols)?;
        found.push(Function { name: symbol.name.clone(), place: symbol.place, stack: stack(code), calls });
    }
    Ok(found)
}

/// Bytes of stack that `code` addresses.
fn stack(code: &[u8]) -> usize {
    let mut deepest = 0;
    let mut copies = [false; 16];
    for instruction in code.as_chunks::<8>().0 {
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
    deepest
}

/// Which functions `code`, the code of `caller`, calls: by a relocation, or, within a section, by a distance.
fn calls(caller: &Symbol, code: &[u8], sections: &[Section<'_>], symbols: &[Symbol]) -> Result<Vec<Place>> {
    const RELOCATIONS: u64 = 9;
    let (section, start) = caller.place;
    let relocations = sections.iter().filter(|table| table.kind == RELOCATIONS && table.information == section as u64);
    let relocations: Vec<(u64, usize)> = relocations
        .flat_map(|table| table.bytes.chunks_exact(16))
        .map(|entry| Ok((number(entry, 0, 8)?, number(entry, 12, 4)? as usize)))
        .collect::<Result<_>>()?;
    let mut calls = Vec::new();
    for (instruction, at) in code.as_chunks::<8>().0.iter().zip((start..).step_by(8)) {
        let [code, registers, _, _, immediate @ ..] = *instruction;
        // Register 1 as the source: a function of the program's, no helper.
        if code != 0x85 || registers >> 4 != 1 {
            continue;
        }
        let distance = i64::from(i32::from_le_bytes(immediate));
        let place = match relocations.iter().find(|(place, _)| *place == at) {
            Some((_, symbol)) => {
                let symbol = symbols.get(*symbol).context("a relocation by no symbol")?;
                // By the function's own symbol, or by its section's and a distance.
                let offset = if symbol.is_function { 0 } else { (distance + 1) * 8 };
                (symbol.place.0, symbol.place.1 + offset as u64)
            }
            None => (section, at.wrapping_add_signed((distance + 1) * 8)),
        };
        calls.push(place);
    }
    Ok(calls)
}

const FRAME_POINTER: usize = 10;

struct Section<'a> {
    kind: u64,
    /// For relocations, the section that they are for.
    information: u64,
    /// The section that this one refers to.
    link: usize,
    bytes: &'a [u8],
}

struct Symbol {
    name: String,
    place: Place,
    size: usize,
    is_function: bool,
}

fn symbols(sections: &[Section<'_>]) -> Result<Vec<Symbol>> {
    const SYMBOLS: u64 = 2;
    let table = sections.iter().find(|section| section.kind == SYMBOLS).context("no table of symbols")?;
    let names = sections.get(table.link).context("no names of symbols")?.bytes;
    let symbol = |entry: &[u8]| {
        let name = names.get(number(entry, 0, 4)? as usize..).context("a name outside the table")?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let section = number(entry, 6, 2)? as usize;
        Ok(Symbol {
            name: String::from_utf8_lossy(name).into_owned(),
            place: (section, number(entry, 8, 8)?),
            size: number(entry, 16, 8)? as usize,
            is_function: entry[4] & 15 == 2 && section < sections.len(),
        })
    };
    table.bytes.chunks_exact(24).map(symbol).collect()
}

/// The sections of a 64-bit ELF object, little-endian as the machines that this runs on.
fn sections(object: &[u8]) -> Result<Vec<Section<'_>>> {
    let half = |at: usize| number(object, at, 2).map(|value| value as usize);
    let table = number(object, 0x28, 8)? as usize;
    let (size, count) = (half(0x3a)?, half(0x3c)?);
    let header = |index: usize| table + index * size;
    let content = |index: usize| -> Result<&[u8]> {
        const WITHOUT_BYTES: u64 = 8;
        if number(object, header(index) + 4, 4)? == WITHOUT_BYTES {
            return Ok(&[]);
        }
        let (at, length) = (number(object, header(index) + 0x18, 8)?, number(object, header(index) + 0x20, 8)?);
        object.get(at as usize..(at + length) as usize).context("a section lies outside the object")
    };
    let section = |index| {
        Ok(Section {
            kind: number(object, header(index) + 4, 4)?,
            information: number(object, header(index) + 0x2c, 4)?,
            link: number(object, header(index) + 0x28, 4)? as usize,
            bytes: content(index)?,
        })
    };
    (0..count).map(section).collect()
}

fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + length).context("the object is cut short")?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
