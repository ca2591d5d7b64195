//! Two small programs around the one that is measured, written as instructions.
//!
//! * The *bare* program does nothing: what a run of it takes is the test run's own time.
//! * The *restorer* makes the frame what it was before the last run, then goes on into the program that is measured, by a tail
//!   call. Without it only the first of many runs would see the frame that is to be answered, and the others its answer.
//!   It can write a random verification tag into the frame, so that every run looks another one up.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Result, ensure};

/// A program with what it holds on to.
pub(super) struct Handmade {
    program: OwnedFd,
    _maps: Vec<OwnedFd>,
}

/// Where a random verification tag goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RandomTag {
    /// Offset of the tag from the frame's start.
    pub(super) at: usize,
    /// The tag is 1 to this number, which is a power of two.
    pub(super) count: u32,
}

impl Handmade {
    /// The program that passes every frame.
    pub(super) fn bare() -> Result<Self> {
        Ok(Self { program: load(&[mov(R0, XDP_PASS), exit()])?, _maps: Vec::new() })
    }

    /// The restorer of `frame` in front of `next`, where the program that is measured leaves the frame at a length of `left` bytes.
    ///
    /// What it takes to make the frame longer again is none of that program's time, and so the restorer first cuts the frame off
    /// itself if nobody has.
    pub(super) fn restorer(frame: &[u8], left: usize, tag: Option<RandomTag>, next: BorrowedFd<'_>) -> Result<Self> {
        let length = i32::try_from(frame.len())?;
        let frames = create_map(MAP_ARRAY, frame.len() as u32)?;
        update(&frames, frame)?;
        let programs = create_map(MAP_PROGRAMS, 4)?;
        update(&programs, &next.as_raw_fd().to_ne_bytes())?;
        let mut code = vec![copy(R6, R1)];
        if left != frame.len() {
            code.extend(adjust(i32::try_from(left)?));
        }
        code.extend(adjust(length));
        // And its bytes.
        code.extend([op(0x62, R10, 0, -4, 0), copy(R2, R10), op(0x07, R2, 0, 0, -4)]);
        code.extend(map(R1, &frames));
        code.extend([call(MAP_LOOKUP), op(0x55, R0, 0, 1, 0), exit()]);
        code.extend([copy(R3, R0), copy(R1, R6), mov(R2, 0), mov(R4, length), call(STORE_BYTES)]);
        if let Some(RandomTag { at, count }) = tag {
            code.extend([
                call(RANDOM),
                op(0x57, R0, 0, 0, count as i32 - 1),
                op(0x07, R0, 0, 0, 1),
                // To network byte order.
                op(0xdc, R0, 0, 0, 32),
                op(0x63, R10, R0, -4, 0),
                copy(R1, R6),
                mov(R2, at as i32),
                copy(R3, R10),
                op(0x07, R3, 0, 0, -4),
                mov(R4, 4),
                call(STORE_BYTES),
            ]);
        }
        code.push(copy(R1, R6));
        code.extend(map(R2, &programs));
        code.extend([mov(R3, 0), call(TAIL_CALL), mov(R0, 0), exit()]);
        Ok(Self { program: load(&code)?, _maps: vec![frames, programs] })
    }

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.program.as_fd()
    }
}

/// Nanoseconds per run of `program` over `repeat` runs on `frame`, and what the last run returned.
pub(super) fn time(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<(u64, u32)> {
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        length: frame.len() as u32,
        frame: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    bpf(10, &mut attributes)?;
    Ok((attributes.duration.into(), attributes.returned))
}

type Instruction = [u8; 8];

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R6: u8 = 6;
const R10: u8 = 10;

const XDP_PASS: i32 = 2;

/// Helpers, by their numbers.
const MAP_LOOKUP: i32 = 1;
const RANDOM: i32 = 7;
const TAIL_CALL: i32 = 12;
const ADJUST_TAIL: i32 = 65;
const STORE_BYTES: i32 = 190;

const MAP_ARRAY: u32 = 2;
const MAP_PROGRAMS: u32 = 3;

fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    let [o0, o1] = offset.to_ne_bytes();
    let [i0, i1, i2, i3] = immediate.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    [code, registers, o0, o1, i0, i1, i2, i3]
}

fn mov(to: u8, value: i32) -> Instruction {
    op(0xb7, to, 0, 0, value)
}

fn copy(to: u8, from: u8) -> Instruction {
    op(0xbf, to, from, 0, 0)
}

fn load_word(to: u8, from: u8, offset: i16) -> Instruction {
    op(0x61, to, from, offset, 0)
}

fn call(helper: i32) -> Instruction {
    op(0x85, 0, 0, 0, helper)
}

fn exit() -> Instruction {
    op(0x95, 0, 0, 0, 0)
}

/// Makes the frame, whose context is in register 6, `length` bytes long.
fn adjust(length: i32) -> [Instruction; 7] {
    [
        load_word(R2, R6, 0),
        load_word(R3, R6, 4),
        op(0x1f, R3, R2, 0, 0),
        mov(R2, length),
        op(0x1f, R2, R3, 0, 0),
        copy(R1, R6),
        call(ADJUST_TAIL),
    ]
}

/// The map into a register; two instructions, the source register 1 saying that the number is a map's descriptor.
fn map(to: u8, map: &OwnedFd) -> [Instruction; 2] {
    [op(0x18, to, 1, 0, map.as_raw_fd()), op(0, 0, 0, 0, 0)]
}

fn load(code: &[Instruction]) -> Result<OwnedFd> {
    const XDP: u32 = 6;
    const ATTACHED_TO_XDP: u32 = 37;
    let mut attributes = ProgramLoad {
        kind: XDP,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        attach_type: ATTACHED_TO_XDP,
        ..ProgramLoad::default()
    };
    owned(bpf(5, &mut attributes)?)
}

fn create_map(kind: u32, value_size: u32) -> Result<OwnedFd> {
    let mut attributes = MapCreate { kind, key_size: 4, value_size, entries: 1, flags: 0 };
    owned(bpf(0, &mut attributes)?)
}

/// Writes the only entry of a map.
fn update(map: &OwnedFd, value: &[u8]) -> Result<()> {
    let key = 0_u32;
    let mut attributes = MapUpdate {
        map: map.as_raw_fd() as u32,
        unused: 0,
        key: &raw const key as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    bpf(2, &mut attributes).map(drop)
}

fn owned(descriptor: i64) -> Result<OwnedFd> {
    // SAFETY: the system call has just made it, so it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor)?) })
}

/// The system call `bpf`.
fn bpf<T>(command: i32, attributes: &mut T) -> Result<i64> {
    // SAFETY: `T` is the leading part of `union bpf_attr` for the command, and the addresses in it are those of live objects of the lengths
    // that are named beside them.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    ensure!(returned >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
    Ok(returned)
}

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    length: u32,
    length_out: u32,
    frame: u64,
    frame_out: u64,
    repeat: u32,
    duration: u32,
}
