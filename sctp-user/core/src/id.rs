//! Names of associations.

use core::fmt;

/// Names an association of one endpoint: a slot in its table and the generation of that slot.
///
/// When an association ends its slot may be used again, with another generation; so an id that outlived its association
/// names nothing, never somebody else. Slot and generation travel through the XDP program's maps and its metadata, which
/// is why their numbers are public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssociationId {
    slot: u32,
    generation: u32,
}

impl AssociationId {
    /// Puts an id together again from what [`slot`](Self::slot) and [`generation`](Self::generation) gave.
    pub const fn from_parts(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Index into the endpoint's table of associations.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// How often the slot had been given out before, modulo 2^32.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "association {}.{}", self.slot, self.generation)
    }
}

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
