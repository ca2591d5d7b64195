//! Reading a received message that came in fragments.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use sctp_core::ReceivedMessage;
use smallvec::SmallVec;

/// A received message as a [`Buf`]: reads across its fragments without joining them.
///
/// ```
/// # use bytes::{Buf, Bytes};
/// # use sctp_user::{MessagePart, MessageReader, ReceivedMessage};
/// # let message = ReceivedMessage {
/// #     stream: 0, ssn: 0, ppid: 0, unordered: false, part: MessagePart::Whole,
/// #     payload: [Bytes::from_static(&[1]), Bytes::from_static(&[2, 3])].into_iter().collect(),
/// # };
/// let mut reader = MessageReader::from(message);
/// assert_eq!(reader.get_u16(), 0x0102);
/// assert_eq!(reader.remaining(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct MessageReader {
    /// The fragments that are not read yet; none of them empty.
    fragments: SmallVec<[Bytes; 1]>,
    /// The first of them.
    at: usize,
    remaining: usize,
}

impl From<ReceivedMessage> for MessageReader {
    fn from(message: ReceivedMessage) -> MessageReader {
        let remaining = message.len();
        let mut fragments = message.payload;
        fragments.retain(|fragment| !fragment.is_empty());
        MessageReader { fragments, at: 0, remaining }
    }
}

impl Buf for MessageReader {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.fragments.get(self.at).map_or(&[], |fragment| fragment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, fragment) in slices.iter_mut().zip(&self.fragments[self.at..]) {
            *slice = IoSlice::new(fragment);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "a message has no bytes after its end");
        self.remaining -= count;
        while count > 0 {
            let fragment = &mut self.fragments[self.at];
            let part = count.min(fragment.len());
            fragment.advance(part);
            count -= part;
            if fragment.is_empty() {
                self.at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sctp_core::MessagePart;

    use super::*;

    fn message(fragments: &[&'static [u8]]) -> ReceivedMessage {
        ReceivedMessage {
            stream: 1,
            ssn: 2,
            ppid: 3,
            unordered: false,
            part: MessagePart::Whole,
            payload: fragments.iter().map(|fragment| Bytes::from_static(fragment)).collect(),
        }
    }

    #[test]
    fn reads_across_fragments() {
        let mut reader = MessageReader::from(message(&[b"ab", b"", b"c", b"def"]));
        assert_eq!(reader.remaining(), 6);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(reader.chunks_vectored(&mut slices), 3);
        assert_eq!(reader.copy_to_bytes(4), Bytes::from_static(b"abcd"));
        assert_eq!(reader.chunk(), b"ef");
        reader.advance(2);
        assert!(!reader.has_remaining());
        assert_eq!(reader.chunk(), b"");
    }

    #[test]
    #[should_panic(expected = "after its end")]
    fn does_not_go_beyond_the_end() {
        MessageReader::from(message(&[b"a"])).advance(2);
    }
}
