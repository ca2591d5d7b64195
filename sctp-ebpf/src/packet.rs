//! Packet memory as a [`Frame`].

mod crc;

use aya_ebpf::programs::XdpContext;
use sctp_common::crc32c::Tables;
use sctp_common::frame::{Decoded, Frame, MAX_SCTP_LENGTH, Words};

/// The linear part of a frame, which is all of it: the program takes no multi-buffer frames.
pub(crate) struct Packet {
    start: usize,
    end: usize,
}

impl Packet {
    /// The frame that `ctx` is about. Helpers that move its boundaries invalidate this.
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }
}

/// Changing the frame. That other parts of the program look at it meanwhile does not matter: they keep no references into it.
impl Packet {
    /// Writes `words`, most significant byte first, from offset `at`, or nothing and `None` if they do not fit the frame.
    #[inline(always)]
    pub(crate) fn write<const N: usize>(&self, at: usize, words: &[u32; N]) -> Option<()> {
        let mut next = self.place(at, N * 4)?;
        for word in words {
            // SAFETY: the word lies within the `N * 4` bytes that lie within the frame, as has just been checked; the
            // verifier proves it again, from the same comparisons.
            unsafe { load::store_u32(next, word.to_be()) };
            next += 4;
        }
        Some(())
    }

    /// Writes two zeros at offset `at`, or nothing and `None` if they do not fit the frame.
    #[inline(always)]
    pub(crate) fn clear(&self, at: usize) -> Option<()> {
        let place = self.place(at, 2)?;
        // SAFETY: the two bytes lie within the frame, as has just been checked.
        unsafe { load::store_u16(place, 0) };
        Some(())
    }

    /// The address of the `length` bytes from offset `at`, if the frame has them.
    #[inline(always)]
    fn place(&self, at: usize, length: usize) -> Option<usize> {
        if at > MAX_OFFSET {
            return None;
        }
        let from = load::sum(self.start, at);
        if from + length > self.end { None } else { Some(from) }
    }
}

/// The Ethernet addresses of a frame as words to [write](Packet::write).
#[inline(always)]
pub(crate) const fn words(addresses: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *addresses;
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l])]
}

/// `packet`, of which the verifier no longer knows how it was found.
///
/// Many ways lead through the decoder: with VLAN tags or without, over IPv4 and IPv6, with any number of options and extension
/// headers. On each the verifier knows something else about the offsets, and so would walk all later steps once for
/// each. Two byte swaps, which undo each other, leave it with one case: any 16-bit number.
#[inline(always)]
pub(crate) fn any(mut packet: Decoded) -> Decoded {
    packet.l3_offset = load::forget(packet.l3_offset);
    packet.sctp_offset = load::forget(packet.sctp_offset);
    packet.sctp_len = load::forget(packet.sctp_len);
    packet.ecn = load::forget(packet.ecn.into()) as u8;
    packet.is_ipv4 = load::forget(packet.is_ipv4.into()) != 0;
    packet.fragment = load::forget(packet.fragment.into()) != 0;
    packet
}

impl Frame for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // No single bytes: for one, the compiler turns the comparison with the end into a form that the verifier draws no
        // conclusion from.
        const { assert!(N > 0 && N.is_multiple_of(2)) };
        let Here { from } = self.words::<N>(at)?;
        let mut bytes = [0; N];
        let (words, rest) = bytes.as_chunks_mut::<8>();
        let mut next = from;
        for word in words {
            // SAFETY: the word lies within `from` to `from + N`, which lies within the frame, as has just been checked;
            // the verifier proves it again, from these same comparisons.
            *word = unsafe { load::u64(next) }.to_ne_bytes();
            next += 8;
        }
        let (words, rest) = rest.as_chunks_mut::<4>();
        for word in words {
            // SAFETY: as above.
            *word = unsafe { load::u32(next) }.to_ne_bytes();
            next += 4;
        }
        let (words, _) = rest.as_chunks_mut::<2>();
        for word in words {
            // SAFETY: as above.
            *word = unsafe { load::u16(next) }.to_ne_bytes();
            next += 2;
        }
        Some(bytes)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, at: usize) -> Option<Here<N>> {
        Some(Here { from: self.place(at, N)? })
    }

    type Words<const N: usize> = Here<N>;

    #[inline(always)]
    fn in_order(word: u64, state: u64) -> (u64, u64) {
        load::in_order(word, state)
    }

    #[inline(always)]
    fn sum(word: u64, state: u64) -> u64 {
        load::xor(word, state)
    }

    #[inline(always)]
    fn tables(tables: &'static Tables) -> &'static Tables {
        crc::opaque(tables)
    }

    #[inline(always)]
    fn forget(value: u16) -> u16 {
        load::forget(value)
    }

    #[inline(always)]
    fn add_words(tables: &Tables, state: u32, words: [u64; 2]) -> u32 {
        crc::two_words(tables, state, words)
    }

    #[inline(always)]
    fn add_word(tables: &Tables, state: u32, word: u64) -> u32 {
        crc::word(tables, state, word)
    }
}

/// The `N` bytes of packet memory from `from`, all of them within the frame.
pub(crate) struct Here<const N: usize> {
    from: usize,
}

impl<const N: usize> Words for Here<N> {
    #[inline(always)]
    fn word<const AT: usize>(&self) -> u64 {
        const { assert!(AT + 8 <= N) };
        // SAFETY: the word lies within the `N` bytes, as has just been checked, and those lie within the frame.
        unsafe { load::u64_at::<AT>(self.from) }
    }

    #[inline(always)]
    fn add_two<const AT: usize>(&self, tables: &Tables, state: u32) -> u32 {
        const { assert!(AT + 16 <= N) };
        // SAFETY: as above.
        unsafe { crc::add_two::<AT>(tables, state, self.from) }
    }

    #[inline(always)]
    fn add<const AT: usize>(&self, tables: &Tables, state: u32) -> u32 {
        const { assert!(AT + 8 <= N) };
        // SAFETY: as above.
        unsafe { crc::add::<AT>(tables, state, self.from) }
    }
}

/// Loads from packet memory, and stores to it, at any address, each one instruction.
///
/// The BPF machine and the CPUs under it load words from odd addresses; the compiler, unasked, would load them byte by
/// byte. It can be asked (`allows-misaligned-mem-access`), but then does the same to the stack, where the verifier insists
/// on alignment. So these loads are spelled out.
#[cfg(target_arch = "bpf")]
mod load {
    use core::arch::asm;

    /// `value`, swapped twice. It is said to touch memory, so that the frame's boundaries are read again after it.
    #[inline(always)]
    pub(super) fn forget(value: u16) -> u16 {
        let mut value = u64::from(value);
        // SAFETY: works on a register.
        unsafe { asm!("{0} = be16 {0}", "{0} = be16 {0}", inout(reg) value, options(nostack, preserves_flags)) };
        value as u16
    }

    /// `start + at`, of which the compiler does not know that it is a sum.
    ///
    /// If it did, it might compute the pointer that is compared with the frame's end and the one that is loaded from
    /// separately, and the verifier would see no connection between the two.
    #[inline(always)]
    pub(super) fn sum(mut start: usize, at: usize) -> usize {
        // SAFETY: an addition of registers.
        unsafe { asm!("{} += {}", inout(reg) start, in(reg) at, options(pure, nomem, nostack, preserves_flags)) };
        start
    }

    /// `word` and `state`, with no instruction, in the order of the other assembly.
    #[inline(always)]
    pub(super) fn in_order(mut word: u64, mut state: u64) -> (u64, u64) {
        // SAFETY: does nothing.
        unsafe {
            asm!("{0} = {0}", "{1} = {1}", inout(reg) word, inout(reg) state, options(nomem, nostack, preserves_flags))
        };
        (word, state)
    }

    /// `word ^ state`, in the order of the other assembly.
    #[inline(always)]
    pub(super) fn xor(mut word: u64, state: u64) -> u64 {
        // SAFETY: works on registers.
        unsafe { asm!("{} ^= {}", inout(reg) word, in(reg) state, options(nomem, nostack, preserves_flags)) };
        word
    }

    /// Reads the eight bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// As for the loads below.
    #[inline(always)]
    pub(super) unsafe fn u64_at<const AT: usize>(from: usize) -> u64 {
        let value: u64;
        // SAFETY: the caller vouches for the memory; nothing is written and no stack is used.
        unsafe {
            asm!(
                "{} = *(u64 *)({} + {})",
                out(reg) value,
                in(reg) from,
                const AT,
                options(readonly, nostack, preserves_flags),
            );
        }
        value
    }

    macro_rules! load {
        ($name:ident, $instruction:literal) => {
            /// Reads at `from`.
            ///
            /// # Safety
            ///
            /// All bytes read are within the frame, and a comparison with its end has shown that to the verifier.
            #[inline(always)]
            pub(super) unsafe fn $name(from: usize) -> $name {
                let value: u64;
                // SAFETY: the caller vouches for the memory; nothing is written and no stack is used.
                unsafe { asm!($instruction, out(reg) value, in(reg) from, options(readonly, nostack, preserves_flags)) };
                value as $name
            }
        };
    }

    macro_rules! store {
        ($name:ident, $value:ty, $instruction:literal) => {
            /// Writes `value` at `to`.
            ///
            /// # Safety
            ///
            /// All bytes written are within the frame, and a comparison with its end has shown that to the verifier.
            #[inline(always)]
            pub(super) unsafe fn $name(to: usize, value: $value) {
                // SAFETY: the caller vouches for the memory; no stack is used.
                unsafe {
                    asm!($instruction, in(reg) to, in(reg) u64::from(value), options(nostack, preserves_flags));
                }
            }
        };
    }

    store!(store_u32, u32, "*(u32 *)({} + 0) = {}");
    store!(store_u16, u16, "*(u16 *)({} + 0) = {}");

    load!(u64, "{} = *(u64 *)({} + 0)");
    load!(u32, "{} = *(u32 *)({} + 0)");
    load!(u16, "{} = *(u16 *)({} + 0)");
}

/// The same for the host, which compiles this package only to lint it.
#[cfg(not(target_arch = "bpf"))]
mod load {
    /// `value`.
    #[inline(always)]
    pub(super) fn forget(value: u16) -> u16 {
        value
    }

    /// `start + at`.
    #[inline(always)]
    pub(super) fn sum(start: usize, at: usize) -> usize {
        start + at
    }

    /// `word` and `state`.
    #[inline(always)]
    pub(super) fn in_order(word: u64, state: u64) -> (u64, u64) {
        (word, state)
    }

    /// `word ^ state`.
    #[inline(always)]
    pub(super) fn xor(word: u64, state: u64) -> u64 {
        word ^ state
    }

    /// Reads the eight bytes from `from + AT`.
    ///
    /// # Safety
    ///
    /// As for the loads below.
    #[inline(always)]
    pub(super) unsafe fn u64_at<const AT: usize>(from: usize) -> u64 {
        // SAFETY: the caller vouches for the memory.
        unsafe { u64(from + AT) }
    }

    macro_rules! load {
        ($($name:ident)+) => {$(
            /// Reads at `from`.
            ///
            /// # Safety
            ///
            /// All bytes read are within the frame.
            #[inline(always)]
            pub(super) unsafe fn $name(from: usize) -> $name {
                // SAFETY: the caller vouches for the memory.
                unsafe { (from as *const $name).read_unaligned() }
            }
        )+};
    }

    macro_rules! store {
        ($($name:ident $value:ty),+) => {$(
            /// Writes `value` at `to`.
            ///
            /// # Safety
            ///
            /// All bytes written are within the frame.
            #[inline(always)]
            pub(super) unsafe fn $name(to: usize, value: $value) {
                // SAFETY: the caller vouches for the memory.
                unsafe { (to as *mut $value).write_unaligned(value) }
            }
        )+};
    }

    store!(store_u32 u32, store_u16 u16);

    load!(u64 u32 u16);
}

/// No field that is read lies further from the frame's start: the largest packet behind VLAN tags, an IPv6 header and
/// its extension headers. The verifier follows packet pointers up to 65535 only and wants to see a bound.
const MAX_OFFSET: usize = 0x7fff;

const _: () = assert!(MAX_OFFSET > MAX_SCTP_LENGTH + 22 + 40 + 6 * 2048);
