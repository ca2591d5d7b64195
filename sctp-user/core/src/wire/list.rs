//! Lists of parameters and of error causes: bytes from the wire, or items to send.

use core::fmt;

use sctp_common::wire::padded;

use super::tlv::{Tlv, Tlvs};
use super::{Sink, TlvError};

/// A list of parameters or error causes.
///
/// Either the bytes of a received chunk, walked each time [`iter`](List::iter) is called, or a slice of items to send
/// ([`List::new`]). Two lists are equal when their items are, wherever they lie.
#[derive(Clone, Copy)]
pub struct List<'a, T> {
    source: Source<'a, T>,
}

/// Iterator over a [`List`]. An item that is itself bad (an address of five bytes) is an error and the walk goes on; a
/// length that leads nowhere is an error and the last item.
#[derive(Clone, Copy)]
pub struct Iter<'a, T> {
    walk: Walk<'a, T>,
}

/// What a [`List`] is made of: parameters and causes. Not to be implemented elsewhere.
pub trait ListItem<'a>: Copy + PartialEq + fmt::Display {
    /// Why an item or its list cannot be read.
    type Error: From<TlvError> + PartialEq;

    #[doc(hidden)]
    fn parse(raw: RawItem<'a>) -> Result<Self, Self::Error>;

    /// Length on the wire: type, length and value, without padding.
    fn length(&self) -> usize;

    /// Writes type, length and value, without padding.
    fn emit(&self, out: &mut Sink<'_>);
}

/// Keeps the walk's type out of the public interface.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct RawItem<'a>(pub(crate) Tlv<'a>);

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Wire { bytes: &'a [u8], offset: usize },
    Items(&'a [T]),
}

#[derive(Clone, Copy)]
enum Walk<'a, T> {
    Wire(Tlvs<'a>),
    Items(&'a [T]),
}

impl<'a, T: ListItem<'a>> List<'a, T> {
    /// A list with nothing in it.
    pub const EMPTY: Self = Self { source: Source::Items(&[]) };

    /// A list of items to send, in this order.
    #[inline]
    #[must_use]
    pub const fn new(items: &'a [T]) -> Self {
        Self { source: Source::Items(items) }
    }

    /// The list in `bytes`, the first of which is at `offset` in the packet.
    #[inline]
    pub(crate) const fn from_wire(bytes: &'a [u8], offset: usize) -> Self {
        Self { source: Source::Wire { bytes, offset } }
    }

    /// The items in order.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        let walk = match self.source {
            Source::Wire { bytes, offset } => Walk::Wire(Tlvs::new(bytes, offset)),
            Source::Items(items) => Walk::Items(items),
        };
        Iter { walk }
    }

    /// Whether there is nothing in the list.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.source {
            Source::Wire { bytes, .. } => bytes.is_empty(),
            Source::Items(items) => items.is_empty(),
        }
    }

    /// Length on the wire, without the padding of the last item: "it does include any padding of variable-length
    /// parameters other than the last parameter in the chunk" (RFC 9260 §3.2).
    #[inline]
    #[must_use]
    pub fn length(&self) -> usize {
        match self.source {
            Source::Wire { bytes, .. } => bytes.len(),
            Source::Items(items) => items.iter().fold(0, |length, item| padded(length) + item.length()),
        }
    }

    /// Walks the list once and says whether every length leads to the next item, and the last one to the end.
    ///
    /// # Errors
    ///
    /// The first place where it does not.
    pub fn check_structure(&self) -> Result<(), TlvError> {
        match self.source {
            Source::Wire { bytes, offset } => Tlvs::new(bytes, offset).try_for_each(|item| item.map(drop)),
            Source::Items(_) => Ok(()),
        }
    }

    /// Writes the list, without the padding of the last item.
    pub(crate) fn emit(&self, out: &mut Sink<'_>) {
        match self.source {
            Source::Wire { bytes, .. } => out.bytes(bytes),
            Source::Items(items) => {
                for item in items {
                    //= RFC 9260 §3.2.1: "The total length of a parameter (including Parameter Type, Parameter Length,
                    //= and Parameter Value fields) MUST be a multiple of 4 bytes."
                    //= RFC 9260 §3.2.1: "A sender MUST NOT pad with more than 3 bytes."
                    out.align();
                    item.emit(out);
                }
            }
        }
    }
}

impl<'a, T: ListItem<'a>> Default for List<'a, T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a, T: ListItem<'a>> From<&'a [T]> for List<'a, T> {
    fn from(items: &'a [T]) -> Self {
        Self::new(items)
    }
}

impl<'a, T: ListItem<'a>> IntoIterator for List<'a, T> {
    type Item = Result<T, T::Error>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: ListItem<'a>> Iterator for Iter<'a, T> {
    type Item = Result<T, T::Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.walk {
            Walk::Wire(walk) => Some(match walk.next()? {
                Ok(tlv) => T::parse(RawItem(tlv)),
                Err(error) => Err(error.into()),
            }),
            Walk::Items(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(Ok(*first))
            }
        }
    }
}

impl<'a, T: ListItem<'a>> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        match (self.source, other.source) {
            // Errors name places in the packet; the same bytes elsewhere are the same list.
            (Source::Wire { bytes: own, .. }, Source::Wire { bytes: others, .. }) => own == others,
            _ => self.iter().eq(other.iter()),
        }
    }
}

impl<'a, T: ListItem<'a>> fmt::Display for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            match item {
                Ok(item) => item.fmt(f)?,
                Err(_) => f.write_str("malformed")?,
            }
        }
        f.write_str("]")
    }
}

impl<'a, T: ListItem<'a>> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::tests::{list_bytes, parameter_list};
    use crate::wire::{Parameter, ParameterList};

    const ITEMS: [Parameter<'_>; 3] =
        [Parameter::StateCookie(b"12345"), Parameter::EcnCapable, Parameter::StateCookie(b"1")];

    //= test RFC 9260 §3.2.1: "The total length of a parameter (including Parameter Type, Parameter Length, and
    //= Parameter Value fields) MUST be a multiple of 4 bytes."
    #[test]
    fn the_same_from_the_wire_and_from_items() {
        let items = ParameterList::new(&ITEMS);
        let bytes = list_bytes(&ITEMS);
        let wire = parameter_list(&bytes[..items.length()]);
        assert_eq!(items, wire);
        assert_eq!(wire, items);
        assert_eq!(wire, parameter_list(&bytes[..items.length()]));
        assert_eq!(items.length(), 12 + 4 + 5);
        assert_eq!(wire.length(), items.length());
        assert_eq!(wire.to_string(), "[State Cookie 5 bytes, ECN Capable, State Cookie 1 bytes]");
        assert!(wire != ParameterList::new(&ITEMS[..2]));
        assert_eq!(wire.check_structure(), Ok(()));
    }

    #[test]
    fn empty() {
        assert!(ParameterList::EMPTY.is_empty() && parameter_list(&[]).is_empty());
        assert_eq!(ParameterList::EMPTY, ParameterList::default());
        assert_eq!(ParameterList::EMPTY, parameter_list(&[]));
        assert_eq!(ParameterList::EMPTY.length(), 0);
    }

    #[test]
    fn lists_with_errors_are_equal_only_to_themselves() {
        let (one, other) = ([0, 5, 0, 9], [0, 5, 0, 8]);
        assert!(parameter_list(&one) == parameter_list(&one));
        assert!(parameter_list(&one) != parameter_list(&other));
        assert!(parameter_list(&one) != ParameterList::EMPTY);
        assert!(parameter_list(&one).check_structure().is_err());
        assert_eq!(parameter_list(&one).to_string(), "[malformed]");
    }
}
