//! A run of the program on a frame that has no room for metadata in front of it, as some drivers deliver them.
//!
//! A test run always leaves room. So a small program goes first: it moves the frame's start to the front, as far as the
//! kernel lets it, writes the test's frame there and calls the program under test by a tail call. It is given as
//! instructions, and so are its system calls: aya loads object files only.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, ensure};

use super::program::Program;

/// Runs `program` on `frame` without headroom and gives what it returned.
pub(crate) fn run_without_headroom(program: &Program, frame: &[u8]) -> Result<u32> {
    let callee = program.descriptor()?.as_fd().as_raw_fd();
    let table = program_array(callee).context("no map of programs")?;
    let caller = load(&instructions(frame, table.as_raw_fd())).context("the first program does not load")?;
    run(&caller)
}

/// From the frame's usual start, 256 bytes behind the buffer's, to where metadata no longer fits behind the 40 bytes that
/// the kernel keeps for itself.
const MOVE: i32 = -208;

fn instructions(frame: &[u8], table: RawFd) -> Vec<u64> {
    const CONTEXT: u8 = 6;
    let words: Vec<_> = frame.chunks(4).collect();
    let stack = -(words.len() as i16 * 4);
    let mut program = vec![mov(CONTEXT, 1), mov(1, CONTEXT), constant(2, MOVE), call(HELPER_ADJUST_HEAD)];
    for (at, word) in (stack..).step_by(4).zip(&words) {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        program.push(encode(STORE_WORD, 10, 0, at, i32::from_ne_bytes(bytes)));
    }
    program.extend([mov(1, CONTEXT), constant(2, 0), mov(3, 10), encode(ADD, 3, 0, 0, stack.into())]);
    program.extend([constant(4, frame.len() as i32), call(HELPER_STORE_BYTES)]);
    program.extend([mov(1, CONTEXT), encode(LOAD_MAP, 2, 1, 0, table), 0, constant(3, 0), call(HELPER_TAIL_CALL)]);
    program.extend([constant(0, 0), encode(EXIT, 0, 0, 0, 0)]);
    program
}

/// One instruction: operation, destination and source register, offset, immediate (`struct bpf_insn`).
fn encode(operation: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let mut bytes = [operation, source << 4 | destination, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn mov(destination: u8, source: u8) -> u64 {
    encode(MOVE_REGISTER, destination, source, 0, 0)
}

fn constant(destination: u8, value: i32) -> u64 {
    encode(MOVE_CONSTANT, destination, 0, 0, value)
}

fn call(helper: i32) -> u64 {
    encode(CALL, 0, 0, 0, helper)
}

const STORE_WORD: u8 = 0x62;
const ADD: u8 = 0x07;
const MOVE_CONSTANT: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const LOAD_MAP: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const HELPER_TAIL_CALL: i32 = 12;
const HELPER_ADJUST_HEAD: i32 = 44;
const HELPER_STORE_BYTES: i32 = 190;

/// A map of programs that holds `program` at index 0.
fn program_array(program: RawFd) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
    const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;

    #[repr(C)]
    struct Create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    #[repr(C)]
    struct Update {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }

    let create = Create { map_type: BPF_MAP_TYPE_PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1, map_flags: 0 };
    let map = descriptor(bpf(BPF_MAP_CREATE, &create)?);
    let (key, value) = (0_u32, program as u32);
    let update =
        Update { map: map.as_raw_fd() as u64, key: &raw const key as u64, value: &raw const value as u64, flags: 0 };
    bpf(BPF_MAP_UPDATE_ELEM, &update)?;
    Ok(map)
}

fn load(instructions: &[u64]) -> Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_XDP: u32 = 37;

    #[repr(C)]
    struct Load {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
    }

    let mut log = vec![0_u8; 1 << 16];
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        kernel_version: 0,
        flags: 0,
        name: *b"no_headroom\0\0\0\0\0",
        interface: 0,
        // The kernel lets programs call each other only if this agrees too.
        attach_type: BPF_XDP,
    };
    let loaded = bpf(BPF_PROG_LOAD, &load).with_context(|| String::from_utf8_lossy(&log).into_owned())?;
    Ok(descriptor(loaded))
}

fn run(program: &OwnedFd) -> Result<u32> {
    const BPF_PROG_TEST_RUN: libc::c_int = 10;

    #[repr(C)]
    struct TestRun {
        program: u32,
        returned: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }

    let data = [0_u8; 64];
    let run = TestRun {
        program: program.as_raw_fd() as u32,
        returned: u32::MAX,
        data_size_in: data.len() as u32,
        data_size_out: 0,
        data_in: data.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    bpf(BPF_PROG_TEST_RUN, &run)?;
    // SAFETY: `run` is a live value; the kernel has written to it, which is why it is read afresh.
    let returned = unsafe { (&raw const run.returned).read_volatile() };
    ensure!(returned != u32::MAX, "the kernel reported no return value");
    Ok(returned)
}

fn bpf<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<libc::c_long> {
    let pointer = &raw const *attributes;
    // SAFETY: the attributes are a prefix of the kernel's `union bpf_attr` of the size that is given, and what they point to
    // lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the system call has just given this descriptor, to nobody else.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}
