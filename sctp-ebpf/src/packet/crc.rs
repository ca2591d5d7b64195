//! Steps of CRC32c as the BPF machine does them best: eight or sixteen bytes at a time, from registers or from packet memory.
//!
//! Spelled out, because the compiler loads the tables' address anew for each look-up, and takes the bytes that do not depend on the state
//! out of registers, by shift and mask, instead of loading each from the packet. What depends on the state comes last, and is summed up
//! in pairs, since the CPU waits for nothing else.

use sctp_common::crc32c::Tables;

#[cfg(target_arch = "bpf")]
pub(super) use bpf::{add, add_two, opaque, two_words, word};
#[cfg(not(target_arch = "bpf"))]
pub(super) use host::{add, add_two, opaque, two_words, word};

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::arch::asm;

    use super::Tables;

    /// `tables`, of which the compiler does not know that it could have the address again.
    #[inline(always)]
    pub(in super::super) fn opaque(tables: &'static Tables) -> &'static Tables {
        let mut address: *const Tables = tables;
        // SAFETY: does nothing. It is an instruction, since two places of the source at one instruction are refused.
        unsafe { asm!("{0} = {0}", inout(reg) address, options(nomem, nostack, preserves_flags)) };
        // SAFETY: the address is that of the reference.
        unsafe { &*address }
    }

    /// `sum ^= table[byte of the packet]`; for table 0, the first, `sum = table[…]`. A table has 1024 bytes, and an index, times four, is
    /// at most 1020.
    macro_rules! byte {
        ($at:literal, 0) => {
            concat!("{x} = *(u8 *)({from} + {", $at, "})\n{x} <<= 2\n{x} += {tables}\n{sum} = *(u32 *)({x} + 0)")
        };
        ($at:literal, $table:literal) => {
            concat!(
                "{x} = *(u8 *)({from} + {",
                $at,
                "})\n{x} <<= 2\n{x} += {tables}\n",
                "{x} = *(u32 *)({x} + ",
                $table,
                " * 1024)\n{sum} ^= {x}"
            )
        };
    }

    /// The same with the byte of a register that a shift by `$shift` leaves at the bits 2 to 9.
    macro_rules! bits {
        ($from:literal, $shift:literal, 0) => {
            concat!(
                "{x} = {",
                $from,
                "}\n{x} >>= ",
                $shift,
                "\n{x} &= 1020\n{x} += {tables}\n{sum} = *(u32 *)({x} + 0)"
            )
        };
        ($from:literal, $shift:literal, $table:literal) => {
            concat!(
                "{x} = {",
                $from,
                "}\n{x} >>= ",
                $shift,
                "\n{x} &= 1020\n{x} += {tables}\n",
                "{x} = *(u32 *)({x} + ",
                $table,
                " * 1024)\n{sum} ^= {x}"
            )
        };
    }

    /// The four bytes that the state has been added to, which is the lower half of a register, with four tables from the highest down.
    macro_rules! state {
        ($from:literal, $t3:literal, $t2:literal, $t1:literal, $t0:literal) => {
            concat!(
                "{x} = {",
                $from,
                "}\n{x} >>= 22\n{x} &= 1020\n{x} += {tables}\n{x} = *(u32 *)({x} + ",
                $t0,
                " * 1024)\n",
                "{y} = {",
                $from,
                "}\n{y} >>= 14\n{y} &= 1020\n{y} += {tables}\n{y} = *(u32 *)({y} + ",
                $t1,
                " * 1024)\n",
                "{x} ^= {y}\n",
                "{y} = {",
                $from,
                "}\n{y} >>= 6\n{y} &= 1020\n{y} += {tables}\n{y} = *(u32 *)({y} + ",
                $t2,
                " * 1024)\n",
                "{",
                $from,
                "} &= 255\n{",
                $from,
                "} <<= 2\n{",
                $from,
                "} += {tables}\n",
                "{",
                $from,
                "} = *(u32 *)({",
                $from,
                "} + ",
                $t3,
                " * 1024)\n",
                "{y} ^= {",
                $from,
                "}\n{sum} ^= {x}\n{sum} ^= {y}"
            )
        };
    }

    /// The state after `state` and the eight bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// All bytes read are within the frame, and a comparison with its end has shown that to the verifier.
    #[inline(always)]
    pub(in super::super) unsafe fn add<const AT: usize>(tables: &Tables, state: u32, from: usize) -> u32 {
        let sum: u64;
        // SAFETY: the caller vouches for the frame; all else that is read is within the tables. Nothing is written and no stack is used.
        unsafe {
            asm!(
                byte!("b7", 0), byte!("b6", 1), byte!("b5", 2), byte!("b4", 3),
                "{x} = *(u32 *)({from} + {b0})", "{state} ^= {x}",
                state!("state", 7, 6, 5, 4),
                x = out(reg) _,
                y = out(reg) _,
                sum = out(reg) sum,
                state = inout(reg) u64::from(state) => _,
                from = in(reg) from,
                tables = in(reg) tables,
                b0 = const AT,
                b4 = const AT + 4,
                b5 = const AT + 5,
                b6 = const AT + 6,
                b7 = const AT + 7,
                options(readonly, nostack, preserves_flags),
            );
        }
        sum as u32
    }

    /// The state after `state` and the sixteen bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// As for [`add`].
    #[inline(always)]
    pub(in super::super) unsafe fn add_two<const AT: usize>(tables: &Tables, state: u32, from: usize) -> u32 {
        let sum: u64;
        // SAFETY: as above.
        unsafe {
            asm!(
                byte!("b15", 0), byte!("b14", 1), byte!("b13", 2), byte!("b12", 3),
                byte!("b11", 4), byte!("b10", 5), byte!("b9", 6), byte!("b8", 7),
                byte!("b7", 8), byte!("b6", 9), byte!("b5", 10), byte!("b4", 11),
                "{x} = *(u32 *)({from} + {b0})", "{state} ^= {x}",
                state!("state", 15, 14, 13, 12),
                x = out(reg) _,
                y = out(reg) _,
                sum = out(reg) sum,
                state = inout(reg) u64::from(state) => _,
                from = in(reg) from,
                tables = in(reg) tables,
                b0 = const AT,
                b4 = const AT + 4,
                b5 = const AT + 5,
                b6 = const AT + 6,
                b7 = const AT + 7,
                b8 = const AT + 8,
                b9 = const AT + 9,
                b10 = const AT + 10,
                b11 = const AT + 11,
                b12 = const AT + 12,
                b13 = const AT + 13,
                b14 = const AT + 14,
                b15 = const AT + 15,
                options(readonly, nostack, preserves_flags),
            );
        }
        sum as u32
    }

    /// The state after `state` and the eight bytes of `word`, the first of them the least significant.
    #[inline(always)]
    pub(in super::super) fn word(tables: &Tables, state: u32, word: u64) -> u32 {
        let sum: u64;
        // SAFETY: what is read is within the tables, as above. Nothing is written and no stack is used.
        unsafe {
            asm!(
                bits!("word", 54, 0), bits!("word", 46, 1), bits!("word", 38, 2), bits!("word", 30, 3),
                "{word} ^= {state}",
                state!("word", 7, 6, 5, 4),
                x = out(reg) _,
                y = out(reg) _,
                sum = out(reg) sum,
                state = in(reg) u64::from(state),
                word = inout(reg) word => _,
                tables = in(reg) tables,
                options(readonly, nostack, preserves_flags),
            );
        }
        sum as u32
    }

    /// The state after `state` and the sixteen bytes of two words, the first of them the least significant of the first.
    #[inline(always)]
    pub(in super::super) fn two_words(tables: &Tables, state: u32, [first, second]: [u64; 2]) -> u32 {
        let sum: u64;
        // SAFETY: as above.
        unsafe {
            asm!(
                bits!("second", 54, 0), bits!("second", 46, 1), bits!("second", 38, 2), bits!("second", 30, 3),
                bits!("second", 22, 4), bits!("second", 14, 5), bits!("second", 6, 6),
                "{second} &= 255", "{second} <<= 2", "{second} += {tables}",
                "{second} = *(u32 *)({second} + 7 * 1024)", "{sum} ^= {second}",
                bits!("first", 54, 8), bits!("first", 46, 9), bits!("first", 38, 10), bits!("first", 30, 11),
                "{first} ^= {state}",
                state!("first", 15, 14, 13, 12),
                x = out(reg) _,
                y = out(reg) _,
                sum = out(reg) sum,
                state = in(reg) u64::from(state),
                first = inout(reg) first => _,
                second = inout(reg) second => _,
                tables = in(reg) tables,
                options(readonly, nostack, preserves_flags),
            );
        }
        sum as u32
    }
}

/// The same for the host, which compiles this package only to lint it.
#[cfg(not(target_arch = "bpf"))]
mod host {
    use sctp_common::crc32c::{double_step, step};

    use super::Tables;

    /// `tables`.
    #[inline(always)]
    pub(in super::super) fn opaque(tables: &'static Tables) -> &'static Tables {
        tables
    }

    /// The state after `state` and the eight bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// All bytes read are within the frame.
    #[inline(always)]
    pub(in super::super) unsafe fn add<const AT: usize>(tables: &Tables, state: u32, from: usize) -> u32 {
        // SAFETY: the caller vouches for the memory.
        step(tables, state, unsafe { ((from + AT) as *const u64).read_unaligned() })
    }

    /// The state after `state` and the sixteen bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// As for [`add`].
    #[inline(always)]
    pub(in super::super) unsafe fn add_two<const AT: usize>(tables: &Tables, state: u32, from: usize) -> u32 {
        // SAFETY: the caller vouches for the memory.
        double_step(tables, state, unsafe { ((from + AT) as *const [u64; 2]).read_unaligned() })
    }

    /// The state after `state` and the eight bytes of `word`.
    #[inline(always)]
    pub(in super::super) fn word(tables: &Tables, state: u32, word: u64) -> u32 {
        step(tables, state, word)
    }

    /// The state after `state` and the sixteen bytes of two words.
    #[inline(always)]
    pub(in super::super) fn two_words(tables: &Tables, state: u32, words: [u64; 2]) -> u32 {
        double_step(tables, state, words)
    }
}
