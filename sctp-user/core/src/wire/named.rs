//! Numbers on the wire that have names: chunk types, parameter types, cause codes.

/// Gives the type `$number`, a newtype over a number, a constant for each name (its value is that of `sctp_common::wire::$numbers`), and shows
/// it by name, or as `$unknown` says where it has none.
macro_rules! named {
    ($number:ident: $numbers:ident, $unknown:literal; $($constant:ident $name:literal),* $(,)?) => {
        impl $number {
            $(
                #[doc = $name]
                pub const $constant: Self = Self(sctp_common::wire::$numbers::$constant);
            )*

            /// The name in its RFC, if it has one that is known here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                Some(match self {
                    $(Self::$constant => $name,)*
                    _ => return None,
                })
            }
        }

        impl core::fmt::Display for $number {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, $unknown, self.0),
                }
            }
        }

        impl core::fmt::Debug for $number {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use named;
